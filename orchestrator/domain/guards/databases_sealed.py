"""Guard: every database denies writes to the old shape, and had none to deny since it does."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Blocker, View


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed for a database that does not deny them any more, and for one that had to: somebody still writes them."""
    upgrade = view.upgrade
    if not upgrade.profile.seals:
        return
    again = (
        f"orchestrator upgrade rollback {upgrade.schema} --to write_new --reason ..., and when it is there: "
        f"orchestrator upgrade resume {upgrade.schema}"
    )
    old_shape = ", ".join(view.new.old_shape)
    for facts in view.databases:
        if facts.error is not None:
            continue  # databases_fenced says so
        if not facts.sealed:
            yield Blocker(
                "database_not_sealed",
                f"database {facts.name} does not deny every write to {old_shape} any more",
                f"Seal it again: {again}",
                (facts.name,),
            )
        elif facts.denials:
            yield Blocker(
                "old_shape_written",
                f"database {facts.name} refused {facts.denials} writes to {old_shape} since it was sealed: something "
                f"still writes the old shape, and would fail for good in {target.word}",
                f"Find it and stop it; the server's log has the refused statements. Then seal anew: {again}",
                (facts.name,),
            )
