"""Revisions with sync triggers run under plain Alembic too, also without a database."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from io import StringIO
from pathlib import Path

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations

from orchestrator.dialects import Database
from tests.dialects.standing import rows, run
from tests.schema_migrations.test_sync_triggers import FIRST, NAMES, SHOWN, anywhere

__all__ = ["anywhere"]

ROOT = Path(__file__).resolve().parents[2]


def test_a_sync_trigger_is_made_and_dropped(anywhere: Database) -> None:
    scope: dict[str, object] = {}
    with anywhere.writing() as connection, Operations.context(MigrationContext.configure(connection)):
        exec(f"import sqlalchemy as sa\nfrom alembic import op\n{FIRST}{NAMES}", scope)
    run(anywhere, "INSERT INTO customers (id, name) VALUES (1, 'Ada Lovelace')")
    assert rows(anywhere, SHOWN) == [("Ada Lovelace", "Ada", "Lovelace")]
    with anywhere.writing() as connection, Operations.context(MigrationContext.configure(connection)):
        exec('op.create_sync_trigger("customers", old={"name": "{first_name}"}, new={"first_name": "{name}"})', scope)
        exec('op.drop_sync_trigger("customers")\nop.drop_sync_trigger("customers")', scope)
    run(anywhere, "UPDATE customers SET name = 'Eve'")
    assert rows(anywhere, SHOWN) == [("Eve", "Ada", "Lovelace")]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mysql", "mariadb"])
def test_its_sql_can_be_written_without_a_database(kind: str) -> None:
    buffer = StringIO()
    context = MigrationContext.configure(dialect_name=kind, opts={"as_sql": True, "output_buffer": buffer})
    with Operations.context(context):
        exec(f"import sqlalchemy as sa\nfrom alembic import op\n{NAMES}", {})
    assert "CREATE TRIGGER" in buffer.getvalue()
    assert "lower(" not in buffer.getvalue()


def test_alembic_loads_the_operations_by_itself(tmp_path: Path) -> None:
    """As they are installed, and in a process that has not asked for them."""
    installed = {each.name for each in importlib.metadata.entry_points(group="alembic.plugins")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["entry-points"]["alembic.plugins"]) <= installed
    asks = "import alembic; print(hasattr(alembic.op, 'create_sync_trigger'))"
    done = subprocess.run([sys.executable, "-c", asks], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
