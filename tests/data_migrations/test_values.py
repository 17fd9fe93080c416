"""Values on their way to a transform and back: each arrives as it is, or its row is put in quarantine."""

from __future__ import annotations

import pytest

from orchestrator.domain.view import MigrationState

from .conftest import Site

COPY = """
table = "things"
reads = ("old",)
writes = ("new",)

def transform(self, row):
    return {"new": row["old"]}
"""


def add_values(site: Site, kind: str, *values: str, new: str = "") -> None:
    site.execute(f"CREATE TABLE things (id INTEGER PRIMARY KEY, old {kind}, new {new or kind})")
    site.execute(*(f"INSERT INTO things (id, old) VALUES ({n}, {value})" for n, value in enumerate(values, 1)))


def moved(site: Site, body: str) -> None:
    site.start("walk", body)
    facts = site.run("walk")
    assert (facts.state, facts.differences) == (MigrationState.COMPLETE, 0), facts.error


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        pytest.param("TIME", ["'30:00:00'", "'-838:59:59'", "'-00:00:01'", "NULL"], id="time"),
        pytest.param("TIME(6)", ["'838:59:58.999999'", "'-24:00:00.5'"], id="time with fractions"),
        pytest.param("FLOAT", ["16777217", "0.12345679", "3.4028234e38", "1e-45", "-0.0", "NULL"], id="float"),
        pytest.param("FLOAT(9, 2)", ["1234567.89", "1.255"], id="float with places"),
        pytest.param("DOUBLE", ["1e-15", "12345678901234567", "0.1", "-0.0", "NULL"], id="double"),
        pytest.param("DOUBLE(9, 3)", ["1e0 / 3"], id="double with places"),
    ],
)
def test_copy_is_the_same_value_on_mariadb(mysql_site: Site, kind: str, values: list[str]) -> None:
    add_values(mysql_site, kind, *values)
    moved(mysql_site, COPY)
    shown = "SELECT {0} * 1e0, CAST({0} AS CHAR) FROM things ORDER BY id"
    assert mysql_site.rows(shown.format("new")) == mysql_site.rows(shown.format("old"))


def test_numbers_of_mariadb_are_given_as_the_shortest_that_they_are(mysql_site: Site) -> None:
    add_values(mysql_site, "FLOAT", "0.1", "16777218", "0.12345679", new="TEXT")
    moved(mysql_site, COPY.replace('row["old"]', 'repr(row["old"])'))
    assert mysql_site.rows("SELECT new FROM things ORDER BY id") == [("0.1",), ("16777218.0",), ("0.12345679",)]


def test_time_of_mariadb_is_given_as_a_span(mysql_site: Site) -> None:
    add_values(mysql_site, "TIME", "'30:00:00'", "'-00:00:01'", new="INTEGER")
    moved(mysql_site, COPY.replace('row["old"]', 'int(row["old"].total_seconds())'))
    assert mysql_site.rows("SELECT new FROM things ORDER BY id") == [(108_000,), (-1,)]


@pytest.mark.parametrize(
    ("database", "value", "given"),
    [
        ("postgresql", "BOOLEAN|true", "True"),
        ("postgresql", "NUMERIC(5, 2)|1.5", "Decimal('1.50')"),
        ("postgresql", "REAL|16777218", "16777218.0"),
        ("postgresql", "CHAR(3)|'a'", "'a  '"),
        ("postgresql", "TIMESTAMPTZ|'2026-01-02 03:04+05'", "datetime.datetime(2026, 1, 1, 22, 4, tzinfo="),
        ("postgresql", "TIMETZ|'03:04+05'", "datetime.time(3, 4, tzinfo="),
        ("postgresql", "INTERVAL|'1 day 1 second'", "datetime.timedelta(days=1, seconds=1)"),
        ("postgresql", "JSON|'null'", "None"),
        ("postgresql", "BIT(4)|b'0101'", "BitString("),
        ("postgresql", "INTEGER[]|'{1,NULL}'", "[1, None]"),
        ("postgresql", "INET|'10.0.0.1/24'", "IPv4Interface("),
        ("postgresql", "INT4RANGE|'[1,3)'", "Range("),
        ("postgresql", "MONEY|1.5", "'$1.50'"),
        ("mysql", "BOOLEAN|1", "1"),
        ("mysql", "CHAR(3)|'a'", "'a'"),
        ("mysql", "TIME|'30:00'", "datetime.timedelta(days=1, seconds=21600)"),
        ("mysql", "JSON|'[1]'", "'[1]'"),
        ("mysql", "UUID|'00000000-0000-0000-0000-000000000001'", "UUID("),
        ("mysql", "ENUM('x')|'x'", "'x'"),
        ("mysql", "SET('x')|'x'", "{'x'}"),
        ("mysql", "BIT(4)|b'101'", "5"),
        ("mysql", "YEAR|2026", "2026"),
        ("sqlite", "BOOLEAN|5", "True"),
        ("sqlite", "CHAR(3)|'a '", "'a '"),
        ("sqlite", "DATETIME|'2026-01-02 03:04+05:00'", "datetime.datetime(2026, 1, 2, 3, 4, tzinfo="),
        ("sqlite", "TIME|'03:04:00'", "datetime.time(3, 4)"),
        ("sqlite", "JSON|'[1]'", "[1]"),
    ],
)
def test_page_says_what_a_transform_is_given(
    request: pytest.FixtureRequest, database: str, value: str, given: str
) -> None:
    """The table "What a transform is given" of docs/databases.md, where databases differ."""
    site: Site = request.getfixturevalue(f"{database}_site")
    kind, literal = value.split("|")
    add_values(site, kind, literal, "NULL", new="TEXT")
    moved(site, COPY.replace('row["old"]', 'repr(row["old"])'))
    ((found,), null) = site.rows("SELECT new FROM things ORDER BY id")
    assert found.startswith(given)
    assert null == ("None",)


