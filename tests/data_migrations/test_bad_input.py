"""Bad data migrations: one sentence with file, table and remedy, a stable code, and nothing half done."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.data_migrations.loading import load
from orchestrator.domain.errors import MigrationRefused
from orchestrator.domain.view import MigrationState

from .conftest import SCHEMA, UPGRADE, Site
from .test_moving import SPLIT

HEAD = "from orchestrator.data_migrations import DataMigration\n"
FILES = {
    "data_migration_broken": [
        "this is no Python",
        "import a_module_that_nobody_has",
        "1 / 0",
        "raise SystemExit",
    ],
    "data_migration_count": ["", HEAD, f"{HEAD}class A(DataMigration): pass\nclass B(DataMigration): pass\n"],
    "data_migration_table": [
        f'{HEAD}class A(DataMigration):\n    expressions = {{"a": "b"}}\n',
        f'{HEAD}class A(DataMigration):\n    table = 3\n    expressions = {{"a": "b"}}\n',
    ],
    "data_migration_key": [
        f'{HEAD}class A(DataMigration):\n    table = "t"\n    key = "id"\n    expressions = {{"a": "b"}}\n'
    ],
    "data_migration_kind": [
        f'{HEAD}class A(DataMigration):\n    table = "t"\n',
        f'{HEAD}class A(DataMigration):\n    table = "t"\n    expressions = {{"a": "b"}}\n'
        "    def transform(self, row): return row\n",
        f'{HEAD}class A(DataMigration):\n    table = "t"\n    expressions = {{"a": "b"}}\n    reads = ("b",)\n',
        f'{HEAD}class A(DataMigration):\n    table = "t"\n    reads = ("a",)\n    writes = ("b",)\n'
        "    def transform(row): return row\n",
        f'{HEAD}class A(DataMigration):\n    table = "t"\n    reads = ("a",)\n    writes = ("b",)\n'
        "    def transform(self, row, connection): return row\n",
    ],
    "data_migration_expressions": [
        f'{HEAD}class A(DataMigration):\n    table = "t"\n    expressions = {{"a": 3}}\n',
        f'{HEAD}class A(DataMigration):\n    table = "t"\n    expressions = ("a", "b")\n',
    ],
    "data_migration_columns": [
        f'{HEAD}class A(DataMigration):\n    table = "t"\n    def transform(self, row): return row\n',
        f'{HEAD}class A(DataMigration):\n    table = "t"\n    reads = "a"\n    writes = ("b",)\n'
        "    def transform(self, row): return row\n",
    ],
    "data_migration_overwrites": [
        f'{HEAD}class A(DataMigration):\n    table = "t"\n    reads = ("a",)\n    writes = ("a",)\n'
        "    def transform(self, row): return row\n"
    ],
    "data_migration_attribute": [
        f'{HEAD}class A(DataMigration):\n    table = "t"\n    share_table = True\n    expressions = {{"a": "b"}}\n',
        f'{HEAD}class A(DataMigration):\n    tabel = "t"\n    expressions = {{"a": "b"}}\n',
        f'{HEAD}class Base:\n    write = ("b",)\n\nclass A(Base, DataMigration):\n    table = "t"\n    reads = ("a",)\n'
        "    def transform(self, row): return row\n",
    ],
    "data_migration_constructor": [
        f'{HEAD}class A(DataMigration):\n    table = "t"\n    reads = ("a",)\n    writes = ("b",)\n'
        "    def __init__(self, more): pass\n    def transform(self, row): return row\n"
    ],
}


@pytest.mark.parametrize(("code", "source"), [(code, source) for code, sources in FILES.items() for source in sources])
def test_file_that_is_no_data_migration_is_refused_with_its_name(tmp_path: Path, code: str, source: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(source)
    with pytest.raises(MigrationRefused) as caught:
        load(path, "broken")
    assert caught.value.code == code
    assert str(path) in caught.value.message
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("columns", ['("a")', '["a"]', '("a", 1)', '("a", "")'])
def test_what_is_no_tuple_of_columns_is_said_to_be_none(tmp_path: Path, columns: str) -> None:
    path = tmp_path / "broken.py"
    for given in (f'reads = {columns}\n    writes = ("b",)', f'reads = ("b",)\n    writes = {columns}'):
        path.write_text(
            f'{HEAD}class A(DataMigration):\n    table = "t"\n    {given}\n    def transform(self, row): ...\n'
        )
        with pytest.raises(MigrationRefused) as caught:
            load(path, "broken")
        assert "that are not a tuple of columns" in caught.value.message
        assert "the comma makes it a tuple" in caught.value.remedy


def test_attribute_that_was_meant_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(f'{HEAD}class A(DataMigration):\n    tabel = "t"\n    expressions = {{"a": "b"}}\n')
    with pytest.raises(MigrationRefused) as caught:
        load(path, "broken")
    assert caught.value.remedy.startswith("Write table; or")


def test_attributes_of_ones_own_are_nobodys_business(tmp_path: Path) -> None:
    path = tmp_path / "fine.py"
    path.write_text(
        f"{HEAD}import re\n"
        'class A(DataMigration):\n    """Words."""\n    table = "t"\n    reads = ("a",)\n    writes = ("b",)\n'
        '    separator = re.compile(" ")\n    TABLE = {}\n    _keys = ()\n    def reader(self): ...\n'
        '    def transform(self, row):\n        return {"b": row["a"]}\n\nALIAS = A\n'
    )
    assert load(path, "fine").writes == ("b",)


def test_data_migrations_of_one_file_are_named_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(
        f'{HEAD}class Base(DataMigration):\n    table = "t"\n\n\nclass A(Base):\n    expressions = {{"a": "b"}}\n'
        'B = type("B", (Base,), {"__module__": __name__})\n'
    )
    with pytest.raises(MigrationRefused) as caught:
        load(path, "broken")
    assert caught.value.message.endswith("has 3 data migrations: Base at line 2, A at line 6, B")


def test_line_of_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    for source in ("x = 1\n\ny = = 2\n", "x = 1\n\nx / 0\n"):
        path.write_text(source)
        with pytest.raises(MigrationRefused) as caught:
            load(path, "broken")
        assert caught.value.fields["line"] == 3
        assert "line 3" in caught.value.message


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_dataclass_in_a_file_is_nothing_special(tmp_path: Path, future: str) -> None:
    path = tmp_path / "fine.py"
    path.write_text(
        f"{future}from dataclasses import dataclass\n{HEAD}\n@dataclass\nclass Name:\n    first: str\n\n"
        'class A(DataMigration):\n    table = "t"\n    reads = ("a",)\n    writes = ("b",)\n'
        '    def transform(self, row):\n        return {"b": Name(row["a"]).first}\n'
    )
    transform = load(path, "fine").transform
    assert transform is not None
    assert transform({"a": "Ada"}) == {"b": "Ada"}


def test_missing_file_is_named_before_anything_is_entered(customers: Site) -> None:
    customers.write("split_name", SPLIT)
    release = customers.release("split_name", "gone")
    with pytest.raises(MigrationRefused) as caught:
        customers.runner.check(release)
    assert caught.value.code == "data_migration_missing"
    assert str(customers.file("gone")) in caught.value.message
    with pytest.raises(MigrationRefused) as caught:
        customers.runner.enrol(release, UPGRADE)
    assert caught.value.code == "data_migration_missing"
    assert customers.runner.progress() == ()


ADD_ONE = 'table = "things"\nexpressions = {"new": "old + 1"}'
WITH_CODE = 'table = "things"\nkey = ("code",)\nexpressions = {"new": "old + 1"}'
KEYS = [
    ("old INTEGER, new INTEGER", ADD_ONE, "key_missing", "primary key"),
    ("code INTEGER NOT NULL UNIQUE, old INTEGER, new INTEGER", ADD_ONE, "key_missing", 'key = ("code",)'),
    ("code INTEGER UNIQUE, old INTEGER, new INTEGER", WITH_CODE, "key_nullable", "NOT NULL"),
    ("id INTEGER PRIMARY KEY, code INTEGER NOT NULL, old INTEGER, new INTEGER", WITH_CODE, "key_not_unique", '("id",)'),
    ("id INTEGER PRIMARY KEY, old INTEGER, new INTEGER", WITH_CODE, "key_column_missing", "key"),
]


@pytest.mark.parametrize(("columns", "body", "code", "remedy"), KEYS)
def test_table_without_a_usable_key_is_refused_with_a_remedy(
    site: Site, columns: str, body: str, code: str, remedy: str
) -> None:
    site.execute(f"CREATE TABLE things ({columns})")
    path = site.write("walk", body)
    with pytest.raises(MigrationRefused) as caught:
        site.runner.check(site.release("walk"), expanded=True)
    assert caught.value.code == code
    assert str(path) in caught.value.message
    assert "things" in caught.value.message
    assert remedy in caught.value.remedy


def test_primary_key_that_may_be_null_is_refused(new_sqlite_url: Callable[[], str], site: Site) -> None:
    if site.database.dialect.name != "sqlite":
        return  # there, a primary key is never NULL
    site.execute("CREATE TABLE things (code TEXT PRIMARY KEY, old INTEGER, new INTEGER)")
    site.write("walk", ADD_ONE)
    with pytest.raises(MigrationRefused) as caught:
        site.runner.check(site.release("walk"))
    assert caught.value.code == "key_nullable"


def test_index_over_some_rows_or_a_part_of_the_value_makes_no_key(site: Site) -> None:
    part = "code(3)" if site.database.dialect.name == "mysql" else "code"
    rows = "" if site.database.dialect.name == "mysql" else "WHERE old > 0"
    site.execute(
        "CREATE TABLE things (code VARCHAR(9) NOT NULL, old INTEGER, new INTEGER)",
        f"CREATE UNIQUE INDEX one_of_them ON things ({part}) {rows}",
    )
    site.write("walk", WITH_CODE)
    with pytest.raises(MigrationRefused) as caught:
        site.runner.check(site.release("walk"), expanded=True)
    assert caught.value.code == "key_not_unique"


def test_missing_key_is_refused_before_expand_and_a_missing_new_column_is_not(site: Site) -> None:
    site.write("walk", ADD_ONE)
    site.runner.check(site.release("walk"))  # the table may come with the expand revisions
    site.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER)")
    site.runner.check(site.release("walk"))
    with pytest.raises(MigrationRefused) as caught:
        site.runner.check(site.release("walk"), expanded=True)
    assert caught.value.code == "column_missing"
    site.execute("DROP TABLE things", "CREATE TABLE things (old INTEGER)")
    with pytest.raises(MigrationRefused) as caught:
        site.runner.check(site.release("walk"))
    assert caught.value.code == "key_missing"


TABLE = "CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER)"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('table = "nowhere"\nexpressions = {"new": "old + 1"}', "table_missing"),
        ('table = "things"\nexpressions = {"newer": "old + 1"}', "column_missing"),
        ('table = "things"\nexpressions = {"id": "old + 1"}', "key_written"),
        ('table = "things"\nexpressions = {"new": "unheard_of + 1"}', "data_migration_expression"),
        ('table = "things"\nexpressions = {"new": "(SELECT x FROM nowhere)"}', "data_migration_expression"),
        ('table = "things"\nexpressions = {"new": "old +"}', "data_migration_expression"),
        ('table = "things"\nexpressions = {"new": "old)); DROP TABLE things; --"}', "data_migration_expression"),
        ('table = "things"\nexpressions = {"new": "sum(old)"}', "data_migration_expression"),
    ],
)
def test_fault_that_the_database_knows_is_found_before_the_first_row(site: Site, body: str, code: str) -> None:
    site.execute(TABLE, "INSERT INTO things VALUES (1, 1, NULL)")
    path = site.write("walk", body)
    with pytest.raises(MigrationRefused) as caught:
        site.runner.check(site.release("walk"), expanded=True)
    assert caught.value.code == code
    assert str(path) in caught.value.message
    assert "\n" not in str(caught.value)
    site.runner.enrol(site.release("walk"), UPGRADE)
    facts = site.runner.run_batch("walk", UPGRADE, 10)
    assert (facts.state, facts.error) == (MigrationState.FAILED, caught.value.advice)
    assert site.rows("SELECT * FROM things") == [(1, 1, None)]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ('{"new": 1, "newer": 2, "older": 3}', "returned columns"),
        ("{}", "returned no value for new"),
        ("None", "returned NoneType"),
    ],
)
def test_transform_that_returns_something_else_names_the_row_and_leaves_the_batch_undone(
    site: Site, result: str, words: str
) -> None:
    site.execute(TABLE, "INSERT INTO things VALUES " + ", ".join(f"({n}, {n}, NULL)" for n in range(1, 26)))
    site.start(
        "walk",
        f"""
        table = "things"
        reads = ("old",)
        writes = ("new",)

        def transform(self, row):
            return {{"new": row["old"]}} if row["old"] != 15 else {result}
        """,
    )
    assert site.runner.run_batch("walk", UPGRADE, 10).state is MigrationState.RUNNING
    facts = site.runner.run_batch("walk", UPGRADE, 10)
    assert facts.state is MigrationState.FAILED
    assert facts.rows_done == 10
    assert facts.error is not None
    assert words in facts.error
    assert "\n" not in facts.error
    assert str(site.file("walk")) in facts.error
    assert "things" in facts.error
    assert "id=15" in facts.error
    assert site.rows("SELECT count(*) FROM things WHERE new IS NOT NULL") == [(10,)]
    # Mended and retried, it starts again from the first row.
    site.write("walk", ADD_ONE)
    site.runner.retry("walk")
    assert site.run("walk").state is MigrationState.COMPLETE


def test_value_that_its_own_type_does_not_know_names_the_row(site: Site) -> None:
    if site.database.dialect.name != "sqlite":
        return  # there, a column holds values of its type only
    site.execute(
        "CREATE TABLE things (id INTEGER PRIMARY KEY, old TIMESTAMP, new INTEGER)",
        "INSERT INTO things VALUES (1, 'the other day', NULL)",
    )
    site.start(
        "walk",
        """
        table = "things"
        reads = ("old",)
        writes = ("new",)

        def transform(self, row):
            return {"new": 1}
        """,
    )
    facts = site.run("walk")
    assert facts.error is not None
    assert "cannot read a row of things, the row id=1" in facts.error


def test_key_that_cannot_be_kept_is_refused(postgresql_site: Site) -> None:
    site = postgresql_site
    site.execute("CREATE TABLE things (at interval PRIMARY KEY, old INTEGER, new INTEGER)")
    site.execute("INSERT INTO things VALUES ('1 day', 1, NULL)")
    site.write("walk", ADD_ONE)
    with pytest.raises(MigrationRefused) as caught:
        site.runner.check(site.release("walk"), expanded=True)
    assert caught.value.code == "key_type_unsupported"
    assert str(site.file("walk")) in caught.value.message


def test_table_that_is_written_otherwise_is_named(site: Site) -> None:
    if site.database.dialect.name == "mysql":
        return  # there, it depends on the server's file system
    site.execute(TABLE)
    site.write("walk", 'table = "Things"\nexpressions = {"new": "old"}')
    with pytest.raises(MigrationRefused) as caught:
        site.runner.check(site.release("walk"), expanded=True)
    assert (caught.value.code, caught.value.remedy) == ("table_missing", "Mend the name: there it is written things.")


@pytest.mark.parametrize("kind", ["REAL", "rough"])
def test_key_that_the_driver_sends_as_another_number_is_refused(postgresql_site: Site, kind: str) -> None:
    """It would be walked without end."""
    site = postgresql_site
    site.execute(
        "CREATE DOMAIN rough AS REAL",
        f"CREATE TABLE sizes (height {kind} NOT NULL PRIMARY KEY, old INTEGER, new INTEGER)",
        "INSERT INTO sizes (height, old) VALUES (0.1, 1), (1.1, 2)",
    )
    site.write("walk", 'table = "sizes"\nexpressions = {"new": "old"}')
    with pytest.raises(MigrationRefused) as caught:
        site.runner.check(site.release("walk"))
    assert caught.value.code == "key_type_unsupported"
    assert "height" in caught.value.message


@pytest.mark.parametrize("kind", ["ENUM('b', 'a')", "SET('b', 'a')", "FLOAT", "DOUBLE(9, 2)", "BIT(4)", "TIME"])
def test_key_that_sorts_otherwise_than_it_compares_is_refused(mysql_site: Site, kind: str) -> None:
    mysql_site.execute(
        f"CREATE TABLE things (k {kind} PRIMARY KEY, old INTEGER, new INTEGER, id INTEGER UNIQUE NOT NULL)"
    )
    mysql_site.write("walk", ADD_ONE)
    with pytest.raises(MigrationRefused) as caught:
        mysql_site.runner.check(mysql_site.release("walk"))
    assert caught.value.code == "key_type_unsupported"
    assert 'key = ("id",)' in caught.value.remedy


def test_column_that_the_database_computes_is_refused(served_site: Site) -> None:
    site = served_site
    site.execute(
        "CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER GENERATED ALWAYS AS (old + 1) STORED)"
    )
    site.write("walk", ADD_ONE)
    with pytest.raises(MigrationRefused) as caught:
        site.runner.check(site.release("walk"), expanded=True)
    assert caught.value.code == "column_computed"


@pytest.mark.filterwarnings("ignore:Did not recognize type")
def test_column_whose_values_cannot_be_compared_is_refused(postgresql_site: Site) -> None:
    site = postgresql_site
    site.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new point)")
    site.write("walk", 'table = "things"\nexpressions = {"new": "point(old, old)"}')
    with pytest.raises(MigrationRefused) as caught:
        site.runner.check(site.release("walk"), expanded=True)
    assert caught.value.code == "column_not_comparable"
    site.write(
        "walk",
        """
        table = "things"
        reads = ("old",)
        writes = ("new",)

        def transform(self, row):
            return {"new": "(1,1)"}
        """,
    )
    with pytest.raises(MigrationRefused) as caught:
        site.runner.check(site.release("walk"), expanded=True)
    assert caught.value.code == "column_type_unknown"


def test_rows_that_a_trigger_keeps_from_being_written_are_noticed(postgresql_site: Site) -> None:
    site = postgresql_site
    site.execute(
        TABLE,
        "INSERT INTO things VALUES (1, 1, NULL), (2, 2, NULL)",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER refuse BEFORE UPDATE ON things FOR EACH ROW WHEN (OLD.id = 2) EXECUTE FUNCTION refuse()",
    )
    site.start(
        "walk",
        """
        table = "things"
        reads = ("old",)
        writes = ("new",)

        def transform(self, row):
            return {"new": 1}
        """,
    )
    facts = site.run("walk")
    assert facts.error is not None
    assert "read 2 rows of things" in facts.error
    assert site.rows("SELECT count(*) FROM things WHERE new IS NOT NULL") == [(0,)]


def test_name_that_an_earlier_release_used_is_refused(customers: Site) -> None:
    customers.start("split_name", SPLIT)
    with pytest.raises(MigrationRefused) as caught:
        customers.runner.enrol(replace(customers.release("split_name"), name="3"), UPGRADE + 1)
    assert caught.value.code == "data_migration_name_taken"


def test_column_that_nothing_adds_is_refused_before_expand(site: Site) -> None:
    site.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER)")
    path = site.write("walk", ADD_ONE)
    asked: list[tuple[str, str]] = []

    def never(table: str, column: str) -> bool:
        asked.append((table, column))
        return False

    with pytest.raises(MigrationRefused) as caught:
        site.runner.check(site.release("walk"), may_add=never)
    assert caught.value.code == "column_missing"
    assert str(path) in caught.value.message
    assert caught.value.message.endswith("that no expand revision of its release adds: new")
    assert asked == [("things", "new")], "columns that are there are not asked about"
    site.runner.check(site.release("walk"), may_add=lambda table, column: column == "new")


def test_column_that_contract_took_away_is_no_fault_of_one_that_ran(site: Site) -> None:
    """Whoever repeats the beginning of an upgrade has its files judged once more."""
    site.execute(TABLE, "INSERT INTO things VALUES (1, 1, NULL)")
    site.start(
        "walk",
        """
        table = "things"
        reads = ("old",)
        writes = ("new",)

        def transform(self, row):
            return {"new": 1}
        """,
    )
    assert site.run("walk").state is MigrationState.COMPLETE
    site.execute("ALTER TABLE things DROP COLUMN old")
    site.runner.check(site.release("walk"), may_add=lambda table, column: False)


@pytest.mark.parametrize("workers", [1, 2])
def test_transform_that_gives_another_answer_each_time_is_named_by_the_proof(site: Site, workers: int) -> None:
    site.execute(TABLE, "INSERT INTO things VALUES " + ", ".join(f"({n}, {n}, NULL)" for n in range(1, 26)))
    site.runner = DataMigrationRunner(site.database, SCHEMA, site.directory, workers=workers)
    site.start(
        "walk",
        """
        table = "things"
        reads = ("old",)
        writes = ("new",)
        asked = 0

        def transform(self, row):
            self.asked += 1
            return {"new": self.asked if row["old"] == 15 else row["old"]}
        """,
    )
    facts = site.run("walk")
    assert facts.state is MigrationState.FAILED
    assert facts.error is not None
    assert "gave two answers for the row id=15 of things when it was asked twice" in facts.error
    assert str(site.file("walk")) in facts.error
    assert site.runner.retry("walk").state is MigrationState.RUNNING
    assert "gave two answers for the row id=15" in (site.run("walk").error or ""), "it is proven anew"


def test_expression_that_gives_another_answer_each_time_is_told_what_it_has_to_be(site: Site) -> None:
    now = "random() * 1000000" if site.database.dialect.name != "mysql" else "rand() * 1000000"
    site.execute(
        "CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new DOUBLE PRECISION)",
        "INSERT INTO things (id, old) VALUES " + ", ".join(f"({n}, {n})" for n in range(1, 26)),
    )
    site.start("walk", f'table = "things"\nexpressions = {{"new": "{now}"}}')
    facts = site.run("walk")
    assert facts.state is MigrationState.FAILED
    assert facts.error is not None
    assert "which has to be the same whenever it is asked" in facts.error


@pytest.mark.parametrize(
    "body",
    [
        'table = "things"\nexpressions = {"new": "CASE WHEN old = 15 THEN \'far too long\' ELSE \'short\' END"}',
        """
        table = "things"
        reads = ("old",)
        writes = ("new",)

        def transform(self, row):
            return {"new": "far too long" if row["old"] == 15 else "short"}
        """,
    ],
    ids=["expression", "transform"],
)
def test_value_that_is_too_long_for_its_column_puts_its_row_into_quarantine(served_site: Site, body: str) -> None:
    """SQLite knows no lengths: it keeps what it is given."""
    site = served_site
    site.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new VARCHAR(5))")
    site.execute("INSERT INTO things (id, old) VALUES " + ", ".join(f"({n}, {n})" for n in range(1, 26)))
    site.start("walk", body)
    facts = site.run("walk")
    assert (facts.state, facts.rows_quarantined, facts.rows_done) == (MigrationState.FAILED, 1, 24)
    (row,) = site.runner.quarantined("walk")
    assert row.key == "id=15"
    assert str(site.file("walk")) in row.error


def test_expression_of_the_wrong_type_is_refused_where_types_are_known_and_else_its_rows_are(site: Site) -> None:
    site.execute(TABLE, "INSERT INTO things VALUES (1, 1, NULL)")
    site.write("walk", 'table = "things"\nexpressions = {"new": "concat(\'no\', \' number\')"}')
    if site.database.dialect.name == "sqlite":
        return  # there, every column keeps every value
    if site.database.dialect.name == "postgresql":
        with pytest.raises(MigrationRefused) as caught:
            site.runner.check(site.release("walk"), expanded=True)
        assert caught.value.code == "data_migration_expression"
        assert "things.new" in caught.value.message
        return
    site.runner.enrol(site.release("walk"), UPGRADE)
    facts = site.run("walk")
    assert (facts.state, facts.rows_quarantined) == (MigrationState.FAILED, 1)
