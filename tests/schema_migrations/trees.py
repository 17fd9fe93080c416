"""Small migration trees, written for one test each."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from orchestrator.schema_migrations.waiting import Patience

IMPATIENT = Patience(
    lock_seconds=0.05, outside_seconds=0.05, attempts=3, first_pause_seconds=0.0, longest_pause_seconds=0.0
)


class TreeWriter:
    """Writes revision files and a manifest, and opens the driver on them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("expand", "contract", "data"):
            (directory / name).mkdir(parents=True)

    @property
    def manifest_file(self) -> Path:
        return self.directory / "releases.toml"

    def revision(
        self,
        stage: str,
        identifier: str,
        body: str = "pass",
        *,
        after: str | None = None,
        depends_on: str | None = None,
        head: str = "",
    ) -> Path:
        """Write one revision. Its `upgrade()` begins at line 11, and one line later for each line of `head`."""
        label = f"({stage!r},)" if after is None else "None"
        text = (
            f'"""Revision {identifier}."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
            f"revision = {identifier!r}\ndown_revision = {after!r}\nbranch_labels = {label}\n"
            f"depends_on = {depends_on!r}\n{head}\n"
            f"def upgrade():\n{indent(dedent(body).strip(), '    ')}\n"
        )
        file = self.directory / stage / f"{identifier}.py"
        file.write_text(text)
        return file

    def manifest(self, text: str) -> Path:
        self.manifest_file.write_text(dedent(text))
        return self.manifest_file

    def driver(self, *, sleep: Callable[[float], None] = lambda seconds: None) -> AlembicDriver:
        return AlembicDriver(self.directory, schema="shop", patience=IMPATIENT, sleep=sleep)


def watched(driver: AlembicDriver) -> list[str]:
    """The revisions that this driver runs from now on, in their order."""
    ran: list[str] = []
    run = driver.run

    def note(*args: Any, **options: Any) -> tuple[str, ...]:
        found = run(*args, **options)
        ran.extend(found)
        return found

    driver.run = note  # type: ignore[method-assign]
    return ran


def columns(database: Database, table: str) -> set[str]:
    """The columns of a table; none if there is no such table."""
    with database.reading() as connection:
        inspector = sa.inspect(connection)
        return {column["name"] for column in inspector.get_columns(table)} if inspector.has_table(table) else set()


def execute(database: Database, statement: str) -> None:
    """Run one statement and commit it."""
    with database.writing() as connection:
        connection.execute(sa.text(statement))


def scalar(database: Database, statement: str) -> object:
    """The first value of the first row."""
    with database.reading() as connection:
        return connection.execute(sa.text(statement)).scalar()
