"""Guard: every possibly-alive instance behaves as in the present phase, and has drained what it began before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from orchestrator.domain.fleets import Instance
from orchestrator.domain.guards.culprits import instances_of, silent_blockers, those_that_answer
from orchestrator.domain.guards.instances_support import supports
from orchestrator.domain.ladder import Phase
from orchestrator.domain.telling import has_acked, teller
from orchestrator.domain.view import Blocker, View


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed for each fleet with instances that have not acked the present publication.

    Instances known only by report have constant behaviour and count as having acked what their release supports.
    Who was not told it yet is in the phase before, and drained into that; `waves_open` and `fleets_not_paused` say so.
    Instances that block by their release are named by `instances_support` and not repeated here.
    """
    upgrade, tells = view.upgrade, teller(view)
    waiting: dict[tuple[str, str], list[Instance]] = defaultdict(list)
    for instance in view.instances:
        drained = has_acked(upgrade, instance, told=tells(instance))
        if not drained and supports(view, instance.release, target):
            waiting[instance.fleet, instance.release].append(instance)
    for (fleet, release), group in sorted(waiting.items()):
        live = those_that_answer(group, view.now)
        if live:
            yield Blocker(
                "instance_not_acked",
                f"waiting for {instances_of(len(live), fleet)} to drain into {upgrade.phase.word}",
                "They answer with their next renewals; a transaction that never ends holds them up.",
                tuple(instance.label for instance in live),
            )
        yield from silent_blockers(upgrade.schema, fleet, release, group, view.now)
