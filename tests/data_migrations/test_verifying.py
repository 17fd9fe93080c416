"""Verification: complete means that a query found no difference, and a difference is named."""

import pytest

from orchestrator.domain.view import MigrationState

from .conftest import UPGRADE, Site
from .test_moving import SPLIT, split_in_sql


def moved(site: Site, kind: str) -> None:
    """All rows moved, none verified."""
    site.start("split_name", SPLIT if kind == "transform" else split_in_sql(site.database))
    assert site.runner.run_batch("split_name", UPGRADE, 1000).state is MigrationState.VERIFYING


@pytest.mark.parametrize("kind", ["expression", "transform"])
@pytest.mark.parametrize("damage", ["first_name = NULL", "last_name = 'Other'", "first_name = upper(first_name)"])
def test_one_differing_row_is_found_and_named(customers: Site, kind: str, damage: str) -> None:
    moved(customers, kind)
    customers.execute(f"UPDATE customers SET {damage} WHERE id = 42")
    facts = customers.run("split_name")
    assert facts.state is MigrationState.FAILED
    assert (facts.differences, facts.rows_verified, facts.first_differences) == (1, 25, "id=42")
    assert facts.witness is None
    assert facts.error is not None
    assert "1 of 25 rows of customers" in facts.error
    assert str(customers.file("split_name")) in facts.error
    assert facts.error.endswith("id=42")


@pytest.mark.parametrize("kind", ["expression", "transform"])
def test_null_is_a_value_like_any_other(customers: Site, kind: str) -> None:
    customers.execute("UPDATE customers SET name = 'Single' WHERE id = 9")
    body = """
        table = "customers"
        reads = ("name",)
        writes = ("last_name",)

        def transform(self, row):
            return {"last_name": None if row["name"] == "Single" else "family"}
    """
    if kind == "expression":
        body = """
            table = "customers"
            expressions = {"last_name": "CASE WHEN name <> 'Single' THEN 'family' END"}
        """
    customers.start("family", body)
    assert customers.runner.run_batch("family", UPGRADE, 1000).state is MigrationState.VERIFYING
    customers.execute("UPDATE customers SET last_name = 'family' WHERE id = 9")
    facts = customers.run("family")
    assert (facts.state, facts.first_differences) == (MigrationState.FAILED, "id=9")
    customers.runner.retry("family")
    assert customers.run("family").state is MigrationState.COMPLETE


@pytest.mark.parametrize("kind", ["expression", "transform"])
def test_only_the_first_differences_are_kept_and_all_are_counted(customers: Site, kind: str) -> None:
    moved(customers, kind)
    customers.execute("UPDATE customers SET last_name = 'Other'")
    facts = customers.run("split_name", batch_rows=4)
    assert facts.differences == 25
    assert facts.first_differences == "; ".join(f"id={3 * n}" for n in range(1, 11))


def test_failed_one_is_left_alone_until_it_is_retried(customers: Site) -> None:
    moved(customers, "transform")
    customers.execute("UPDATE customers SET last_name = 'Other' WHERE id = 3")
    failed = customers.run("split_name")
    assert customers.runner.run_batch("split_name", UPGRADE, 10) == failed
    assert customers.rows("SELECT last_name FROM customers WHERE id = 3") == [("Other",)]
    facts = customers.runner.retry("split_name")
    assert (facts.state, facts.error, facts.differences) == (MigrationState.RUNNING, None, 0)
    facts = customers.run("split_name")
    assert (facts.state, facts.rows_done, facts.rows_verified) == (MigrationState.COMPLETE, 25, 25)


def test_writers_of_both_shapes_are_never_seen_half_way(served_customers: Site) -> None:
    """Rows are read at one moment, though comparing them takes two statements."""
    site = served_customers
    site.write(
        "split_name",
        SPLIT.replace("def transform(self, row):", "def transform(self, row):\n    self.meanwhile()")
        + "\nmeanwhile = staticmethod(lambda: None)\n",
    )
    site.runner.enrol(site.release("split_name"), UPGRADE)
    site.runner.run_batch("split_name", UPGRADE, 1000)
    assert site.runner.run_batch("split_name", UPGRADE, 1000).state is MigrationState.VERIFYING
    definition, _ = site.runner._prepared["split_name"]
    author = type(definition.transform.__self__)  # type: ignore[union-attr]
    author.meanwhile = staticmethod(
        lambda: site.execute("UPDATE customers SET name = 'Ada Byron', first_name = 'Ada', last_name = 'Byron'")
    )
    assert site.runner.run_batch("split_name", UPGRADE, 1000).state is MigrationState.COMPLETE
