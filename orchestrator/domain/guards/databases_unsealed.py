"""Guard: no database denies writes to the old shape where they are still made, or may be again."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Blocker, View


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed for a database that is sealed below the phase of that name: it lost the step that unsealed it."""
    for name in still_sealed(view):
        yield Blocker(
            "database_still_sealed",
            f"database {name} denies writes to {', '.join(view.new.old_shape)} in {view.upgrade.phase.word}: it lost "
            "what had let them through again",
            "It is unsealed again by itself.",
            (name,),
        )


def still_sealed(view: View) -> tuple[str, ...]:
    """The databases that deny writes which they are to let through.

    At write_new nobody makes them. There it may be that the upgrade is about to seal, or was on its way to: only where
    it rests for good they are let through.
    """
    upgrade = view.upgrade
    is_about_to = upgrade.phase is Phase.WRITE_NEW and upgrade.target is not None
    if not upgrade.profile.seals or upgrade.phase >= Phase.SEALED or is_about_to:
        return ()
    return tuple(facts.name for facts in view.databases if facts.error is None and not facts.unsealed)
