"""Guard: no fleet is kept from the present phase by a pause."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ladder import Phase
from orchestrator.domain.telling import is_held
from orchestrator.domain.view import Blocker, View


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed for each paused fleet that was not told the present phase. Going back waits for nobody to be told it."""
    upgrade = view.upgrade
    if target < upgrade.phase or upgrade.telling is None:
        return
    for pause in view.pauses:
        if is_held(upgrade, pause):
            yield Blocker(
                "fleet_paused",
                f"fleet {pause.fleet} is paused and stays at {upgrade.telling.phase_before.word}: {pause.reason}",
                f"orchestrator fleet resume {upgrade.schema} {pause.fleet}",
                (pause.fleet,),
            )
