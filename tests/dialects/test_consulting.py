"""A query that is not ours reads, writes nothing, and ends in time."""

import pytest
from oslo_db.exception import DBError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects import Database
from orchestrator.domain.errors import OrchestratorError

ENDLESS = """
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000)
    SELECT count(*) FROM numbers AS a CROSS JOIN numbers AS b CROSS JOIN numbers AS c CROSS JOIN numbers AS d
    WHERE a.n + b.n + c.n + d.n < 0
"""

REFUSED = (OrchestratorError, SQLAlchemyError, DBError)


@pytest.fixture
def shop(database: Database) -> Database:
    """One table with one row."""
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE things (id INTEGER PRIMARY KEY)"))
        connection.execute(text("INSERT INTO things VALUES (1)"))
    return database


def test_it_reads(shop: Database) -> None:
    with shop.consulting(30) as connection:
        assert connection.execute(text("SELECT id FROM things")).scalars().all() == [1]


@pytest.mark.parametrize("statement", ["INSERT INTO things VALUES (2)", "DELETE FROM things", "DROP TABLE things"])
def test_it_writes_nothing(shop: Database, statement: str) -> None:
    with pytest.raises(REFUSED), shop.consulting(30) as connection:
        connection.execute(text(statement))
    with shop.reading() as connection:
        assert connection.execute(text("SELECT id FROM things")).scalars().all() == [1]


def test_it_ends_in_time(database: Database) -> None:
    with pytest.raises(REFUSED), database.consulting(0.2) as connection:
        connection.execute(text(ENDLESS))


def test_whoever_has_the_connection_next_may_write_and_take_time(shop: Database) -> None:
    with pytest.raises(REFUSED), shop.consulting(0.2) as connection:
        connection.execute(text(ENDLESS))
    with shop.writing() as connection:
        connection.execute(text("INSERT INTO things VALUES (2)"))
        limits = {
            "postgresql": "SHOW statement_timeout",
            "mysql": "SELECT @@max_statement_time = @@global.max_statement_time",
            "sqlite": "PRAGMA query_only",
        }
        expected = {"postgresql": "0", "mysql": 1, "sqlite": 0}
        name = shop.dialect.name
        assert connection.execute(text(limits[name])).scalar() == expected[name]
