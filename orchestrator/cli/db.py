"""db: the orchestrator's own tables in its state database."""

from __future__ import annotations

import argparse

from orchestrator.cli.command import Plain
from orchestrator.cli.configured import Configured


class Migrate(Configured):
    """Bring the orchestrator's own tables up to this version.

    `orchestrator serve` does it too. Repeatable.
    """

    EXAMPLE = "orchestrator db migrate --config-file /etc/orchestrator/orchestrator.conf"

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        settings = self.settings(parsed_args)
        from orchestrator.daemon.composition import prepare_state

        prepared = prepare_state(settings)
        self.say(f"the tables in {prepared.database.place} are up to date")
        for wait in prepared.waits:
            self.tell(f"{wait.sentence}\n  > {wait.remedy}")
        prepared.database.engine.dispose()
        return 0


COMMANDS: dict[str, type[Plain]] = {"db migrate": Migrate}
