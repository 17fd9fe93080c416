"""Guard: every database of the upgrade is managed and answers, and its copy holds the fence once there is one."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ladder import Phase
from orchestrator.domain.upgrades import Move
from orchestrator.domain.view import Blocker, DatabaseFacts, View

_SAYS_ITSELF = ("database_read_only", "database_pooled")


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed for a database that cannot be read, whose copy is ahead of the state, or does not hold the fence yet.

    On the way up also for one that took part and is not configured any more: its rows would never be moved.
    """
    upgrade = view.upgrade
    for name in view.left_out if target > upgrade.phase else ():
        yield Blocker(
            "database_left_out",
            f"database {name} took part in this upgrade and is not in the configuration any more",
            f"Name it in [schema:{upgrade.schema}] databases again and restart the daemon. If it is gone for good: "
            f"orchestrator database evict {upgrade.schema} {name} --attest-gone --reason ...",
            (name,),
        )
    for facts in view.databases:
        if facts.error is not None:
            yield unfit(facts)
        elif facts.copy is not None and facts.copy.revision > upgrade.revision:
            yield Blocker(
                "copy_ahead",
                f"database {facts.name} holds revision {facts.copy.revision}, the state only {upgrade.revision}: the "
                "state database lost commits, or another orchestrator manages this database",
                "Find out which state is the right one before anything goes on.",
                (facts.name,),
            )
        elif upgrade.move is Move.FENCED and not holds_state(view, facts):
            yield Blocker(
                "copy_behind",
                f"database {facts.name} does not hold the fence of {target.word} yet",
                "It is written again by itself.",
                (facts.name,),
            )


def unfit(facts: DatabaseFacts) -> Blocker:
    """The blocker for a database that could not be read, or nothing can be done in."""
    remedy = facts.remedy or "It is asked again by itself; mend the database or its connection."
    if facts.code in _SAYS_ITSELF:
        return Blocker(facts.code, str(facts.error), remedy, (facts.name,))
    sentence = f"database {facts.name} cannot be read: {facts.error}"
    return Blocker("database_unreachable", sentence, remedy, (facts.name,))


def holds_state(view: View, facts: DatabaseFacts) -> bool:
    """Whether the database's copy is that of the upgrade as it is now, and of the database as it is now."""
    upgrade, copy = view.upgrade, facts.copy
    return (
        copy is not None
        and copy.upgrade_id == upgrade.id
        and copy.revision == upgrade.revision
        and copy.fence == upgrade.fence
        and copy.incarnation == facts.incarnation
    )
