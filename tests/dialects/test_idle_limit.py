"""Whoever is paused in the middle of a transaction loses it to the server after a while, and with it its locks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.domain.errors import Unavailable
from tests.daemon.daemons import until

ADD = sa.text("UPDATE counters SET value = value + 1")


@pytest.mark.parametrize("kind", ["postgresql", pytest.param("mysql", id="mariadb")])
def test_session_that_idles_in_a_transaction_is_ended(
    kind: str, request: pytest.FixtureRequest, open_database: Callable[[str, str], Database]
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    paused, other = open_database("paused", url), open_database("other", url)
    paused.dialect.limit_idle(paused.engine, 3)
    with other.writing() as connection:
        connection.execute(sa.text("CREATE TABLE counters (value INTEGER)"))
        connection.execute(sa.text("INSERT INTO counters VALUES (0)"))

    def add() -> bool:
        try:
            with other.writing() as connection:
                connection.execute(ADD)
        except Unavailable:
            return False
        return True

    with pytest.raises(Unavailable) as caught, paused.writing() as connection:
        connection.execute(ADD)
        until(add, "the row is free")
        connection.execute(ADD)
    assert caught.value.code == "database_unreachable"
    with paused.writing() as connection:
        assert connection.execute(sa.text("SELECT value FROM counters")).scalar_one() == 1
