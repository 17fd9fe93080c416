"""A service with nothing but the client: it joins a daemon (a stand-in here), works, renews its lease, leaves.

Run by an interpreter whose environment holds the wheel and none of its dependencies.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from orchestrator.client import Member

GRANT = {
    "id": "",
    "schema": "inventory",
    "fleet": "inventory-api",
    "release": "2",
    "epoch": "0123456789abcdef0123456789abcdef",
    "ttl_seconds": 60.0,
    "renew_seconds": 20.0,
    "standing": {"upgrade": 3, "publication": 17, "phase": "backfill", "reads": "old", "writes": "both"},
}


class Daemon(BaseHTTPRequestHandler):
    """Answers the lease protocol as the documentation says, and notes what was asked."""

    asked: list[str] = []  # noqa: RUF012  # one stand-in, one list

    def answer(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        self.asked.append(self.command)
        if self.command == "DELETE":
            self.send_response(204)
            self.end_headers()
            return
        granted = json.dumps(GRANT | {"id": body.get("id") or self.path.split("/")[-2]}).encode()
        self.send_response(201 if self.command == "POST" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(granted)))
        self.end_headers()
        self.wfile.write(granted)

    do_POST = do_PUT = do_DELETE = answer  # the names are http.server's

    def log_message(self, *_: object) -> None:
        """Say nothing."""


daemon = ThreadingHTTPServer(("127.0.0.1", 0), Daemon)
threading.Thread(target=daemon.serve_forever, daemon=True).start()

member = Member(
    f"http://127.0.0.1:{daemon.server_port}", schema="inventory", fleet="inventory-api", release="2", token="secret"
)
member.join(wait_seconds=10)
with member.transaction() as behaviour:
    assert (behaviour.reads, behaviour.writes) == ("old", "both")
    assert not behaviour.reads_new
    assert behaviour.writes_old
    assert behaviour.writes_new
member.leave()
daemon.shutdown()

assert (Daemon.asked[0], Daemon.asked[-1]) == ("POST", "DELETE")
loaded = {name.partition(".")[0] for name in sys.modules}
assert loaded & {"sqlalchemy", "alembic", "oslo_config", "starlette"} == set()
print("left")
