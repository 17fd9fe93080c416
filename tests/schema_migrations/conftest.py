"""Small migration trees, and databases to run them on."""

from pathlib import Path

import pytest

from orchestrator.dialects import Database
from tests.prepared import prepare
from tests.schema_migrations.trees import TreeWriter


@pytest.fixture
def tree(tmp_path: Path) -> TreeWriter:
    """An empty tree."""
    return TreeWriter(tmp_path / "shop")


@pytest.fixture
def shop(tree: TreeWriter) -> TreeWriter:
    """Two releases: release 2 adds a column beside another one, and drops that one in the end."""
    tree.revision(
        "expand",
        "e1",
        """
        op.create_table(
            "customers",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("name", sa.String(50), nullable=False),
        )
        """,
    )
    tree.revision("expand", "e2", 'op.add_column("customers", sa.Column("full_name", sa.String(80)))', after="e1")
    tree.revision(
        "expand",
        "e3",
        """
        with op.batch_alter_table("customers") as customers:
            customers.alter_column("name", existing_type=sa.String(50), nullable=True)
        """,
        after="e2",
    )
    tree.revision("contract", "c2", 'op.drop_column("customers", "name")', depends_on="e3")
    tree.manifest(
        """
        [[release]]
        name = "1"
        expand = "e1"

        [[release]]
        name = "2"
        expand = "e3"
        contract = "c2"
        old_shape = ["customers.name"]
        """
    )
    return tree


@pytest.fixture
def prepared(database: Database) -> Database:
    """A database with our own tables and nothing else; the test runs once per kind of database."""
    prepare(database)
    return database
