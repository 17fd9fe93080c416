"""Roles of a service on real servers: locked with the fence to backfill, unlocked on the way back, never our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.demo.example import SCHEMA
from orchestrator.domain.errors import ConfigurationError, Conflict
from tests.daemon.daemons import Site
from tests.recovery.place import Place, execute


class Service:
    """The user that the old release works under."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)
        self.name = f"old_{self._url.database}"
        self._is_postgresql = self._url.get_backend_name() == "postgresql"
        if self._is_postgresql:
            execute(url, f"CREATE ROLE {self.name} LOGIN")
        else:
            grant = f"GRANT ALL ON {self._url.database}.* TO '{self.name}'"
            execute(url, *(f"CREATE USER '{self.name}'@'{host}'" for host in ("localhost", "10.%%")))
            execute(url, f"{grant}@'localhost'", f"{grant}@'10.%%'")
        self._engine = sa.create_engine(self._url.set(username=self.name), poolclass=sa.NullPool)

    def may_connect(self) -> bool:
        try:
            with self._engine.connect():
                return True
        except sa.exc.DBAPIError:
            return False

    def drop(self) -> None:
        url = self._url.render_as_string(hide_password=False)
        if self._is_postgresql:
            execute(url, f"DROP ROLE {self.name}")
        else:
            execute(url, *(f"DROP USER '{self.name}'@'{host}'" for host in ("localhost", "10.%%")))


@pytest.fixture(params=["postgresql", pytest.param("mysql", id="mariadb")])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place whose managed database is on a server, not open yet."""
    new_url: Callable[[], str] = request.getfixturevalue(f"new_{request.param}_url")
    place = Place(Site(tmp_path))
    place.site.databases = {"main": new_url()}
    yield place
    place.close()


@pytest.fixture
def service(place: Place) -> Iterator[Service]:
    service = Service(place.site.databases["main"])
    yield service
    service.drop()


def test_role_is_not_locked_for_a_state_that_is_over(place: Place, service: Service) -> None:
    place.site.more[f"schema:{SCHEMA}"] = {"roles": f"{service.name}: 1"}
    place.open().begin()
    managed = place.services.context.managed(SCHEMA)
    with pytest.raises(Conflict) as caught:
        managed.settle_roles("main", 999, lock=(service.name,), unlock=())
    assert caught.value.code == "copy_changed"
    assert service.may_connect()


def test_old_role_is_locked_in_backfill_and_unlocked_on_the_way_back(place: Place, service: Service) -> None:
    place.site.more[f"schema:{SCHEMA}"] = {"roles": f"{service.name}: 1"}
    place.open().begin()  # nobody ever reported anything: the role tells of all that run release 1
    assert service.may_connect()
    place.work_until("backfill")
    assert not service.may_connect()
    place.reopen()
    place.work_until("backfill")
    place.orchestrator("upgrade", "rollback", SCHEMA, "--to", "expanded", "--reason", "test")
    place.work()
    assert place.phase() == "expanded"
    assert service.may_connect()
    events = place.orchestrator("events", "--schema", SCHEMA)
    assert f"role {service.name} was locked in main" in events
    assert f"role {service.name} was unlocked in main" in events


@pytest.mark.parametrize(
    ("roles", "code"),
    [("{own}: 1", "role_own"), ("somebody: 9", "release_unknown"), ("somebody: ", "option_value_invalid")],
)
def test_roles_that_cannot_be_meant_are_refused(place: Place, roles: str, code: str) -> None:
    own = sa.make_url(place.site.databases["main"]).username
    place.site.more[f"schema:{SCHEMA}"] = {"roles": roles.format(own=own)}
    with pytest.raises(ConfigurationError) as caught:
        place.open()
    assert caught.value.code == code
    assert "roles" in caught.value.message


def test_file_of_sqlite_has_no_roles(tmp_path: Path) -> None:
    place = Place(Site(tmp_path))
    place.site.more[f"schema:{SCHEMA}"] = {"roles": "somebody: 1"}
    with pytest.raises(ConfigurationError) as caught:
        place.open()
    assert caught.value.code == "roles_unknown"
