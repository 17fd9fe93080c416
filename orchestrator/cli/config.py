"""config: whether the configuration can be used, and a sample to begin with."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.cli.command import Plain
from orchestrator.cli.configured import Configured
from orchestrator.cli.exits import Exit
from orchestrator.cli.failures import sentences
from orchestrator.domain.errors import OrchestratorError

if TYPE_CHECKING:
    from orchestrator.conf import SchemaSettings, Settings


class Check(Configured):
    """Check the configuration and the files that it names.

    Also the tokens file, the database URLs and the manifests. Connects to nothing.
    """

    EXAMPLE = "orchestrator config check --config-file orchestrator.conf"

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        settings = self.settings(parsed_args)
        errors = [error for check in _checks(settings) if (error := _error_of(check)) is not None]
        for error in errors:
            for line in sentences(error):
                self.tell(line)
        if errors:
            return Exit.ERROR
        schemas = ", ".join(f"{each.name} ({len(each.databases)} databases)" for each in settings.schemas)
        self.say(f"the configuration can be used; it manages {schemas}")
        return Exit.YES


class Sample(Plain):
    """Write a sample configuration file with every option and its default."""

    EXAMPLE = "orchestrator config sample > orchestrator.conf"
    asks_daemon = False

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        from orchestrator.resources import sample_configuration

        self.app.stdout.write(sample_configuration().read_text(encoding="utf-8"))
        return Exit.YES


def _checks(settings: Settings) -> Iterator[Callable[[], object]]:
    """What can be checked without connecting to anything, one by one."""
    from orchestrator.api.auth import Tokens
    from orchestrator.dialects import open_database

    if settings.tokens_file is not None:
        yield partial(Tokens.read, settings.tokens_file)
    yield partial(open_database, "state", settings.state_connection)
    for schema in settings.schemas:
        for database in schema.databases:
            yield partial(open_database, database.name, database.connection)
        yield partial(_load_driver, schema)


def _load_driver(schema: SchemaSettings) -> object:
    """Read the manifest, the tree or the preset."""
    if schema.driver == "command":
        from orchestrator.schema_migrations.command_driver import CommandDriver

        return CommandDriver(schema)
    from orchestrator.schema_migrations.alembic_driver import AlembicDriver

    return AlembicDriver(schema.migrations, schema=schema.name, version_table=schema.version_table)


def _error_of(check: Callable[[], object]) -> OrchestratorError | None:
    try:
        check()
    except OrchestratorError as error:
        return error
    return None


COMMANDS: dict[str, type[Plain]] = {"config check": Check, "config sample": Sample}
