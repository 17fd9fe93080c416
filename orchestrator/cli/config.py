"""config: whether the configuration can be used, and a sample to begin with."""

from __future__ import annotations

import argparse

from orchestrator.cli.command import Plain
from orchestrator.cli.configured import Configured
from orchestrator.cli.exits import Exit
from orchestrator.cli.failures import sentences


class Check(Configured):
    """Check the configuration and the files that it names.

    Also the tokens file, the database URLs and the manifests, and whether the fleets and releases that waves, roles and
    inventories name are in them. Connects to nothing.
    """

    EXAMPLE = "orchestrator config check --config-file orchestrator.conf"

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        from orchestrator.daemon.composition import faults

        settings = self.settings(parsed_args)
        errors = faults(settings)
        for error in errors:
            for line in sentences(error):
                self.tell(line)
        if errors:
            return Exit.ERROR
        schemas = ", ".join(f"{each.name} ({_databases(len(each.databases))})" for each in settings.schemas)
        self.say(f"the configuration can be used; it manages {schemas}")
        for each in settings.schemas:
            if each.driver == "alembic":
                self.say(f"what its revisions do is judged by: orchestrator schema check {each.migrations}")
        return Exit.YES


def _databases(number: int) -> str:
    return "1 database" if number == 1 else f"{number} databases"


class Sample(Plain):
    """Write a sample configuration file with every option and its default."""

    EXAMPLE = "orchestrator config sample > orchestrator.conf"
    asks_daemon = False

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        from orchestrator.resources import sample_configuration

        self.app.stdout.write(sample_configuration().read_text(encoding="utf-8"))
        return Exit.YES


COMMANDS: dict[str, type[Plain]] = {"config check": Check, "config sample": Sample}
