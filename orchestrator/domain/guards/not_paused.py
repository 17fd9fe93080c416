"""Guard: nobody paused the upgrade."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Blocker, View


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed while the upgrade is paused."""
    if view.upgrade.paused is not None:
        yield Blocker(
            "paused",
            f"the upgrade is paused: {view.upgrade.paused}",
            f"orchestrator upgrade resume {view.upgrade.schema} --reason ...",
        )
