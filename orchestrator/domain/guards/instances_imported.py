"""Guard: everybody who joined in a managed database, for want of a daemon, is known to the state."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.fleets import InstanceState
from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Blocker, View
from orchestrator.domain.visible import is_name, typed, visible


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed for each process that wrote itself down in a database and is none of the instances.

    They are imported before anything is decided. What stays is a second process under an id that is in use, and one
    whose names no command can be given.
    """
    known = {(each.fleet, each.id, each.tag) for each in view.instances}
    schema = view.upgrade.schema
    for facts in view.databases:
        for each in facts.registrations:
            if each.state is not InstanceState.ALIVE or (each.fleet, each.id, each.tag) in known:
                continue
            name = visible(f"{each.id} on {each.host}" if each.host else each.id)
            if is_name(each.fleet) and is_name(each.id):
                remedy = (
                    "It is imported by itself. If it stays, another process has its id: stop both, then "
                    f"orchestrator instance evict {schema} {typed(each.fleet, each.id)} --attest-dead --reason ..."
                )
            else:
                remedy = (
                    "No command can name it, so it is not imported. Stop the process that wrote it, and delete its row "
                    "from orchestrator_instances in that database."
                )
            yield Blocker(
                "instance_not_imported",
                f"{visible(each.fleet)} {name} (release {visible(each.release)}) joined in database {facts.name} and "
                "is not counted yet",
                remedy,
                (name,),
            )
