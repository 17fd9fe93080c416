"""Daemons on the command line: who leads, what an old one keeps from going on, and counting out a dead one."""

from __future__ import annotations

import json

import pytest

from orchestrator.services.daemons import Daemons
from tests.api.world import World
from tests.cli.conftest import Run
from tests.identities import identity

pytestmark = pytest.mark.usefixtures("daemon")


@pytest.fixture
def world() -> World:
    """A daemon of a newer version, which knows a release of our own tables more."""
    return World(knows=2).at_rest()


@pytest.fixture
def older(world: World) -> Daemons:
    """An older daemon that listens elsewhere."""
    older = Daemons(world.store, identity("older", address="10.0.0.7:8776"), ttl_seconds=10)
    older.join()
    return older


def test_one_daemon_is_nothing_to_speak_of(run: Run) -> None:
    assert run("status").err == ""


def test_status_says_that_the_clock_jumped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Daemons, "clock", "the clock of the state database jumped forward by 60 s")
    assert run("status").err == "the clock of the state database jumped forward by 60 s\n"


@pytest.mark.usefixtures("older")
def test_status_says_who_leads_and_what_an_older_daemon_keeps(run: Run) -> None:
    first, second, third = run("status").err.splitlines()
    assert first.startswith("2 daemons: this daemon at this daemon leads since 1970-01-12 13:46:40 UTC")
    assert second == (
        "what release 2 of the state tables and release 2 of the bookkeeping tables removes is kept for daemon older "
        "(version 0.1.0 on host)"
    )
    assert third == "  > Stop it, or start this version in its place."
    assert run("status", "inventory").err == ""


@pytest.mark.usefixtures("older")
def test_dead_daemon_is_counted_out_on_somebodys_word(run: Run, world: World) -> None:
    world.clock.advance(100)
    world.daemons.renew()
    said = run("status").err
    assert "2 daemons, of which 1 stopped renewing: none leads just now" in said
    assert "which stopped renewing 100 s ago and may still be alive" in said
    assert "orchestrator daemon evict older --attest-dead --reason ..." in said
    assert run("daemon", "evict", "older", "--reason", "burnt").code == 2
    assert run("daemon", "evict", "older", "--attest-dead", "--reason", "burnt").out == "older: evicted\n"
    assert run("status").err == ""
    world.clock.advance(7)
    assert "alive, last heard of 7 s ago" in run("daemon", "list").out
    assert run("daemon", "evict", "nobody", "--attest-dead", "--reason", "burnt").code == 1
    listed = json.loads(run("daemon", "list", "--all", "-f", "json").out)
    assert [(each["Daemon"], each["State"], each["Ended"]) for each in listed] == [
        ("older", "evicted", "burnt"),
        ("this daemon", "alive", None),
    ]
    assert [each["Daemon"] for each in json.loads(run("daemon", "list", "-f", "json").out)] == ["this daemon"]
