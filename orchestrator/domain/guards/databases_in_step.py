"""Guard: the triggers that keep the two shapes in step stand in every database, where the release relies on them."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ladder import InStepBy, Phase
from orchestrator.domain.upgrades import Upgrade
from orchestrator.domain.view import Blocker, View
from orchestrator.domain.ways_back import again_from


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
                _remedy(upgrade),
                (facts.name,),
            )


def _remedy(upgrade: Upgrade) -> str:
    """Once the new release may have run, moving rows anew would write over what only it wrote."""
    again = again_from(upgrade, Phase.BASE) if upgrade.phase < Phase.READ_NEW else ""
    if again:
        return f"Run the expand step again, which makes it anew: {again}"
    return (
        "Make it again as the release's expand revisions do, and put right by hand the rows that were written to one "
        "shape alone since it was gone."
    )
