"""serve: run the daemon."""

from __future__ import annotations

import argparse

from orchestrator.cli.command import Plain
from orchestrator.cli.configured import Configured


class Serve(Configured):
    """Run the daemon in the foreground until SIGTERM or Ctrl+C."""

    EXAMPLE = "orchestrator serve --config-file /etc/orchestrator/orchestrator.conf"

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        settings = self.settings(parsed_args)
        from orchestrator.daemon.serve import serve

        return serve(settings)


COMMANDS: dict[str, type[Plain]] = {"serve": Serve}
