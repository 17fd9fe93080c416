"""Fleets that are told a phase one after the other, by a real daemon, over HTTP."""

from __future__ import annotations

from contextlib import ExitStack

from orchestrator.client import Member
from orchestrator.demo.example import SCHEMA
from tests.daemon.daemons import Daemon, Site, until
from tests.daemon.inventory import API, WORKER

NOTHING_RUNS = ("--release", "1", "--instances", "0")


def expanded_and_held(site: Site) -> Daemon:
    """Nobody ran release 1; a fleet that was paused before holds the upgrade at expanded, where release 2 may start."""
    daemon = site.ready()
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
    for fleet in (API, WORKER):
        daemon.orchestrator("fleet", "report", SCHEMA, fleet, *NOTHING_RUNS)
    daemon.orchestrator("fleet", "pause", SCHEMA, WORKER, "--reason", "until all are there")
    daemon.orchestrator("upgrade", "begin", SCHEMA, "--release", "2")
    daemon.until_phase("expanded")
    daemon.until_blocked("fleet_paused")
    return daemon


def test_each_fleet_switches_after_the_wave_before_it_has(site: Site) -> None:
    site.more["policy"] = {"waves": f"{WORKER}; {API}", "canary": 1}
    daemon = expanded_and_held(site)
    heard: list[tuple[str, str | None]] = []
    with ExitStack() as running:
        for fleet, count in ((WORKER, 2), (API, 1)):
            for _ in range(count):
                member = Member(daemon.url, schema=SCHEMA, fleet=fleet, release="2")
                member.on_change(lambda standing, fleet=fleet: heard.append((fleet, standing.phase)))  # type: ignore[misc]
                running.enter_context(member)
        daemon.orchestrator("fleet", "resume", SCHEMA, WORKER)
        daemon.until_phase("sealed")
        until(lambda: (API, "write_new") in heard, "the last has heard of write_new", also=daemon.account)
        for phase in ("backfill", "read_new", "write_new"):
            assert [fleet for fleet, heard_of in heard if heard_of == phase] == [WORKER, WORKER, API], heard
    told = daemon.orchestrator("events", "--limit", "200")
    assert "read_new is told to wave 1 of 2: inventory-worker" in told
    assert "read_new is told to wave 2 of 2: inventory-api" in told


def test_waves_with_a_fleet_that_no_release_lists_are_refused_at_the_start(site: Site) -> None:
    site.more["policy"] = {"waves": "inventory-worke; inventory-api"}
    process = site.serve(site.configure())
    until(lambda: process.exit_code is not None, "it ends", also=lambda: process.log)
    assert process.exit_code == 1
    assert f"the waves of schema {SCHEMA} name a fleet inventory-worke, which no release lists" in process.log
    assert f"Did you mean {WORKER}?" in process.log
