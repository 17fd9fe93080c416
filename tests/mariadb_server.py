"""A MariaDB server of the tests' own: the distribution's program, in a directory that is thrown away."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pymysql
import sqlalchemy

MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 * 2**30

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


def start(directory: Path, *, patience_seconds: float = 60) -> sqlalchemy.URL:
    """Make a server in a new directory and wait until it answers. Returns its URL, without a database.

    The URL goes through a socket in the directory; without its option `unix_socket`, through a port of the server's
    own. It runs as user mysql where we are root: as root it refuses. Raises `RuntimeError` with a sentence for people.
    """
    program, installer = find_program("mariadbd"), find_program("mariadb-install-db")
    if program is None or installer is None:
        raise RuntimeError("mariadbd is not installed (on Debian and Ubuntu: apt-get install mariadb-server)")
    owner = "mysql" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    directory.mkdir(mode=0o755)
    if os.geteuid() == 0:
        directory.parent.chmod(0o755)
        shutil.chown(directory, owner)
    _make_data_directory(directory / "data", owner)
    common = ["--no-defaults", f"--datadir={directory}/data", f"--user={owner}"]
    _run([installer, *common, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"])
    port = _free_port()
    options = [f"--{name}={value}" for name, value in SETTINGS.items()]
    places = [f"--socket={directory}/socket", f"--port={port}", f"--pid-file={directory}/pid", f"--tmpdir={directory}"]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [program, *common, *places, *options, "--skip-name-resolve", "--skip-log-bin"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            start_new_session=True,
        )
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(pymysql.err.OperationalError):
            pymysql.connect(unix_socket=f"{directory}/socket", user="root", ssl_disabled=True).close()
            return sqlalchemy.make_url(f"mysql+pymysql://root@127.0.0.1:{port}/?unix_socket={directory}/socket")
        time.sleep(0.05)
    server.kill()
    last = (directory / "log").read_text(errors="replace").strip().splitlines()[-3:]
    raise RuntimeError(f"mariadbd did not start: {' '.join(last)}")


def stop(directory: Path) -> None:
    """Kill the server of that directory, if one runs there, and delete its data."""
    with suppress(FileNotFoundError, ProcessLookupError, ValueError):
        process = int((directory / "pid").read_text())
        os.kill(process, signal.SIGKILL)
        for _ in range(100):
            with suppress(ChildProcessError):  # somebody else started it
                os.waitpid(process, os.WNOHANG)
            os.kill(process, 0)
            time.sleep(0.05)
    shutil.rmtree((directory / "data").resolve(), ignore_errors=True)


def _make_data_directory(path: Path, owner: str) -> None:
    """In memory where there is room: the server waits for the disk at every table that it makes or drops."""
    with suppress(OSError):
        if shutil.disk_usage(MEMORY).free > ROOM_BYTES:
            path.symlink_to(MEMORY / f"{path.parent.parent.name}-{path.parent.name}")
    path.resolve().mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(path, owner)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise RuntimeError(f"{command[0]} failed: {' '.join(said[-3:])}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