def refused(site: Site, imports: str, answer: str) -> str:
    """Why the row 2 is in quarantine, for which the transform gives this; the others are moved."""
    body = f"""
    table = "things"
    reads = ("old",)
    writes = ("new",)

    def transform(self, row):
        {imports or "pass"}
        return {{"new": {answer} if row["old"] == 2 else None}}
    """
    site.start("walk", body)
    facts = site.run("walk")
    assert facts.state is MigrationState.FAILED
    (row,) = site.runner.quarantined("walk")
    assert row.key == "id=2"
    assert site.rows("SELECT new FROM things") == [(None,)] * 3
    return row.error


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("[1]", "column new takes no list: if it is of JSON, return text, as of json.dumps"),
        ("['x', 'y']", "takes no list"),
        ("[]", "takes no list"),
        ("(7,)", "takes no tuple"),
        ("{'s'}", "takes no set"),
        ("frozenset()", "takes no frozenset"),
        ("{'a': 1}", "takes no dict"),
        ("object()", "column new takes no object: return text, bytes, a number, a date, a time, or None"),
        ("enum.Enum('Kind', ['x'], type=str).x", "column new takes no Kind: return text"),
        ("float('nan')", "column new takes no nan: MariaDB and MySQL have no such number"),
        ("-float('inf')", "takes no -inf"),
        ("decimal.Decimal('NaN')", "takes no NaN"),
    ],
)
@pytest.mark.parametrize("kind", ["JSON", "INTEGER"])
def test_value_that_the_driver_of_mariadb_would_change_is_refused(
    mysql_site: Site, kind: str, answer: str, says: str
) -> None:
    add_values(mysql_site, "INTEGER", "1", "2", "3", new=kind)
    assert says in refused(mysql_site, "import decimal, enum", answer)


def test_set_is_a_value_of_a_column_of_that_type(mysql_site: Site) -> None:
    add_values(mysql_site, "SET('x', 'y')", "'x,y'", "''", "NULL")
    moved(mysql_site, COPY)
    assert mysql_site.rows("SELECT new FROM things ORDER BY id") == [("x,y",), ("",), (None,)]


@pytest.mark.parametrize(
    ("answer", "stored"), [("enum.StrEnum('Kind', ['x']).x", "x"), ("enum.IntEnum('Kind', ['x']).x", "1")]
)
def test_enumeration_of_text_or_numbers_is_what_it_says(mysql_site: Site, answer: str, stored: str) -> None:
    add_values(mysql_site, "INTEGER", "1", new="TEXT")
    moved(mysql_site, COPY.replace('row["old"]', answer).replace("    return", "    import enum\n    return"))
    assert mysql_site.rows("SELECT new FROM things") == [(stored,)]


WITH_OFFSET = "datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours={})))"
IMPORTS = "from datetime import datetime, timedelta, timezone"


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIME"])
@pytest.mark.parametrize("hours", [5, 0])
def test_time_that_would_lose_its_offset_is_refused(site: Site, kind: str, hours: int) -> None:
    add_values(site, "INTEGER", "1", "2", "3", new=f"{kind} NULL")
    answer = WITH_OFFSET.format(hours) + (".timetz()" if kind == "TIME" else "")
    assert f"column new would lose the offset of {'' if kind == 'TIME' else '2026-01-01T'}12:00:00+0{hours}:00: " in (
        refused(site, IMPORTS, answer)
    )


