"""Keys of all kinds: every row is moved once and proven, whatever the key, while rows come and go around the cursor."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from orchestrator.data_migrations import DataMigrationRunner, splitting
from orchestrator.domain.errors import MigrationRefused
from orchestrator.domain.pacing import BatchSizes
from orchestrator.domain.view import MigrationState
from tests.data_migrations.conftest import SCHEMA, UPGRADE, Site
from tests.data_migrations.counting import ENDED

Ways = tuple[tuple[str, int], ...]
"""How the new values are said, and how many workers there are."""

EXPRESSION = 'table = "things"\nexpressions = {"new": "old + 1"}\n'
TRANSFORM = """table = "things"
reads = ("old",)
writes = ("new",)

def transform(self, row):
    return {"new": row["old"] + 1}
"""
COUNTING = {
    "sqlite": (
        "CREATE TRIGGER counting AFTER UPDATE OF new ON things BEGIN"
        " UPDATE things SET times = times + 1 WHERE old = NEW.old; END",
    ),
    "postgresql": (
        "CREATE FUNCTION counting() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.times := OLD.times + 1; RETURN NEW; END $$",
        "CREATE TRIGGER counting BEFORE UPDATE OF new ON things FOR EACH ROW EXECUTE FUNCTION counting()",
    ),
    "mysql": ("CREATE TRIGGER counting BEFORE UPDATE ON things FOR EACH ROW SET NEW.times = OLD.times + 1",),
}
UUIDS = [UUID(int=n * 2**119 + n) for n in (0, 1, 2, 77, 128, 200, 255, 300, 511)]
WORDS = ["a", "B", "c", "é", "Eb", "ß", "z", "ä", "_x", "%s"]
TRIPLES = list(itertools.product((-1, 2), ("a", "B", "ö"), ("2026-01-02", "1999-12-31")))


@dataclass(frozen=True)
class Key:
    """A key: what it is by the kind of database, its values, of which the last two come later, and its columns.

    One without an entry for a kind of database is not tried there. With `index` it is unique by that alone.
    """

    made: dict[str, str]
    values: list[Any]
    columns: tuple[str, ...] = ("k",)
    index: str = ""


def everywhere(made: str) -> dict[str, str]:
    return dict.fromkeys(COUNTING, made)


KEYS = {
    "large gaps": Key(
        everywhere("k BIGINT NOT NULL PRIMARY KEY"), [-(10**15), -(2**33), -7, 0, 1, 2, 10**9, 2**40, -5, 10**15]
    ),
    "limits of bigint": Key(
        everywhere("k BIGINT NOT NULL PRIMARY KEY"),
        [-(2**63), 1 - 2**63, -1, 0, 1, 2**62, 2**63 - 2, 2**63 - 1, 2 - 2**63, 2**63 - 3],
    ),
    "row number": Key({"sqlite": "k INTEGER PRIMARY KEY"}, [-(2**63), -1, 0, 1, 2, 2**62, 2**63 - 2, 2**63 - 1, 3, -2]),
    "unsigned": Key(
        {"mysql": "k BIGINT UNSIGNED NOT NULL PRIMARY KEY"}, [0, 1, 2**31, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1, 5, 6]
    ),
    "uuid": Key({kind: "k UUID NOT NULL PRIMARY KEY" for kind in ("postgresql", "mysql")}, UUIDS),
    "uuid as text": Key(everywhere("k CHAR(36) NOT NULL PRIMARY KEY"), [str(each) for each in UUIDS]),
    "uuid as bytes": Key(
        {
            "sqlite": "k BLOB NOT NULL PRIMARY KEY",
            "postgresql": "k BYTEA NOT NULL PRIMARY KEY",
            "mysql": "k BINARY(16) NOT NULL PRIMARY KEY",
        },
        [each.bytes for each in UUIDS],
    ),
    "language": Key(
        {
            "sqlite": "k VARCHAR(20) COLLATE NOCASE NOT NULL PRIMARY KEY",
            "postgresql": 'k VARCHAR(20) COLLATE "{language}" NOT NULL PRIMARY KEY',
            "mysql": "k VARCHAR(20) COLLATE utf8mb4_german2_ci NOT NULL PRIMARY KEY",
        },
        WORDS,
    ),
    "letters that are the same": Key(
        {
            "sqlite": "k VARCHAR(20) COLLATE RTRIM NOT NULL PRIMARY KEY",
            "postgresql": "k CITEXT NOT NULL PRIMARY KEY",
            "mysql": "k VARCHAR(20) COLLATE utf8mb4_unicode_ci NOT NULL PRIMARY KEY",
        },
        ["A ", "b", "C  ", "ex", "Fa", "g h", "z", " y", "_", "%s"],
    ),
    "spaces at the end": Key(
        {
            "sqlite": "k VARCHAR(20) NOT NULL PRIMARY KEY",
            "postgresql": "k VARCHAR(20) NOT NULL PRIMARY KEY",
            "mysql": "k VARCHAR(20) COLLATE utf8mb4_unicode_nopad_ci NOT NULL PRIMARY KEY",
        },
        ["", " ", "  ", "a", "a ", "a  ", " a", "b ", "a b", "b"],
    ),
    "three columns": Key(
        everywhere("a INTEGER NOT NULL, b VARCHAR(9) NOT NULL, c DATE NOT NULL, PRIMARY KEY (a, b, c)"),
        TRIPLES,
        ("a", "b", "c"),
    ),
    "three columns in another order": Key(
        everywhere("c INTEGER NOT NULL, a VARCHAR(9) NOT NULL, b DATE NOT NULL, PRIMARY KEY (b, c, a)"),
        TRIPLES,
        ("c", "a", "b"),
    ),
    "downwards": Key(
        {kind: "k BIGINT NOT NULL, PRIMARY KEY (k DESC)" for kind in ("sqlite", "mysql")},
        [-(2**40), -1, 0, 1, 7, 8, 9, 2**40, 5, 6],
    ),
    "up and down": Key(
        everywhere("a INTEGER NOT NULL, b VARCHAR(9) NOT NULL"),
        [(a, b) for a in (1, 2, 3) for b in ("x", "Y", "z")],
        ("a", "b"),
        "CREATE UNIQUE INDEX up_and_down ON things (a, b DESC)",
    ),
}
WAYS = {"expression": EXPRESSION, "transform": TRANSFORM}
FEW = (("expression", 1), ("transform", 2))
EVERY_WAY = [
    pytest.param(FEW, id="few ways"),
    pytest.param(tuple(itertools.product(WAYS, (1, 2))), id="every way", marks=pytest.mark.kill),
]
TRIED = [
    pytest.param(kind, name, id=f"{'mariadb' if kind == 'mysql' else kind}-{name}")
    for name, key in KEYS.items()
    for kind in key.made
]


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one batch, so that there are many."""
    monkeypatch.setattr(splitting, "RANGE_BATCHES", 1)


