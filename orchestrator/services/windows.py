"""Windows: whether a batch may begin in a database now, which no window closes upon; and when they open, for people.

What time it is the state database says, so that all daemons agree.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.domain.errors import Conflict
from orchestrator.domain.order import DONE
from orchestrator.domain.overlay import Overlay
from orchestrator.domain.pacing import USUAL_SIZES
from orchestrator.domain.throttling import Reason
from orchestrator.domain.view import DatabaseFacts, View
from orchestrator.domain.windows import Opening, batch_needs_seconds, eta_seconds, reasons_to_wait
from orchestrator.ports import ManagedSchema
from orchestrator.services.context import Context


@dataclass(frozen=True, slots=True)
class WindowStatus:
    """The windows of one database: their names, and the opening that is the present one, or else the next."""

    database: str
    names: tuple[str, ...]
    is_open: bool
    opening: Opening
    sentence: str


class MaintenanceWindows:
    """The windows of all databases, as one daemon keeps them. For any number of threads; `clock` is monotonic.

    Remembers the present opening of each database, and how long batches took in it. At the next opening that is
    forgotten: what was slow once, in a window too short for it, would else never be tried again.
    """

    def __init__(self, context: Context, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._clock = clock
        self._openings: dict[tuple[str, str], Opening] = {}
        self._took: dict[tuple[str, str, str], float] = {}

    def reasons(self, schema: str, database: str, name: str, over: Overlay) -> tuple[Reason, ...]:
        """Why no batch of this data migration may begin there now; none means go.

        It may where what is left of the opening is as long as the batch may take: as `batch_seconds` says, with what
        `over` sets of it, or as long as the last ones took if that is longer, with a margin.
        """
        managed = self._context.managed(schema)
        windows = managed.windows(database)
        if not windows.each:
            return ()
        now = self._context.store.read(lambda tx: tx.now)
        configured = {option.name: option.configured for option in managed.options(database)}
        batch_seconds = over.value("batch_seconds", configured.get("batch_seconds", USUAL_SIZES.seconds))
        opening = self._openings.get((schema, database))
        if opening is not None and opening.holds(now):
            needed = batch_needs_seconds(batch_seconds, self._took.get((schema, database, name), 0.0))
            if not reasons_to_wait(windows, opening, now, needed):
                return ()
        found = windows.opening(now)
        if found is None:
            return ()
        if opening is None or found.opens_at >= opening.closes_at:
            self._forget(schema, database)
        self._openings[schema, database] = found
        needed = batch_needs_seconds(batch_seconds, self._took.get((schema, database, name), 0.0))
        return reasons_to_wait(windows, found, now, needed)

    @contextmanager
    def timed(self, schema: str, database: str, name: str) -> Iterator[None]:
        """Remember how long this batch of the data migration takes, whatever comes of it.

        With several workers what the slower one took counts: it is forgotten by halves.
        """
        key, began, was_batch = (schema, database, name), self._clock(), True
        try:
            yield
        except Conflict:
            was_batch = False
            raise
        finally:
            if was_batch and (schema, database) in self._openings:
                self._took[key] = max(self._clock() - began, self._took.get(key, 0.0) / 2)

    def statuses(self, schema: str) -> tuple[WindowStatus, ...]:
        """The databases that have windows, in the order of the configuration. Raises `NotFound`."""
        managed = self._context.managed(schema)
        now = self._context.store.read(lambda tx: tx.now)
        found = []
        for database in managed.databases:
            windows = managed.windows(database)
            opening = windows.opening(now)
            if opening is not None:
                opens, closes = windows.told(opening.opens_at), windows.told(opening.closes_at)
                is_open = opening.holds(now)
                sentence = f"rows may be moved until {closes}" if is_open else f"closed; opens {opens}, until {closes}"
                names = tuple(window.name for window in windows.each)
                found.append(WindowStatus(database, names, is_open, opening, sentence))
        return tuple(found)

    def _forget(self, schema: str, database: str) -> None:
        for key in tuple(self._took):
            if key[:2] == (schema, database):
                self._took.pop(key, None)


def in_windows(managed: ManagedSchema, view: View, work_seconds: float | None) -> float | None:
    """In how many seconds so much work of an upgrade is done, where it goes on only while windows are open.

    Databases work side by side, and those that are done are not waited for. None as `work_seconds`, and where that is
    too far away to be told.
    """
    left = {managed.windows(facts.name) for facts in view.databases if _has_rows_left(facts, view)}
    return eta_seconds(left, view.now, work_seconds)


def _has_rows_left(database: DatabaseFacts, view: View) -> bool:
    """Whether rows are left to move or to verify there, or nobody knows."""
    found = [facts.state for facts in database.migrations if facts.name in view.new.data_migrations]
    return not found or any(state not in DONE for state in found)
