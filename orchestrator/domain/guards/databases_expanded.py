"""Guard: the expand revisions are in every managed database, seen in its catalog, not only when they were run."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Blocker, DatabaseFacts, View
from orchestrator.domain.ways_back import again_from


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed for a database that lost the new shape, or joined the schema after its step had run."""
    upgrade = view.upgrade
    for facts in view.databases:
        if facts.error is None and not facts.expanded:  # databases_fenced names the ones that cannot be read
            yield Blocker(
                "database_not_expanded",
                f"database {facts.name} has not, or not any more, what expand to {upgrade.to_release} makes, and "
                f"{target.word} builds on it{missing(facts)}",
                f"Put its schema right. {_otherwise(view, facts.name)}",
                (facts.name,),
            )


def missing(facts: DatabaseFacts) -> str:
    """What is missing there, as far as that is known, to be put behind a sentence."""
    return f": {'; '.join(facts.lacks)}" if facts.lacks else ""


def _otherwise(view: View, database: str) -> str:
    again = again_from(view.upgrade, Phase.BASE)
    if again:
        return f"Or run the step again: {again}"
    return (
        f"If {database} was added since the upgrade began, take it out of [schema:{view.upgrade.schema}] databases "
        "until the upgrade has ended, and restart the daemon."
    )
