"""A stand-in for the migration tool of a service, copied to a file `shop-manage` and run as a program of its own.

It starts without what is installed (`python -S`), which takes a tenth of the time, and looks for it when it is needed.

Its tree ends at e1, c1 in version 1 and at e2, c2 in version 2. SHOP_FAULT tells it to misbehave.
"""

import os
import signal
import site
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

VERSION = os.environ.get("SHOP_VERSION", "2.0.0")
FAULT = os.environ.get("SHOP_FAULT", "")
HEADS = {"expand": f"e{VERSION[0]}", "contract": f"c{VERSION[0]}"}


def connect() -> Any:
    url = os.environ["SHOP_CONNECTION"]
    if url.startswith("sqlite:///"):
        return sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20)
    site.main()
    import psycopg

    return psycopg.connect(url)


def heads(connection: Any) -> set[str]:
    try:
        return {row[0] for row in connection.execute("SELECT version_num FROM shop_version").fetchall()}
    except Exception:
        connection.rollback()
        return set()


def move(connection: Any, branch: str) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS shop_version (version_num VARCHAR(32) NOT NULL)")
    connection.execute("CREATE TABLE IF NOT EXISTS customers (id INTEGER PRIMARY KEY)")
    connection.execute(f"DELETE FROM shop_version WHERE version_num LIKE '{branch[0]}%'")
    connection.execute(f"INSERT INTO shop_version VALUES ('{HEADS[branch]}')")
    connection.commit()


def check(connection: Any) -> int:
    there = heads(connection)
    if FAULT == "check-lies":
        return 0
    if HEADS["expand"] not in there:
        return 2
    if os.environ.get("SHOP_ROUNDS") and rounds() > 0:
        return 3
    return 0 if HEADS["contract"] in there else 4


def rounds() -> int:
    """How many rounds of moving data are left, kept in a file."""
    path = Path(os.environ["SHOP_ROUNDS"])
    return int(path.read_text()) if path.exists() else 2


def main(verb: str) -> int:
    note = os.environ.get("SHOP_LOG")
    if note:
        with Path(note).open("a") as file:
            file.write(f"{verb}\n")
    if verb == "version":
        print(f"shop {VERSION}")
        return 0
    connection = connect()
    if verb == "check":
        return check(connection)
    if FAULT == "fails":
        print("reading", os.environ["SHOP_CONNECTION"])
        print("table orders is locked", file=sys.stderr)
        return 1
    if FAULT == "strange":
        return 77
    if FAULT == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if FAULT == "idle":
        return 0
    if FAULT == "hangs":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(os.environ["SHOP_CHILD"]).write_text(str(child.pid))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    if FAULT == "waits":  # until whoever reads the first pipe writes to the second
        Path(os.environ["SHOP_BEGUN"]).write_text("x")
        Path(os.environ["SHOP_GO_ON"]).read_text()
    if verb == "migrate":
        left = rounds() - 1
        Path(os.environ["SHOP_ROUNDS"]).write_text(str(left))
        return 0 if left == 0 else 10
    if verb in ("expand", "install"):
        move(connection, "expand")
    if verb in ("contract", "install") or FAULT == "contracts":
        move(connection, "contract")
    print(verb, "done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[-1]))
