"""Guard: the triggers that keep the two shapes in step stand in every database, where the release relies on them."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ladder import InStepBy, Phase
from orchestrator.domain.view import Blocker, View


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed for a database in which one is missing or switched off: rows may be out of step since."""
    upgrade = view.upgrade
    if upgrade.profile.in_step_by is not InStepBy.TRIGGERS:
        return
    for facts in view.databases:
        if facts.error is None and not facts.in_step:  # databases_fenced names the ones that cannot be read
            yield Blocker(
                "database_not_in_step",
                f"a trigger that keeps the shapes in step is missing or switched off in {facts.name}, and "
                f"{target.word} relies on it",
                f"Go back and run the expand step again: orchestrator upgrade rollback {upgrade.schema} --to base "
                f"--reason ..., and when it is there: orchestrator upgrade resume {upgrade.schema}",
                (facts.name,),
            )
