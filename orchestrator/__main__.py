"""`python -m orchestrator`: the same program as the `orchestrator` command."""

import sys

from orchestrator.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
