"""The bookkeeping schema: the orchestrator's own tables, brought to their newest release by its own runner."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from functools import partial

from orchestrator.bookkeeping.tables import VERSION_TABLE
from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ladder import Step
from orchestrator.resources import bookkeeping_migrations_directory
from orchestrator.schema_migrations.alembic_driver import AlembicDriver

BOOKKEEPING_SCHEMA = "orchestrator_bookkeeping"

_ATTEMPTS = 60
_PAUSE_SECONDS = 0.5


def prepare(database: Database, *, owner_epoch: int = 0) -> None:
    """Create or update the bookkeeping tables in a database. Repeatable; several processes may do it at once.

    Its first revision creates the journal, so it alone runs without an intent. Raises `Unavailable`, `StepFailed`,
    and `MigrationRefused` (code `database_ahead`) where a newer version of this program has been here.
    """
    bring_to_newest(_driver(), database, owner_epoch=owner_epoch)


def bring_to_newest(
    driver: AlembicDriver,
    database: Database,
    *,
    owner_epoch: int = 0,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[str, ...]:
    """Bring a schema that is the orchestrator's own to its newest release, step by step. Returns what ran.

    Waits while another process is doing the same. Contract steps run too: nobody else has a claim on these tables.
    """
    ran: list[str] = []
    for release in driver.releases.ordered:
        for step in (Step.EXPAND, Step.CONTRACT):
            run = partial(driver.run, database, release.name, step, owner_epoch=owner_epoch)
            ran += _when_free(run, sleep)
    return tuple(ran)


def _when_free(work: Callable[[], tuple[str, ...]], sleep: Callable[[float], None]) -> tuple[str, ...]:
    for _ in range(_ATTEMPTS - 1):
        try:
            return work()
        except Conflict as conflict:
            if conflict.code != "lock_busy":
                raise
        sleep(_PAUSE_SECONDS * (0.5 + random.random()))
    return work()


_lock = threading.Lock()
_loaded: list[AlembicDriver] = []


def _driver() -> AlembicDriver:
    """Read once: the files travel with the program."""
    with _lock:
        if not _loaded:
            directory = bookkeeping_migrations_directory()
            _loaded.append(AlembicDriver(directory, schema=BOOKKEEPING_SCHEMA, version_table=VERSION_TABLE))
        return _loaded[0]
