"""Guard: the old shape still holds every committed value, so going back to reading it is right."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Blocker, View


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed once `write_new` was published in this upgrade: since then the old shape may be stale."""
    if not view.upgrade.old_valid:
        yield Blocker(
            "old_shape_stale",
            f"going back to {target.word} would read the old shape, which is stale since write_new",
            "The upgrade can only go on from here.",
        )
