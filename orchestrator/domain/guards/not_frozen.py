"""Guard: no commits were lost, or everybody who may be alive was heard of since."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.guards import (
    databases_fenced,
    instances_acked,
    instances_imported,
    inventories_support,
    roles_settled,
)
from orchestrator.domain.guards.culprits import instances_of
from orchestrator.domain.guards.instances_support import supports
from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Blocker, View
from orchestrator.domain.visible import typed


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed from the loss on until every lease that may have been forgotten is over, everybody has acked anew, nobody
    else is known who cannot live in the phase, and every database holds the state that was found."""
    upgrade = view.upgrade
    if upgrade.frozen is None:
        return
    left = (upgrade.frozen_until or 0.0) - view.now
    if left > 0:
        yield Blocker(
            "commits_lost",
            f"{upgrade.frozen}: commits may be lost, so nobody joins and nothing moves for another {left:.0f} s",
            "It goes on by itself when everybody who may be alive was heard of again.",
        )
    yield from databases_fenced.blockers(view, upgrade.phase)
    for facts in view.databases:
        if facts.error is None and not databases_fenced.holds_state(view, facts):
            yield Blocker(
                "copy_behind",
                f"database {facts.name} does not hold the state that was found yet",
                "It is written again by itself.",
                (facts.name,),
            )
    strangers = [each for each in view.instances if not supports(view, each.release, upgrade.phase)]
    for fleet in sorted({each.fleet for each in strangers}):
        found = [each for each in strangers if each.fleet == fleet]
        yield Blocker(
            "instance_unsupported",
            f"{instances_of(len(found), fleet)} may be alive with a release that cannot live in {upgrade.phase.word}",
            "Stop them; those that are gone already: "
            f"orchestrator instance evict {upgrade.schema} {typed(fleet, found[0].id)} --attest-dead --reason ...",
            tuple(each.label for each in found),
        )
    for report in view.reports:
        if report.instances and not supports(view, report.release, upgrade.phase):
            said = f"{upgrade.schema} {report.fleet} --release {report.release} --instances 0"
            yield Blocker(
                "fleet_reported_unsupported",
                f"fleet {report.fleet} is reported to run {report.release} ({report.instances} instances), "
                f"which cannot live in {upgrade.phase.word}",
                f"Stop them, then: orchestrator fleet report {said}",
                (report.fleet,),
            )
    for guard in (roles_settled, inventories_support, instances_imported, instances_acked):
        yield from guard.blockers(view, upgrade.phase)
