"""Waits: why rows of a schema are not moved now, as the daemons found that renew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from orchestrator.domain.daemons import DaemonState
from orchestrator.domain.throttling import Reason, RowsWait, newest_reasons
from orchestrator.ports import Transaction


def reasons_in(tx: Transaction, schema: str) -> Mapping[str, tuple[Reason, ...]]:
    """The reasons in each database in which rows wait."""
    waits = tx.rows_waits(schema)
    if not waits:
        return {}
    renewing = {daemon.id for daemon in tx.daemons(state=DaemonState.ALIVE) if not daemon.is_expired(tx.now)}
    found: dict[str, list[RowsWait]] = defaultdict(list)
    for wait in waits:
        if wait.daemon in renewing:
            found[wait.database].append(wait)
    return {database: newest_reasons(each, renewing) for database, each in found.items()}