@pytest.mark.parametrize("answer", ["datetime(2026, 1, 1, 12)", "datetime(2026, 1, 1, 0, 0, 0, 1)"])
def test_time_of_day_that_a_column_of_dates_would_lose_is_refused(site: Site, answer: str) -> None:
    add_values(site, "INTEGER", "1", "2", "3", new="DATE")
    assert "column new would lose the time of day of 2026-01-01T" in refused(site, IMPORTS, answer)


def test_midnight_is_a_date(site: Site) -> None:
    add_values(site, "INTEGER", "1", new="DATE")
    moved(site, COPY.replace('row["old"]', "datetime(2026, 1, 1)").replace("    return", f"    {IMPORTS}\n    return"))
    assert str(site.rows("SELECT CAST(new AS CHAR(10)) FROM things")) == "[('2026-01-01',)]"


def test_sessions_of_postgresql_are_in_utc_whatever_the_database_says(postgresql_site: Site) -> None:
    site, name = postgresql_site, postgresql_site.database.engine.url.database
    for setting in ("timezone = 'Asia/Tokyo'", "datestyle = 'German'", "intervalstyle = 'iso_8601'"):
        site.execute(f"ALTER DATABASE {name} SET {setting}")
    site.database.engine.dispose()
    site.execute(
        "CREATE TABLE things (id INTEGER PRIMARY KEY, old TIMESTAMPTZ, new TEXT)",
        "INSERT INTO things VALUES (1, '2026-01-01 12:00+01')",
    )
    says = "|| ' ' || CAST(interval '36 hours' AS text)"
    moved(site, f'table = "things"\nexpressions = {{"new": "CAST(old AS text) {says}"}}')
    assert site.rows("SELECT new FROM things") == [("2026-01-01 11:00:00+00 36:00:00",)]
    site.execute("DELETE FROM orchestrator_data_migrations")
    moved(site, COPY.replace('row["old"]', 'row["old"].isoformat()'))
    assert site.rows("SELECT new FROM things") == [("2026-01-01T11:00:00+00:00",)]


@pytest.mark.parametrize("kind", ["TIMESTAMPTZ", "TIMETZ"])
def test_offset_is_welcome_where_it_is_kept(postgresql_site: Site, kind: str) -> None:
    add_values(postgresql_site, "INTEGER", "1", new=kind)
    answer = WITH_OFFSET.format(5) + (".timetz()" if kind == "TIMETZ" else "")
    moved(postgresql_site, COPY.replace('row["old"]', answer).replace("    return", f"    {IMPORTS}\n    return"))
    assert postgresql_site.rows(f"SELECT new = '2026-01-01 12:00+05'::{kind} FROM things") == [(True,)]


@pytest.mark.parametrize("answer", ["9007199254740993", "decimal.Decimal('0.12345678901234567890')", "10**400"])
def test_number_that_sqlite_would_change_is_refused(sqlite_site: Site, answer: str) -> None:
    add_values(sqlite_site, "INTEGER", "1", "2", "3", new="NUMERIC")
    assert "column new would not keep all digits of " in refused(sqlite_site, "import decimal", answer)


@pytest.mark.parametrize("kind", ["NUMERIC", "FLOAT"])
@pytest.mark.parametrize("answer", ["float('nan')", "decimal.Decimal('NaN')"])
def test_number_that_sqlite_would_take_for_null_is_refused(sqlite_site: Site, kind: str, answer: str) -> None:
    add_values(sqlite_site, "INTEGER", "1", "2", "3", new=kind)
    assert "SQLite has no such number" in refused(sqlite_site, "import decimal", answer)


def test_domain_of_dates_loses_no_time_of_day(postgresql_site: Site) -> None:
    postgresql_site.execute("CREATE DOMAIN day AS DATE")
    add_values(postgresql_site, "INTEGER", "1", "2", "3", new="day")
    assert "would lose the time of day" in refused(postgresql_site, IMPORTS, "datetime(2026, 1, 1, 12)")


@pytest.mark.parametrize("answer", ["12345678901234", "decimal.Decimal('1.50')", "decimal.Decimal('1E-300')", "0.1"])
def test_number_that_sqlite_keeps_is_stored(sqlite_site: Site, answer: str) -> None:
    add_values(sqlite_site, "INTEGER", "1", new="NUMERIC")
    body = COPY.replace('row["old"]', answer).replace("    return", "    import decimal\n    return")
    moved(sqlite_site, body)


def test_time_whose_offset_was_applied_is_stored(site: Site) -> None:
    add_values(site, "INTEGER", "1", new="TIMESTAMP NULL")
    answer = WITH_OFFSET.format(5) + ".astimezone(timezone.utc).replace(tzinfo=None)"
    moved(site, COPY.replace('row["old"]', answer).replace("    return", f"    {IMPORTS}\n    return"))
    assert "2026-01-01 07:00:00" in str(site.rows("SELECT CAST(new AS CHAR(30)) FROM things"))


