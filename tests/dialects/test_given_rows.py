"""The temporary table of a batch on MariaDB, whose transaction may be given up at any of its statements."""

from collections.abc import Callable

import pymysql
import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.domain.errors import Unavailable


@pytest.fixture
def database(open_database: Callable[[str, str], Database], mysql_url: str) -> Database:
    database = open_database("test", mysql_url)
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE words (id INTEGER PRIMARY KEY, word VARCHAR(20))")
        connection.exec_driver_sql("INSERT INTO words VALUES (1, 'old')")
    return database


@pytest.mark.parametrize("times", [1, 2, 3])
def test_batch_finds_no_leftovers_of_those_that_were_given_up(database: Database, times: int) -> None:
    table = sa.Table("words", sa.MetaData(), autoload_with=database.engine)
    left = times

    def give_up(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        nonlocal left
        if statement.startswith("DROP TEMPORARY TABLE") and left:
            left -= 1
            raise pymysql.err.OperationalError(1213, "Deadlock found when trying to get lock")

    def write() -> int:
        with database.writing() as connection:
            return database.dialect.update_rows(connection, table, ["id"], ["word"], [(1, "new")])

    sa.event.listen(database.engine, "before_cursor_execute", give_up)
    for _ in range(times):
        with pytest.raises(Unavailable, match="Deadlock"):
            write()
    assert write() == 1
