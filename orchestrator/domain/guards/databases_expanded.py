"""Guard: the expand revisions are in every managed database, seen in its catalog, not only when they were run."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Blocker, View


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed for a database that lost the new shape, or joined the schema after its step had run."""
    upgrade = view.upgrade
    for facts in view.databases:
        if facts.error is None and not facts.expanded:  # databases_fenced names the ones that cannot be read
            yield Blocker(
                "database_not_expanded",
                f"database {facts.name} has not, or not any more, what expand to {upgrade.to_release} makes, and "
                f"{target.word} builds on it",
                "Put its schema right. Or run the step again: "
                f"orchestrator upgrade rollback {upgrade.schema} --to base --reason ..., "
                f"and when it is there: orchestrator upgrade resume {upgrade.schema}",
                (facts.name,),
            )
