"""The tables that the program has for itself, as its revisions make them and as its code says they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from orchestrator.dialects import Database


def tree(directory: Path) -> ScriptDirectory:
    """The revisions in a directory of migrations."""
    config = Config()
    config.set_main_option("script_location", str(directory))
    config.set_main_option("version_locations", f"{directory}/expand:{directory}/contract")
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def made_by_revisions(database: Database, directory: Path) -> dict[str, Any]:
    """What a database looks like when every revision has run in it."""
    with database.writing() as connection, Operations.context(MigrationContext.configure(connection)):
        for script in reversed(list(tree(directory).walk_revisions())):
            script.module.upgrade()
    return described(database.engine)


def made_by_code(database: Database, metadata: sa.MetaData) -> dict[str, Any]:
    """What a database looks like when the code makes its tables."""
    metadata.create_all(database.engine)
    return described(database.engine)


def check(
    directory: Path, metadata: sa.MetaData, new_url: Callable[[], str], open_database: Callable[[str, str], Database]
) -> None:
    """Revisions and code make the same, in names, types, keys, indexes and, where there is such a thing, collations."""
    by_revisions = made_by_revisions(open_database("by_revisions", new_url()), directory)
    by_code = made_by_code(open_database("by_code", new_url()), metadata)
    assert by_revisions == by_code
    assert by_revisions.keys() == metadata.tables.keys()


def described(engine: sa.Engine) -> dict[str, Any]:
    """The tables of a database: names, types, keys, indexes."""
    inspector = sa.inspect(engine)
    return {
        name: {
            "columns": {
                column["name"]: (str(column["type"].compile(engine.dialect)), column["nullable"], column["default"])
                for column in inspector.get_columns(name)
            },
            "primary key": inspector.get_pk_constraint(name),
            "indexes": sorted(inspector.get_indexes(name), key=str),
            "foreign keys": [
                {**key, "referred_schema": None} for key in sorted(inspector.get_foreign_keys(name), key=str)
            ],
            "options": inspector.get_table_options(name) if engine.dialect.name == "mysql" else {},
        }
        for name in inspector.get_table_names()
    }
