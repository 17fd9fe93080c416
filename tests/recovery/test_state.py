"""The orchestrator itself: no daemon, and a state database that is away, read-only, or older than it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from orchestrator.demo.example import SCHEMA
from orchestrator.demo.ports import free_port
from orchestrator.domain.errors import Unavailable
from tests.faults.proxy import Proxy
from tests.recovery.entries import Entry, mends
from tests.recovery.place import END_OTHERS, Place, execute


@mends("No daemon answers")
def test_no_daemon(place: Place, entry: Entry) -> None:
    place.url = f"http://127.0.0.1:{free_port()}"
    entry.assert_shown(place.status(code=1))
    place.open()
    assert not entry.is_shown(place.status())


@mends("The state database is away")
def test_state_database_that_is_away(place: Place, entry: Entry, new_postgresql_url: Callable[[], str]) -> None:
    url = sa.make_url(new_postgresql_url())
    with Proxy.before(url) as proxy:
        place.site.state_url = proxy.url(url)
        place.open().begin().nobody_runs()
        proxy.refuse()
        entry.assert_shown(place.status(code=1))
        proxy.accept()
        assert place.goes_on()
        place.close()


@mends("The state database takes no writes")
def test_state_database_that_takes_no_writes(place: Place, entry: Entry, new_postgresql_url: Callable[[], str]) -> None:
    """Reading goes on; a change is refused, and a daemon that starts too."""
    place.site.state_url = new_postgresql_url()
    name = sa.make_url(place.site.state_url).database
    place.open().begin()
    place.in_state(f"ALTER DATABASE {name} SET default_transaction_read_only = on", END_OTHERS)
    report = ("fleet", "report", "inventory", "inventory-api", "--release", "1", "--instances", "0")
    entry.assert_shown(place.orchestrator(*report, code=1))
    (statement,) = entry.statements()
    with pytest.raises(Unavailable) as caught:
        Place(place.site).open()
    assert caught.value.code == "database_read_only"
    writable = "SET default_transaction_read_only = off"
    execute(place.site.state_url, writable, statement.replace("orchestrator", str(name)), END_OTHERS, autocommit=True)
    place.orchestrator(*report)
    place.close()


@mends("A database was restored, or failed over", "The state database lost commits")
def test_commits_that_may_be_lost(place: Place, entries: tuple[Entry, ...]) -> None:
    """Both are waited out, and what the databases know of the upgrade is taken over."""
    restored, lost = entries
    place.begun().nobody_runs().work_until("backfill")
    place.execute("UPDATE orchestrator_incarnation SET value = 'sqlite.restored'")
    place.work()
    restored.assert_shown(place.status())
    leases_run_out(place)
    place.close()
    state, old = place.site.directory / "state.sqlite", place.site.directory / "old"
    shutil.copy(state, old)
    place.open().work()
    assert place.phase() == "sealed"
    place.close()
    shutil.copy(old, state)
    place.open().work()
    lost.assert_shown(place.status())
    leases_run_out(place)
    place.work()
    assert place.phase() == "sealed"


def leases_run_out(place: Place) -> None:
    """So much time goes by that every lease that may have been forgotten is over."""
    place.in_state("UPDATE upgrades SET frozen_until = 1 WHERE frozen_until IS NOT NULL")


@mends("The state database lost a whole upgrade")
def test_upgrade_that_the_state_has_forgotten(place: Place, entry: Entry) -> None:
    place.open().orchestrator("schema", "init", SCHEMA, "--release", "1")
    place.nobody_runs().close()
    state, old = place.site.directory / "state.sqlite", place.site.directory / "old"
    shutil.copy(state, old)
    place.open().orchestrator("upgrade", "begin", SCHEMA, "--release", "2", "--reason", "test")
    place.work_until("backfill").close()
    shutil.copy(old, state)
    place.open().work()
    entry.assert_shown(place.status())
    refused = place.orchestrator("upgrade", "begin", SCHEMA, "--release", "2", "--reason", "test", code=3)
    assert "(copy_ahead)" in refused
    take_over, resume = entry.commands()
    place.type_one(take_over)
    assert place.phase() == "backfill"
    leases_run_out(place)
    place.work()
    place.type_one(resume)
    place.work()
    assert place.phase() == "sealed"


@mends("Two orchestrators manage one database")
def test_two_orchestrators(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs().work_until("backfill")
    place.execute("UPDATE orchestrator_copies SET upgrade_id = 99, revision = revision + 100")
    place.turn(batches=lambda: False)
    entry.assert_shown(place.status())