@pytest.fixture
def new_database_url(database_kind: str, request: pytest.FixtureRequest) -> Any:
    """Of the kind that the test names."""
    return request.getfixturevalue(f"new_{database_kind}_url")


def insert(site: Site, names: tuple[str, ...], rows: Iterable[tuple[int, Any]], **also: str) -> None:
    """Rows by number and key; what else stands there in SQL."""
    columns = ", ".join((*names, "old", *also))
    given = ", ".join((*(f":{name}" for name in names), ":old", *also.values()))
    values = [
        {"old": number, **dict(zip(names, key if isinstance(key, tuple) else (key,), strict=True))}
        for number, key in rows
    ]
    with site.database.writing() as connection:
        connection.execute(sa.text(f"INSERT INTO things ({columns}) VALUES ({given})"), values)


def begun(site: Site, body: str, workers: int) -> None:
    """From its start, by a daemon that is told so many workers."""
    site.execute("DELETE FROM orchestrator_data_migrations")
    site.runner = DataMigrationRunner(site.database, SCHEMA, site.directory, workers=workers)
    site.start("walk", body)


@pytest.mark.parametrize("ways", EVERY_WAY)
@pytest.mark.parametrize(("database_kind", "name"), TRIED)
def test_every_row_is_moved_once_and_proven(site: Site, name: str, ways: Ways) -> None:
    key, kind = KEYS[name], site.database.dialect.name
    made = key.made[kind]
    if "CITEXT" in made:
        site.execute("CREATE EXTENSION citext")
    if "{language}" in made:
        made = made.format(language=language_of(site))
    site.execute(f"CREATE TABLE things (old INTEGER, new INTEGER, times INTEGER DEFAULT 0, {made})")
    site.execute(*COUNTING[kind], *filter(None, [key.index]))
    declared = f"key = {key.columns}\n" if key.index else ""
    for way, workers in ways:
        walked(site, key, declared + WAYS[way], workers)


