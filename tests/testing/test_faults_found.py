"""Each mistake that an author can make is found, and told with place, key, column, value and remedy."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa

from .conftest import SPLIT, Shop, fault_of, make_shop, new_release, old_release


def transform(line: str, *, reads: str = "name") -> str:
    """A transform into `first_name` whose value is given."""
    return f"""
        table = "customers"
        reads = ("{reads}",)
        writes = ("first_name",)

        def transform(self, row):
            return {{"first_name": {line}}}
    """


def expression(sql: str) -> str:
    return f'table = "customers"\nexpressions = {{"first_name": "{sql}"}}'


@pytest.mark.parametrize(
    ("head", "line", "call"),
    [
        ("import datetime", "str(datetime.date.today())", "date.today()"),
        ("import datetime", "datetime.datetime.now().isoformat()[:19]", "datetime.now()"),
        ("import time", "str(int(time.time()) // 3600)", "time.time()"),
        ("import pathlib", "pathlib.Path('/etc/hostname').read_text()[:3]", "io.open()"),
        ("import uuid", "uuid.uuid4().hex[:8]", "posix.urandom()"),
    ],
)
def test_transform_that_asks_something_else_than_its_row(shop: Shop, head: str, line: str, call: str) -> None:
    fault = fault_of(shop.trial(transform(line), head=head).check_function)
    assert fault.faults[0].code == "trial_not_a_function"
    assert f"split_name.py) asks {call} for the row id=3 (name = 'First1 Last1')" in str(fault)
    assert "look at nothing but the row" in str(fault)


def test_transform_with_random_numbers(shop: Shop) -> None:
    fault = fault_of(shop.trial(transform("str(random.random())[:9]"), head="import random").check_function)
    assert "gives two answers for the row id=36 (name = 'First12 Last12'): first_name = '0." in str(fault)
    assert "7 more of these were found" in str(fault)


def test_transform_that_remembers_other_rows(shop: Shop) -> None:
    body = """
        table = "customers"
        reads = ("name",)
        writes = ("first_name",)
        seen = 0

        def transform(self, row):
            self.seen += 1
            return {"first_name": str(self.seen)}
    """
    assert "first_name = '12', and asked again '1'" in str(fault_of(shop.trial(body).check_function))


def test_seeded_random_numbers_and_logging_are_nobodys_business(shop: Shop) -> None:
    body = """
        table = "customers"
        reads = ("name",)
        writes = ("first_name",)

        def transform(self, row):
            logging.getLogger("shop").warning("split")
            return {"first_name": str(random.Random(row["name"]).randrange(9))}
    """
    shop.trial(body, head="import logging\nimport random").check_function()


@pytest.mark.parametrize("sql", ["CURRENT_DATE", "name || random()", "datetime('now')", "lower(hex(randomblob(4)))"])
def test_expression_that_changes_by_itself(shop: Shop, sql: str) -> None:
    fault = fault_of(shop.trial(expression(sql)).check_function)
    assert fault.faults[0].code == "trial_not_a_function"
    assert "so its answer changes by itself" in str(fault)


def test_expression_of_the_rows_own_time_is_a_function(shop: Shop) -> None:
    shop.trial(expression("date(name)")).check_function()


def test_expression_over_other_rows_of_its_table(shop: Shop) -> None:
    sql = "(SELECT max(c.name) FROM customers AS c WHERE c.id < customers.id)"
    fault = fault_of(shop.trial(expression(sql)).check_function)
    assert fault.faults[0].code == "trial_other_rows"
    assert "reads other rows of customers" in str(fault)


@pytest.mark.parametrize("sql", ["COALESCE(first_name, name)", "CASE WHEN first_name > '' THEN first_name END"])
def test_expression_that_reads_what_it_writes_is_not_put_on_trial(shop: Shop, sql: str) -> None:
    fault = fault_of(lambda: shop.trial(expression(sql)))
    assert fault.faults[0].code == "data_migration_overwrites"
    assert "has expressions that read columns that it writes: first_name" in str(fault)


@pytest.mark.parametrize("sql", ["COALESCE({}, name)", "CASE WHEN {} > '' THEN {} END"])
def test_expression_that_spares_what_is_there(shop: Shop, sql: str) -> None:
    """The run itself finds nothing: by such an f a stale value is right."""
    shop.execute("CREATE VIEW seen AS SELECT id, first_name FROM customers")
    sql = sql.replace("{}", "(SELECT seen.first_name FROM seen WHERE seen.id = customers.id)")
    trial = shop.trial(expression(sql))
    trial.check_run()
    fault = fault_of(trial.check_repeat)
    assert fault.faults[0].code == "trial_not_repeatable"
    assert "run over NULL values: customers row id=3 holds first_name = " in str(fault)
    assert "in place of 'stale'" in str(fault)
    assert "compute nothing from them" in str(fault)


def test_null_in_an_old_column(shop: Shop) -> None:
    body = transform("row['name'].split()[0]")
    fault = fault_of(shop.trial(body).check_nulls)
    assert fault.faults[0].code == "trial_null"
    assert "customers.name may be NULL, and then: data migration split_name" in str(fault)
    assert "raised AttributeError at line" in str(fault)
    assert 'never_null=("name",)' in str(fault)
    shop.trial(body, never_null=["name"]).check_nulls()


def test_null_that_an_expression_hands_on_to_a_column_without(shop: Shop) -> None:
    shop.execute("ALTER TABLE customers ADD COLUMN code VARCHAR(9) NOT NULL DEFAULT ''")
    body = 'table = "customers"\nexpressions = {"code": "substr(name, 1, 2)"}'
    fault = fault_of(shop.trial(body).check_nulls)
    assert "customers.name may be NULL" in str(fault)
    assert "NOT NULL constraint failed" in str(fault)


def test_null_of_a_json_column_is_a_real_one(any_shop: Shop) -> None:
    any_shop.execute(
        "ALTER TABLE customers ADD COLUMN code VARCHAR(9) NOT NULL DEFAULT ''",
        "ALTER TABLE customers ADD COLUMN extra JSON",
        "UPDATE customers SET extra = '{}'",
    )
    body = 'table = "customers"\nexpressions = {"code": "CASE WHEN extra IS NOT NULL THEN \'some\' END"}'
    fault = fault_of(any_shop.trial(body).check_nulls)
    assert "customers.extra may be NULL, and then: " in str(fault)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("return None", "transform_result"),
        ("return ('first_name', 'x')", "transform_result"),
        ("return {}", "transform_column_missing"),
        ("return {'first_name': '', 'name': ''}", "transform_column_unknown"),
        ("yield {'first_name': ''}", "transform_result"),
        ("return {'first_name': row['last_name']}", "transform_column_unread"),
        ("return {'first_name': {}['name']}", "trial_row_refused"),
        ("return {'first_name': {}[row['name'], 'a']}", "trial_row_refused"),
        ("raise KeyError", "trial_row_refused"),
        ("raise ValueError(row)", "trial_row_refused"),
        ("return {'first_name': row.name}", "trial_row_refused"),
    ],
)
def test_transform_that_is_wrong_for_every_row_is_not_blamed_on_nulls(shop: Shop, body: str, code: str) -> None:
    head = 'table = "customers"\nreads = ("name",)\nwrites = ("first_name",)\n\ndef transform(self, row):\n    '
    trial = shop.trial(head + body)
    trial.check_nulls()
    fault = fault_of(trial.check)
    assert fault.faults[0].code == code
    assert "NULL" not in str(fault)


@pytest.mark.parametrize(
    ("line", "says"), [("7", "which is int, where the column is VARCHAR"), ("row['name'] * 3", "characters long")]
)
def test_answer_that_sqlite_takes_and_others_refuse(shop: Shop, line: str, says: str) -> None:
    fault = fault_of(shop.trial(transform(line)).check_function)
    assert fault.faults[0].code == "trial_type"
    assert "for the row id=3" in str(fault)
    assert says in str(fault)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("DATE", "datetime.date(2024, 1, 2)", "'2024-01-02'"),
        ("TIMESTAMP", "datetime.datetime(2024, 1, 2)", "'2024-01-02 03:04:05'"),
        ("NUMERIC(10, 2)", "decimal.Decimal('1.5')", "'1.5'"),
        ("NUMERIC(10, 2)", "1", "(1,)"),
    ],
)
def test_answer_that_some_databases_read_from_text(shop: Shop, kind: str, right: str, wrong: str) -> None:
    shop.execute(f"ALTER TABLE customers ADD COLUMN new {kind}")
    body = """
        table = "customers"
        reads = ("name",)
        writes = ("new",)

        def transform(self, row):
            return {{"new": {} if row["name"] == "First1 Last1" else {}}}
    """
    head = "import datetime\nimport decimal"
    shop.trial(body.format(right, right), head=head, never_null=["name"]).check()
    fault = fault_of(shop.trial(body.format(wrong, right), head=head).check_function)
    assert [each.code for each in fault.faults] == ["trial_type"]
    assert "for the row id=3, which is " in str(fault)
    assert f"where the column is {kind}" in str(fault)


def test_uuid_and_its_text_in_one_column(postgresql_url: str, tmp_path: Path) -> None:
    shop = make_shop(postgresql_url, tmp_path)
    shop.execute("ALTER TABLE customers ADD COLUMN new UUID")
    body = """
        table = "customers"
        reads = ("name",)
        writes = ("new",)

        def transform(self, row):
            new = uuid.uuid5(uuid.NAMESPACE_DNS, row["name"] or "")
            return {"new": new if row["name"] != "First1 Last1" else str(new)}
    """
    trial = shop.trial(body, head="import uuid")
    assert "where the column is UUID" in str(fault_of(trial.check_function))
    trial.check_run()


def test_intervals_of_months_on_trial(postgresql_url: str, tmp_path: Path) -> None:
    """They come back from it as they were, also where Python knows none such."""
    shop = make_shop(postgresql_url, tmp_path)
    shop.execute("ALTER TABLE customers ADD COLUMN old INTERVAL, ADD COLUMN new INTERVAL")
    shop.execute("UPDATE customers SET old = '1 mon', new = '2 years 1 day' WHERE id = 3")
    shop.trial('table = "customers"\nexpressions = {"new": "old"}').check()
    assert shop.rows("SELECT new::text FROM customers WHERE id = 3") == [("2 years 1 day",)]
    body = """
        table = "customers"
        reads = ("old",)
        writes = ("new",)

        def transform(self, row):
            return {"new": row["old"]}
    """
    trial = shop.trial(body)
    trial.check_function()
    fault = fault_of(trial.check_run)
    assert fault.faults[0].code == "trial_row_refused"
    assert "the row id=3: the interval '1 mon' has months" in str(fault)


def test_row_that_the_transform_cannot_move(shop: Shop) -> None:
    shop.execute("UPDATE customers SET name = 'Cher' WHERE id = 9")
    fault = fault_of(shop.trial(transform("row['name'].split()[1]")).check_run)
    assert fault.faults[0].code == "trial_row_refused"
    assert "raised IndexError at line" in str(fault)
    assert "for the row id=9 of customers" in str(fault)


def test_transform_that_exits_names_its_row(shop: Shop) -> None:
    trial = shop.trial(transform("sys.exit(row['name'])"), head="import sys")
    trial.check_function()
    fault = fault_of(trial.check_run)
    assert fault.faults[0].code == "trial_row_refused"
    assert "raised SystemExit at line" in str(fault)


def test_row_that_the_database_refuses(any_shop: Shop) -> None:
    any_shop.execute("ALTER TABLE customers ADD COLUMN age INTEGER CHECK (age < 10)")
    body = """
        table = "customers"
        reads = ("name",)
        writes = ("age",)

        def transform(self, row):
            return {"age": int(row["name"].rpartition("Last")[2])}
    """
    fault = fault_of(any_shop.trial(body).check_run)
    assert "the row id=30" in str(fault)
    assert len(fault.faults) == 3


def test_value_that_its_column_does_not_keep(shop: Shop) -> None:
    body = """
        table = "customers"
        reads = ("name",)
        writes = ("last_name",)

        def transform(self, row):
            return {"last_name": row["name"].upper()}
    """
    shop.execute(
        "CREATE TRIGGER cut AFTER UPDATE OF last_name ON customers BEGIN"
        " UPDATE customers SET last_name = substr(new.last_name, 1, 3) WHERE id = new.id; END"
    )
    fault = fault_of(shop.trial(body).check_run)
    assert fault.faults[0].code == "trial_not_as_written"
    assert "customers row id=3 holds last_name = 'FIR' in place of 'FIRST1 LAST1'" in str(fault)


def test_transform_whose_answer_depends_on_its_batch_is_found_by_killing(shop: Shop) -> None:
    body = """
        table = "customers"
        reads = ("name",)
        writes = ("first_name",)

        def transform(self, row):
            place = COUNTS.setdefault(row["name"], len(COUNTS))
            return {"first_name": str(place)}
    """
    fault = fault_of(shop.trial(body, head="COUNTS = {}").check_kill)
    assert "killed before its commit" in str(fault)


def test_new_release_that_writes_something_else(any_shop: Shop) -> None:
    def careless(connection: sa.Connection, random: Random) -> None:
        named = {"id": 3 * random.randint(1, 12), "name": "Ada King Lovelace", "first": "Ada King", "last": "Lovelace"}
        statement = "UPDATE customers SET name = :name, first_name = :first, last_name = :last WHERE id = :id"
        connection.execute(sa.text(statement), named)

    trial = any_shop.trial(writes_one_shape=old_release, writes_both_shapes=careless)
    fault = fault_of(trial.check_writers)
    assert fault.faults[0].code == "trial_release_differs"
    assert "complete, and writes_both_shapes alone wrote after it" in str(fault)
    assert "holds first_name = 'Ada King' in place of 'Ada'" in str(fault)
    assert "write exactly what the data migration computes" in str(fault)


def test_new_release_that_forgets_the_new_shape(any_shop: Shop) -> None:
    """The old release in the place of the new one: a stale value stays, and is found."""
    fault = fault_of(any_shop.trial(writes_both_shapes=old_release).check_writers)
    assert fault.faults[0].code == "trial_release_differs"


def test_new_release_that_is_right_alone_and_not_beside_a_batch(shop: Shop) -> None:
    written = 0

    def forgetful(connection: sa.Connection, random: Random) -> None:
        nonlocal written
        written += 1
        (new_release if written <= 10 else old_release)(connection, random)

    fault = fault_of(shop.trial(writes_both_shapes=forgetful, writes=10).check_writers)
    assert fault.faults[0].code == "trial_race"
    assert "run beside writes_both_shapes" in str(fault)
    assert "in one transaction" in str(fault)


def test_writer_that_cannot_write_is_named(shop: Shop) -> None:
    def broken(connection: sa.Connection, random: Random) -> None:
        connection.exec_driver_sql("UPDATE customers SET nickname = 'x'")

    fault = fault_of(shop.trial(writes_both_shapes=broken).check_writers)
    assert fault.faults[0].code == "trial_writer_raised"
    assert "writes_both_shapes raised" in str(fault)
    assert "no such column: nickname" in str(fault)


def test_triggers_let_the_old_release_go_on(shop: Shop) -> None:
    """Without them its rows differ in the end; with them all are right."""
    trial = shop.trial(SPLIT, writes_one_shape=old_release, in_step_by="triggers")
    assert fault_of(trial.check_writers).faults[0].code == "trial_release_differs"
    shop.execute(
        "CREATE TRIGGER in_step AFTER UPDATE OF name ON customers WHEN new.name IS NOT old.name BEGIN"
        " UPDATE customers SET first_name = substr(new.name, 1, instr(new.name, ' ') - 1),"
        " last_name = substr(new.name, instr(new.name, ' ') + 1) WHERE id = new.id; END"
    )
    shop.trial(SPLIT, writes_one_shape=old_release, writes_both_shapes=new_release, in_step_by="triggers").check()
