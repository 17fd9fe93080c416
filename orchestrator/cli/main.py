"""The entry point of the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, by default the one of `sys.argv`, and return its exit code. Never raises."""
    from orchestrator.cli.program import Program

    return Program().run(list(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