def language_of(site: Site) -> str:
    """The collation of some language, as far as this server has any: the one from the wheel brings none along."""
    names = "SELECT collname FROM pg_collation WHERE collencoding IN (-1, 6) AND collname "
    found = site.rows(names + "~ '^(de|fr|en)[-_]' ORDER BY collname LIMIT 1")
    return str(found[0][0] if found else "pg_c_utf8")


def walked(site: Site, key: Key, body: str, workers: int) -> None:
    """Move and prove all rows; after the first batches the first and the last one go, and two others come."""
    numbered = list(enumerate(key.values))
    site.execute("DELETE FROM things")
    insert(site, key.columns, numbered[:-2])
    begun(site, body, workers)
    batches = [threading.Thread(target=site.runner.run_batch, args=("walk", UPGRADE, 2)) for _ in range(workers)]
    for batch in batches:
        batch.start()
        batch.join()
    assert site.facts("walk").rows_done == 2 * workers
    in_order = [number for (number,) in site.rows(f"SELECT old FROM things ORDER BY {', '.join(key.columns)}")]
    first, last = in_order[0], in_order[-1]
    assert site.rows(f"SELECT times FROM things WHERE old IN ({first}, {last}) ORDER BY times") == [(0,), (1,)]
    site.execute(f"DELETE FROM things WHERE old IN ({first}, {last})")
    insert(site, key.columns, numbered[-2:], new=":old + 1", times="100")
    facts = site.run("walk", batch_rows=3)
    assert (facts.state, facts.error) == (MigrationState.COMPLETE, None)
    come = site.rows("SELECT times FROM things WHERE times >= 100")
    assert len(come) == 2 and {times for (times,) in come} <= {100, 101}
    stayed = len(key.values) - 4
    assert site.rows("SELECT count(*) FROM things WHERE times = 1 AND new = old + 1") == [(stayed,)]
    assert site.rows("SELECT count(*) FROM things WHERE new = old + 1") == [(stayed + 2,)]
    assert facts.rows_done == stayed + 1 + sum(times - 100 for (times,) in come)
    assert facts.rows_verified == stayed + 2


@pytest.mark.parametrize("ways", EVERY_WAY)
@pytest.mark.parametrize("database_kind", COUNTING)
def test_tables_of_about_a_batch(site: Site, ways: Ways) -> None:
    site.execute("CREATE TABLE things (k INTEGER PRIMARY KEY, old INTEGER, new INTEGER, times INTEGER DEFAULT 0)")
    site.execute(*COUNTING[site.database.dialect.name])
    batch = 3
    for rows, (way, workers) in itertools.product((0, 1, batch - 1, batch, batch + 1), ways):
        site.execute("DELETE FROM things")
        if rows:
            insert(site, ("k",), [(number, 10 * number) for number in range(rows)])
        begun(site, WAYS[way], workers)
        facts = site.run("walk", batch_rows=batch)
        assert (facts.state, facts.rows_done, facts.rows_verified) == (MigrationState.COMPLETE, rows, rows), rows
        assert site.rows("SELECT count(*) FROM things WHERE times = 1 AND new = old + 1") == [(rows,)]


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_key_that_only_looks_like_the_row_number_is_refused(site: Site) -> None:
    """By another mistake of SQLite's: with DESC it is a column like any other, which may be NULL."""
    site.execute("CREATE TABLE things (k INTEGER PRIMARY KEY DESC, old INTEGER, new INTEGER)")
    site.execute("INSERT INTO things (k, old) VALUES (NULL, 1), (NULL, 2), (3, 3)")
    site.write("walk", EXPRESSION)
    with pytest.raises(MigrationRefused) as refused:
        site.runner.check(site.release("walk"), expanded=True)
    assert refused.value.code == "key_nullable"


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_table_without_row_numbers_is_walked_by_its_key(site: Site) -> None:
    site.execute("CREATE TABLE things (k INTEGER PRIMARY KEY, old INTEGER, new INTEGER) WITHOUT ROWID")
    site.execute("INSERT INTO things (k, old) VALUES (1, 1), (2, 2), (3, 3)")
    site.start("walk", EXPRESSION)
    assert site.run("walk", batch_rows=2).state is MigrationState.COMPLETE


