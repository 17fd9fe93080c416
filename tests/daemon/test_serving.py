"""Serving: how a daemon starts, how it stops, and how the next one goes on."""

from __future__ import annotations

from tests.daemon.daemons import Site


def test_daemon_serves_and_stops(site: Site) -> None:
    daemon = site.ready()
    assert daemon.ask("GET", "/healthz").body == {"ok": True}
    assert daemon.stop() == 0
