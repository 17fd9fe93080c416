"""Our own tables, brought to their newest release by our own runner: the bookkeeping here, and every tree like it.

Daemons of several versions share them. Whatever adds to them runs as soon as a newer version comes; what removes from
them runs only when `may_contract` says that nobody needs it any more. So a version that finds expand revisions that
it does not know goes on, and one that finds a contract revision that it does not know does not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import cache, partial

from orchestrator.bookkeeping import journal
from orchestrator.bookkeeping.tables import VERSION_TABLE
from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, MigrationRefused, Never, NotYet, StepFailed
from orchestrator.domain.ladder import Stage, Step
from orchestrator.domain.releases import Release
from orchestrator.resources import bookkeeping_migrations_directory
from orchestrator.schema_migrations.alembic_driver import AlembicDriver

BOOKKEEPING_SCHEMA = "orchestrator_bookkeeping"

_ATTEMPTS = 60
_STUMBLES = 6
_PAUSE_SECONDS = 0.5

MayContract = Callable[[str], bool]
"""Whether nobody needs any more what the contract revisions of that release remove."""


def nobody_asked(release: str) -> bool:
    """May never contract: for whoever cannot tell which daemons there are."""
    return False


def prepare(database: Database, *, may_contract: MayContract = nobody_asked) -> None:
    """Create or update the bookkeeping tables in a database. Repeatable; several processes may do it at once.

    Its first revision creates the journal, so it alone runs without an intent. Raises `Unavailable`, `StepFailed`,
    and what `bring_to_newest` raises.
    """
    bring_to_newest(bookkeeping_driver(), database, may_contract=may_contract)


def begin(driver: AlembicDriver, database: Database, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Make the tables of the first release, where they are not. Raises `Never` as `bring_to_newest` does.

    By the books alone: whoever brings them to the newest release looks whether they are there.
    """
    first = driver.releases.ordered[0]

    def work() -> None:
        if first.expand_head not in _done(driver, database):
            _run(driver, database, first, Step.EXPAND, sleep)

    _in_company(driver, database, work)


def bring_to_newest(
    driver: AlembicDriver,
    database: Database,
    *,
    may_contract: MayContract = nobody_asked,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """Bring a schema that is the orchestrator's own to its newest release, as far as it may be. Waits for others.

    A contract that may not run yet is left for later: its release is returned, None where nothing is left to do. Before
    a release that follows it, it is waited for: raises `NotYet` (code `older_daemon_runs`). Raises `Never` (code
    `daemon_too_old`) where a newer version has contracted.
    """
    return _in_company(driver, database, lambda: _bring(driver, database, may_contract, sleep))


def _bring(
    driver: AlembicDriver, database: Database, may_contract: MayContract, sleep: Callable[[float], None]
) -> str | None:
    done = _done(driver, database)
    for release in driver.releases.ordered:
        is_newest = release is driver.releases.ordered[-1]
        if not is_newest and not release.has_contract and release.expand_head in done:
            continue  # what the newest one finds in the catalog is all of it
        _run(driver, database, release, Step.EXPAND, sleep)
        if not release.has_contract or not driver.plan(database, release.name, Step.CONTRACT):
            continue
        if may_contract(release.name):
            _run(driver, database, release, Step.CONTRACT, sleep)
        elif is_newest:
            return release.name
        else:
            raise _stuck(driver, database, release)
    return None


def _in_company(driver: AlembicDriver, database: Database, work: Callable[[], str | None]) -> str | None:
    """Do the work, unless a newer version was here: then there is nothing left for this one to do, and None."""
    if _is_newer(driver, database):
        return None
    try:
        return work()
    except MigrationRefused as refusal:
        if refusal.code == "database_ahead" and _is_newer(driver, database):  # it came while we were at work
            return None
        raise


def _is_newer(driver: AlembicDriver, database: Database) -> bool:
    """Whether a newer version has expanded these tables, and only that. It first contracts what this version knows.

    Raises `Never` (code `daemon_too_old`) where it has begun to contract.
    """
    unknown = [entry for entry in _journal(driver, database) if entry.revision not in driver.tree]
    for entry in unknown:
        if entry.stage != Stage.EXPAND.value:
            raise Never(
                "daemon_too_old",
                f"a newer version has removed what this one uses of the orchestrator's own tables in "
                f"{database.name} at {database.place}, with revision {entry.revision}",
                remedy="Install that version here too: `orchestrator daemon list --all` names it.",
                database=database.name,
                revision=entry.revision,
            )
    return bool(unknown)


def _done(driver: AlembicDriver, database: Database) -> frozenset[str]:
    """The revisions that have run, as the books say."""
    entries = _journal(driver, database)
    return frozenset(each.revision for each in entries if each.state is journal.JournalState.DONE)


def _journal(driver: AlembicDriver, database: Database) -> tuple[journal.JournalEntry, ...]:
    with database.reading() as connection:
        return journal.entries(connection, driver.schema) if journal.exists(connection) else ()


def _stuck(driver: AlembicDriver, database: Database, release: Release) -> NotYet:
    following = driver.releases.after(release.name)
    assert following is not None
    return NotYet(
        "older_daemon_runs",
        f"the orchestrator's own tables in {database.name} cannot be taken to release {following.name}: daemons run "
        f"that need what release {release.name} removes",
        remedy="Stop them; evict those that are dead: `orchestrator daemon list`, asked of a daemon that runs.",
        database=database.name,
    )


def _run(
    driver: AlembicDriver, database: Database, release: Release, step: Step, sleep: Callable[[float], None]
) -> None:
    _when_free(partial(driver.run, database, release.name, step, owner_epoch=0), sleep)


def _when_free(work: Callable[[], object], sleep: Callable[[float], None]) -> None:
    """Do the work when nobody else is doing it.

    On a Galera cluster, whose nodes know nothing of each other's locks, two daemons may be doing it at once. Nothing is
    done twice there either, but each stumbles over what the other one has just done; looking anew, it finds it done.
    """
    attempts = stumbles = 0
    while True:
        try:
            work()
            return
        except (Conflict, StepFailed) as error:
            is_busy = error.code == "lock_busy"
            attempts, stumbles = attempts + is_busy, stumbles + (not is_busy)
            if attempts >= _ATTEMPTS or stumbles >= _STUMBLES:
                raise
        sleep(_PAUSE_SECONDS * (0.5 + random.random()))


@cache
def bookkeeping_driver() -> AlembicDriver:
    """Read once: the files travel with the program."""
    directory = bookkeeping_migrations_directory()
    return AlembicDriver(directory, schema=BOOKKEEPING_SCHEMA, version_table=VERSION_TABLE)