# -- keys that cannot be found -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_key_that_the_driver_cannot_read_ends_it_with_a_sentence(site: Site, workers: int) -> None:
    site.execute(
        "CREATE TABLE things (k DATE PRIMARY KEY, old INTEGER, new INTEGER)",
        "INSERT INTO things VALUES ('2026-01-01', 1, 0), ('2026-01-02', 2, 0), ('infinity', 3, 0)",
        "INSERT INTO things VALUES ('2026-01-03', 4, 0)",
    )
    site.runner = DataMigrationRunner(site.database, SCHEMA, site.directory, workers=workers)
    site.start("walk", EXPRESSION)
    facts = site.run("walk", batch_rows=1)
    assert (facts.state, facts.rows_done) == (MigrationState.FAILED, 3 if workers == 1 else 2)
    assert facts.error is not None
    assert "cannot read a key of things, after k=2026-01-03 to the last row: " in facts.error
    assert facts.error.endswith("'infinity'. Mend the stored key, or declare another one")
    site.execute("UPDATE things SET k = '2027-01-01' WHERE k = 'infinity'")
    site.runner.retry("walk")
    assert site.run("walk", batch_rows=1).state is MigrationState.COMPLETE


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_key_that_the_driver_cannot_read_is_refused_where_it_is_seen_at_once(site: Site) -> None:
    site.execute(
        "CREATE TABLE things (k TIMESTAMP PRIMARY KEY, old INTEGER, new INTEGER)",
        "INSERT INTO things VALUES ('-infinity', 1, 0)",
    )
    site.write("walk", EXPRESSION)
    with pytest.raises(MigrationRefused) as refused:
        site.runner.check(site.release("walk"), expanded=True)
    assert refused.value.code == "key_type_unsupported"
    assert "cannot read a key of things" in refused.value.message


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("times", [2, 100])
@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_next_rows_that_are_not_found_in_time_are_fewer(site: Site, times: int, workers: int) -> None:
    """So often the server ends the statement that looks for them."""
    site.execute("CREATE TABLE things (k INTEGER PRIMARY KEY, old INTEGER, new INTEGER)")
    insert(site, ("k",), [(number, number) for number in range(40)])
    site.runner = DataMigrationRunner(site.database, SCHEMA, site.directory, workers=workers)
    site.start("walk", EXPRESSION)
    left = times

    def slow(
        _connection: object, cursor: Any, statement: str, parameters: Any, _context: object, _many: object
    ) -> tuple[str, Any]:
        nonlocal left
        if "OFFSET" not in statement or not left:
            return statement, parameters
        left -= 1
        cursor.execute("SET LOCAL statement_timeout = '1ms'")
        return "SELECT pg_sleep(60)", {}

    sa.event.listen(site.database.engine, "before_cursor_execute", slow, retval=True)
    sizes = BatchSizes(4, 16, 0.2)
    for _ in range(200):
        facts = site.runner.run_batch("walk", UPGRADE, sizes)
        if facts.state in ENDED:
            break
    if times == 2:
        assert (facts.state, facts.rows_done, facts.rows_verified) == (MigrationState.COMPLETE, 40, 40)
    else:
        assert (facts.state, facts.rows_done) == (MigrationState.FAILED, 0)
        assert "the next rows were not found in time of things, from the first row to the last row" in str(facts.error)
