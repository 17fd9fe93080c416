"""The orchestrator itself: no daemon, and a state database that is away, read-only, or older than it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from orchestrator.domain.errors import Unavailable
from tests.daemon.daemons import free_port
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


@mends("The state database lost commits")
def test_state_database_that_lost_commits(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs()
    place.close()
    state, old, new = (place.site.directory / name for name in ("state.sqlite", "old", "new"))
    shutil.copy(state, old)
    place.open().work_until("backfill").close()
    shutil.copy(state, new)
    shutil.copy(old, state)
    place.open().work()
    entry.assert_shown(place.status())
    place.close()
    shutil.copy(new, state)
    assert place.open().goes_on()
