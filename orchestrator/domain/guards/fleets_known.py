"""Guard: something was reported of every fleet that the releases list. Silence is never "nobody"."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.guards import roles_settled
from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Blocker, View


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed for each listed fleet of which nothing was ever reported, and no inventory source lists anybody.

    A source that lists nobody is not taken for an answer: its query may look for the wrong name. One that cannot be
    read is named by inventories_support. Roles of the old release tell of everybody that runs it, in whichever fleet.

    A fleet that only the new release has cannot run before the schema is expanded, so it is asked for from then on.
    """
    listed = dict.fromkeys(view.old.fleets)
    if max(target, view.upgrade.phase) > Phase.EXPANDED:
        listed |= dict.fromkeys(view.new.fleets)
    known = view.known_fleets | view.listed_fleets
    if roles_settled.vouches(view):
        known |= frozenset(view.old.fleets)
    if any(facts.error is not None for facts in view.databases):
        known |= view.sourced_fleets  # databases_fenced names the database in which nobody could be asked
    for fleet in listed:
        if fleet not in known:
            schema = view.upgrade.schema
            yield Blocker(
                "fleet_unknown",
                f"nothing was ever reported of fleet {fleet}, so instances of it may be running anything",
                f"Let its instances register, or say what runs: "
                f"orchestrator fleet report {schema} {fleet} --release {view.old.name} --instances N "
                f"(0 if there are none)",
                (fleet,),
            )
