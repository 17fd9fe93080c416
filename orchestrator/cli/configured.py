"""What commands have in common that read the daemon's own configuration instead of asking it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from orchestrator.cli.command import Plain

if TYPE_CHECKING:
    from orchestrator.conf import Settings


class Configured(Plain):
    """A command that works with the settings of the configuration files."""

    asks_daemon = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--config-file",
            action="append",
            default=[],
            metavar="FILE",
            help="configuration file, can be repeated (default: the first orchestrator.conf in ~/.orchestrator, ~, "
            "/etc/orchestrator and /etc)",
        )

    def settings(self, parsed_args: argparse.Namespace) -> Settings:
        """The settings, with logging set up as they say. Raises `ConfigurationError`."""
        from orchestrator.conf import load, logs

        settings = load(parsed_args.config_file)
        logs.set_up(settings, debug=bool(self.app_args is not None and self.app_args.debug))
        return settings
