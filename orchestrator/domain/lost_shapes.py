"""Lost shapes: signs that the new shape was taken away by hand, and the rows with it that had been moved into it."""

from __future__ import annotations

from orchestrator.domain.ladder import Phase
from orchestrator.domain.upgrades import Upgrade
from orchestrator.domain.view import DatabaseFacts, MigrationState, View


def shape_lost(view: View) -> str | None:
    """Why what was proven of the rows counts no more: a database lacks what they were moved into.

    It does so for good: whoever makes the shape anew makes it empty. Only where the old shape still holds every value,
    so that all rows can be moved again, and not on the way to where they are moved again anyhow.
    """
    upgrade = view.upgrade
    if not _matters(upgrade):
        return None
    for facts in view.databases:
        if facts.error is None and not facts.expanded and _has_moved(view, facts):
            return (
                f"database {facts.name} lacked in {upgrade.phase.word} what expand to {upgrade.to_release} makes, "
                "after rows had been moved into it"
            )
    return None


def _matters(upgrade: Upgrade) -> bool:
    """Where the old shape may be stale there is nothing to move rows from."""
    is_rooted = upgrade.phase < Phase.READ_NEW or upgrade.old_valid
    is_proven_again = upgrade.goal < Phase.BACKFILL
    return upgrade.phase >= Phase.BACKFILL and is_rooted and not upgrade.is_past_return and not is_proven_again


def _has_moved(view: View, facts: DatabaseFacts) -> bool:
    """Whether its ledger says that a row was moved; one that joined the schema later has none."""
    return any(
        each.name in view.new.data_migrations and (each.rows_done or each.state is MigrationState.COMPLETE)
        for each in facts.migrations
    )
