"""Throttling: asks the signals of a database whether rows may be moved there, and writes down why not.

Every daemon asks for itself, and whoever is asked shows what all of them found: one may reach a signal that another
one does not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.domain.daemons import DaemonState
from orchestrator.domain.overlay import NOTHING_SET, Overlay
from orchestrator.domain.throttling import Reason, RowsWait, reasons_to_wait
from orchestrator.ports import Transaction
from orchestrator.services.context import Context

RENEW_SECONDS = 5.0
"""How often the numbers in reasons that stay the same are written down anew."""


@dataclass(frozen=True, slots=True)
class _Noted:
    """What this daemon wrote down, when it began to wait, and when it wrote: by the database's and by its own clock."""

    reasons: tuple[Reason, ...]
    since: float
    written_at: float


class Throttling:
    """One daemon's throttles. Each database may have several callers at a time; `clock` is monotonic."""

    def __init__(
        self, context: Context, daemon: str = "this daemon", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._context = context
        self._daemon = daemon
        self._clock = clock
        self._noted: dict[tuple[str, str], _Noted] = {}
        self._noting = threading.Lock()

    def reasons(self, schema: str, database: str, over: Overlay = NOTHING_SET) -> tuple[Reason, ...]:
        """Why no batch may begin there now, beside the limits that `over` sets; none means go."""
        return reasons_to_wait(self._context.managed(schema).signals(database, over))

    def noted(self, schema: str, database: str) -> tuple[Reason, ...]:
        """What was last written down."""
        found = self._noted.get((schema, database))
        return () if found is None else found.reasons

    def note(self, schema: str, database: str, reasons: tuple[Reason, ...]) -> None:
        """Let everybody know that rows wait there for these reasons; with none, that they do not wait any more."""
        if reasons or (schema, database) in self._noted:
            with self._noting:
                self._note(schema, database, reasons)

    def _note(self, schema: str, database: str, reasons: tuple[Reason, ...]) -> None:
        before = self._noted.get((schema, database))
        if before is None and not reasons:
            return
        now = self._clock()
        is_known = before is not None and _marks(before.reasons) == _marks(reasons)
        if before is not None and is_known and now - before.written_at < RENEW_SECONDS:
            return

        def work(tx: Transaction) -> float:
            _forget_those_who_ended(tx, schema, database)
            if not reasons:
                tx.end_rows_wait(schema, database, self._daemon)
                return tx.now
            since = tx.now if before is None else before.since
            tx.save_rows_wait(RowsWait(schema, database, self._daemon, reasons, since, tx.now))
            return since

        since = self._context.store.run(work)
        if reasons:
            self._noted[schema, database] = _Noted(reasons, since, now)
        else:
            del self._noted[schema, database]


def _marks(reasons: tuple[Reason, ...]) -> tuple[tuple[str, str, bool], ...]:
    return tuple(reason.mark for reason in reasons)


def _forget_those_who_ended(tx: Transaction, schema: str, database: str) -> None:
    alive = {daemon.id for daemon in tx.daemons(state=DaemonState.ALIVE)}
    for wait in tx.rows_waits(schema):
        if wait.database == database and wait.daemon not in alive:
            tx.end_rows_wait(schema, database, wait.daemon)
