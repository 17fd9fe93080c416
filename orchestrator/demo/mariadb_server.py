"""A MariaDB server of one's own: the distribution's program, in a directory that is thrown away."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pymysql
from sqlalchemy import URL, make_url

from orchestrator.demo.errors import DemoFailed
from orchestrator.demo.ports import free_port

# Nobody needs these databases after a power cut.
SETTINGS = {
    "sync-frm": "0",
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-doublewrite": "0",
    "innodb-flush-method": "nosync",
    "innodb-buffer-pool-size": "256M",
    "innodb-fast-shutdown": "3",
    "character-set-server": "utf8mb4",
    "collation-server": "utf8mb4_general_ci",
    "max-connections": "300",
    "bind-address": "127.0.0.1",
}


def find_program(name: str) -> str | None:
    """The path of one of the server's programs, which lies where only root looks."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/usr/libexec")


# Whatever ends the process that the server is for, the server ends too, and its data with it.
KEEPER = """
"$@" & server=$!
while kill -0 "$OWNER" 2>/dev/null && kill -0 $server 2>/dev/null; do sleep 1; done
kill -9 $server 2>/dev/null
rm -rf "$DATA"
"""


def start(
    directory: Path,
    owner: int,
    *,
    port: int | None = None,
    options: Sequence[str] = (),
    patience_seconds: float = 60,
) -> URL:
    """Make a server in a new directory, for as long as the process `owner` lives, and wait until it answers.

    Returns its URL, without a database. It goes through a socket in the directory; without its option `unix_socket`,
    through a port of the server's own, `port` if given. The server runs as user mysql where we are root: as root it
    refuses. It waits for the disk at every table that it makes or drops: a directory in memory is much faster.
    `options` are more of its options. Raises `DemoFailed`.
    """
    program, installer = find_program("mariadbd"), find_program("mariadb-install-db")
    if program is None or installer is None:
        raise DemoFailed("mariadbd is not installed; on Debian and Ubuntu: apt-get install mariadb-server")
    user = "mysql" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    directory.mkdir(mode=0o755)
    if os.geteuid() == 0:
        directory.parent.chmod(0o755)
        shutil.chown(directory, user)
    (directory / "data").mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(directory / "data", user)
    common = ["--no-defaults", f"--datadir={directory}/data", f"--tmpdir={directory}", f"--user={user}"]
    _run([installer, *common, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"])
    port = free_port() if port is None else port
    settings = [*(f"--{name}={value}" for name, value in SETTINGS.items()), "--skip-name-resolve", "--skip-log-bin"]
    places = [f"--socket={directory}/socket", f"--port={port}", f"--pid-file={directory}/pid"]
    with (directory / "log").open("wb") as log:
        keeper = subprocess.Popen(
            ["sh", "-c", KEEPER, "keeper", program, *common, *places, *settings, *options],
            env={**os.environ, "OWNER": str(owner), "DATA": str(directory / "data")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            start_new_session=True,
        )
    (directory / "keeper").write_text(str(keeper.pid))
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline and keeper.poll() is None:
        with suppress(pymysql.err.OperationalError):
            with pymysql.connect(unix_socket=f"{directory}/socket", user="root", ssl_disabled=True) as connection:
                _install_plugin(connection)
            return make_url(f"mysql+pymysql://root@127.0.0.1:{port}/?unix_socket={directory}/socket")
        time.sleep(0.05)
    stop(directory)
    last = (directory / "log").read_text(errors="replace").strip().splitlines()[-3:]
    raise DemoFailed(f"mariadbd did not start: {' '.join(last)}")


def _install_plugin(connection: Any) -> None:
    """With it the server says who holds which table."""
    with connection.cursor() as cursor, suppress(pymysql.err.OperationalError):
        cursor.execute("INSTALL SONAME 'metadata_lock_info'")


def stop(directory: Path) -> None:
    """Kill the server of that directory, if one runs there, and delete its data. Repeatable."""
    for name in ("keeper", "pid"):
        with suppress(FileNotFoundError, ValueError):
            _end(int((directory / name).read_text()))
    shutil.rmtree(directory / "data", ignore_errors=True)


def _end(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    with suppress(ChildProcessError):  # somebody else started it
        os.waitpid(process, 0)
    with suppress(FileNotFoundError):
        while Path(f"/proc/{process}/cmdline").read_bytes():  # empty when it has ended
            time.sleep(0.01)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise DemoFailed(f"{command[0]} failed: {' '.join(said[-3:])}")