@pytest.mark.parametrize(
    ("kind", "value", "given"),
    [
        ("NUMERIC", "1e-15", "1E-15"),
        ("NUMERIC", "0.123456789012", "0.123456789012"),
        ("NUMERIC", "1e300", "1E+300"),
        ("NUMERIC(20, 3)", "1.5", "1.500"),
        ("NUMERIC(20, 3)", "1e300", f"1{'0' * 300}.000"),
        ("NUMERIC(20, 3)", "1.23456", "1.23456"),
        ("NUMERIC(20, 0)", "9007199254740993", "9007199254740993"),
    ],
)
def test_number_of_sqlite_is_given_with_all_its_digits(sqlite_site: Site, kind: str, value: str, given: str) -> None:
    add_values(sqlite_site, kind, value, "NULL", new="TEXT")
    moved(sqlite_site, COPY.replace('row["old"]', 'repr(row["old"])'))
    assert sqlite_site.rows("SELECT new FROM things ORDER BY id") == [(f"Decimal('{given}')",), ("None",)]


def test_text_in_a_column_of_numbers_is_told(sqlite_site: Site) -> None:
    add_values(sqlite_site, "NUMERIC", "1", "'x'")
    sqlite_site.start("walk", COPY)
    assert sqlite_site.run("walk").state is MigrationState.FAILED
    (row,) = sqlite_site.runner.quarantined("walk")
    assert row.key == "id=2"
    assert row.error.endswith("'x' is no number")


STAMPED = """
CREATE TABLE things (
    id INTEGER PRIMARY KEY,
    old INTEGER,
    new INTEGER,
    `50%% at` TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP,
    at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
    zero DATETIME NOT NULL ON UPDATE CURRENT_TIMESTAMP
)
"""
SAME = 'table = "things"\nexpressions = {"new": "old"}'
STAMPS = "SELECT `50%% at`, at, zero FROM things"


@pytest.mark.parametrize("body", [COPY, SAME], ids=["transform", "expression"])
def test_stamp_of_the_last_change_by_a_service_stays(mysql_site: Site, body: str) -> None:
    mysql_site.execute(
        STAMPED,
        "SET SESSION sql_mode = ''",
        "INSERT INTO things VALUES (1, 7, 0, NULL, '2020-02-02 02:02:02.25', '0000-00-00')",
        "SET SESSION sql_mode = DEFAULT",
    )
    before = mysql_site.rows(STAMPS)
    mysql_site.database.engine.dispose()
    moved(mysql_site, body)
    assert mysql_site.rows("SELECT new FROM things") == [(7,)]
    assert mysql_site.rows(STAMPS) == before


@pytest.mark.parametrize("body", [COPY, SAME], ids=["transform", "expression"])
def test_stamp_that_is_written_is_written(mysql_site: Site, body: str) -> None:
    add_values(mysql_site, "TIMESTAMP NULL", "'2020-02-02 02:02:02'", new="TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP")
    moved(mysql_site, body)
    assert mysql_site.rows("SELECT new = old FROM things") == [(1,)]


@pytest.mark.parametrize(
    ("kind", "answer", "says"),
    [
        ("INTEGER NOT NULL DEFAULT 0", "None", "Column '50% (new)' cannot be null"),
        ("INTEGER", "'x'", ".`things`.`50% (new)` at row 1"),
        ("VARCHAR(3)", "'long'", "Data too long for column '50% (new)'"),
        ("VARCHAR(3) CHARACTER SET latin1", "'\u0142'", ".`things`.`50% (new)` at row 1"),
        ("INTEGER CHECK (`50%% (new)` < 9)", "9", "failed for `"),
        ("INTEGER UNIQUE", "1", "Duplicate entry '1' for key '50% (new)'"),
    ],
)
def test_what_mariadb_refuses_is_said_of_the_table(mysql_site: Site, kind: str, answer: str, says: str) -> None:
    mysql_site.execute(f"CREATE TABLE things (id INTEGER PRIMARY KEY, `50%% (new)` {kind})")
    mysql_site.execute("INSERT INTO things VALUES (1, 3), (2, 4)")
    mysql_site.start(
        "walk",
        f"""
        table = "things"
        reads = ("id",)
        writes = ("50% (new)",)

        def transform(self, row):
            return {{"50% (new)": {answer} if row["id"] == 2 else 1}}
        """,
    )
    assert mysql_site.run("walk").state is MigrationState.FAILED
    (row,) = mysql_site.runner.quarantined("walk")
    assert row.key == "id=2"
    assert says in row.error
    assert "orchestrator_given" not in row.error
