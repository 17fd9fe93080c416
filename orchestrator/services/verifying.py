"""Verifying: rows compared because somebody asked, by any daemon, in any phase, beside the rows that move.

The request is on record in the managed database. Whether there is one is known from the latest readings, which are
looked at now and then, and at once to the daemon that was asked: no database is asked while nobody wants anything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from orchestrator.domain.errors import Conflict, LostCursor, NotFound, OrchestratorError
from orchestrator.domain.overlay import Overlay, overlay_of
from orchestrator.domain.throttling import Reason
from orchestrator.domain.verifications import Verification
from orchestrator.ports import Transaction
from orchestrator.services.context import Context, event, latest_readings
from orchestrator.services.recording import DAEMON
from orchestrator.services.throttling import Throttling
from orchestrator.services.windows import MaintenanceWindows

LOOK_SECONDS = 10.0
"""How often the readings of a schema are looked at: each of them holds all that is known of a database."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """In which databases of a schema something was under way, when the readings were looked at."""

    databases: frozenset[str]
    at: float


class Verifying:
    """`actor` is who asks. Nothing of what it does is seen by the upgrade. `clock` is monotonic."""

    def __init__(
        self,
        context: Context,
        throttling: Throttling,
        windows: MaintenanceWindows,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._throttling = throttling
        self._windows = windows
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._looking = threading.Lock()

    def verify(
        self, schema: str, name: str, databases: Sequence[str], *, actor: str, reason: str | None
    ) -> tuple[str, ...]:
        """Let its rows be compared in these databases. Repeatable: one that is under way goes on.

        Returns where it began. One that refuses keeps no other from it; then its refusal is raised.
        """
        managed, begun, refusals = self._context.managed(schema), [], []
        for each in databases:
            try:
                if managed.verify_migration(each, name, actor=actor, reason=reason):
                    begun.append(each)
                self._note(schema, each, is_wanted=True)
            except OrchestratorError as error:
                refusals.append(error)
        if begun:
            sentence = f"{actor} asked for the rows of {name} to be compared in {', '.join(begun)}"
            self._record("data_migration.verify", sentence, schema, name, actor, reason)
        if refusals:
            raise refusals[0]
        return tuple(begun)

    def stop(self, schema: str, name: str, databases: Sequence[str], *, actor: str, reason: str | None) -> None:
        """Let comparisons of it be; what they found stays. Raises `NotFound` where none is under way."""
        managed, stopped, refusals = self._context.managed(schema), [], []
        for each in databases:
            try:
                if managed.stop_verifying(each, name):
                    stopped.append(each)
            except OrchestratorError as error:
                refusals.append(error)
        if stopped:
            sentence = f"{actor} stopped the comparison of {name} in {', '.join(stopped)}"
            self._record("data_migration.verify", sentence, schema, name, actor, reason)
        if refusals:
            raise refusals[0]
        if not stopped:
            raise NotFound(
                "nothing_to_stop",
                f"the rows of {name} are not being compared in {', '.join(databases)}",
                remedy=f"orchestrator data-migration show {schema} {name}",
            )

    def run_batch(self, schema: str, database: str, *, leads: bool, rest: Callable[[float], object]) -> bool:
        """Compare the next rows of one data migration there. Returns whether there may be more to do.

        Waits for the same throttles and windows as rows that move. Raises as `ManagedSchema.verify_batch` does.
        """
        if not self._is_wanted(schema, database):
            return False
        managed = self._context.managed(schema)
        names = [each.name for each in managed.verifications(database) if each.is_running]
        if not names:
            self._note(schema, database, is_wanted=False)
            return False
        over = self._over(schema, database)
        if self._throttling.reasons(schema, database, over):
            return False
        for name in names:
            if self._windows.reasons(schema, database, name, over):
                continue
            try:
                with self._windows.timed(schema, database, name):
                    found = managed.verify_batch(database, name, leads=leads, over=over)
            except LostCursor:
                continue
            except Conflict as conflict:
                if conflict.code == "batch_too_soon":
                    rest(conflict.fields.get("wait_seconds", 0.0))
                    return True
                continue  # another daemon is at it
            if found is not None and not found.is_running:
                sentence = f"the rows of {name} in {database}: {found.sentence}"
                self._record("data_migration.verified", sentence, schema, name, DAEMON, None)
            return True
        return False

    def reasons(self, schema: str, database: str, name: str) -> tuple[Reason, ...]:
        """Why no batch of that comparison would begin there now, as this daemon finds; none means go."""
        over = self._over(schema, database)
        throttles = self._throttling.reasons(schema, database, over)
        return throttles + self._windows.reasons(schema, database, name, over)

    def _over(self, schema: str, database: str) -> Overlay:
        return self._context.store.read(lambda tx: overlay_of(tx.settings(schema), database))

    def in_database(self, schema: str, database: str) -> tuple[Verification, ...]:
        """The newest of each data migration as its database tells now, or else as it was last read."""
        with suppress(OrchestratorError):
            return self._context.managed(schema).verifications(database)
        return self._context.store.read(lambda tx: self._read(tx, schema, database))

    def _is_wanted(self, schema: str, database: str) -> bool:
        """Whether somebody is known to have asked for something there."""
        with self._looking:
            seen = self._seen.get(schema)
            if seen is None or self._clock() - seen.at >= LOOK_SECONDS:
                found = self._context.store.read(lambda tx: self._under_way(tx, schema))
                seen = self._seen[schema] = _Seen(found, self._clock())
        return database in seen.databases

    def _note(self, schema: str, database: str, *, is_wanted: bool) -> None:
        with self._looking:
            seen = self._seen.get(schema, _Seen(frozenset(), self._clock()))
            databases = seen.databases | {database} if is_wanted else seen.databases - {database}
            self._seen[schema] = replace(seen, databases=databases)

    def _under_way(self, tx: Transaction, schema: str) -> frozenset[str]:
        readings = latest_readings(tx, self._context.managed(schema))
        return frozenset(each.name for each in readings if any(found.is_running for found in each.verifications))

    def _read(self, tx: Transaction, schema: str, database: str) -> tuple[Verification, ...]:
        readings = latest_readings(tx, self._context.managed(schema))
        return next((reading.verifications for reading in readings if reading.name == database), ())

    def _record(self, action: str, sentence: str, schema: str, name: str, actor: str, reason: str | None) -> None:
        def work(tx: Transaction) -> None:
            event(tx, action, sentence, actor=actor, schema=schema, subject=name, reason=reason)

        self._context.store.run(work)
