"""The keeper of a command, asked to stop at the worst moment."""

import json
import subprocess
import sys

from orchestrator.schema_migrations import command_process

STOPPED_WHILE_IT_STARTS = """
import os, runpy, signal, subprocess, sys

usual = subprocess.Popen

def start(*arguments, **options):
    child = usual(*arguments, **options)
    os.kill(os.getpid(), signal.SIGTERM)
    return child

subprocess.Popen = start
runpy.run_path(sys.argv[1])["main"](["1", "60", "10", "sleep", "600"])
"""


def test_stop_that_comes_while_the_command_is_started_ends_it() -> None:
    keeper = str(command_process._KEEPER)
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_WHILE_IT_STARTS, keeper],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert json.loads(done.stdout) == {"ended": "stopped", "exit_code": -15}
