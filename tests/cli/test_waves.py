"""Waves and paused fleets on the command line."""

from __future__ import annotations

import json

import pytest

from orchestrator.domain.view import Policy
from orchestrator.domain.waves import Waves
from tests.api.world import World
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("daemon")


@pytest.fixture
def world() -> World:
    """The upgrade has entered expanded; the second wave has not heard of that."""
    waves = Waves((("inventory-api",), ("inventory-worker",)))
    return World(policy=Policy(waves=waves)).expanded()


def test_fleets_are_listed_with_the_phase_that_they_are_told(run: Run) -> None:
    rows = json.loads(run("fleet", "waves", "inventory", "-f", "json").out)
    assert [(row["Fleet"], row["Wave"], row["Phase"], row["Paused"]) for row in rows] == [
        ("inventory-api", 1, "expanded", None),
        ("inventory-worker", 2, "base", None),
    ]
    assert json.loads(run("upgrade", "show", "inventory", "-f", "json").out)["Wave"] == 1


def test_a_fleet_is_paused_and_resumed(run: Run) -> None:
    said = run("fleet", "pause", "inventory", "inventory-worker", "--reason", "a bad disk")
    assert (said.code, said.out) == (0, "inventory-worker is paused: it stays at base\n")
    status = run("status", "inventory").out
    assert "fleet inventory-worker is paused and stays at base: a bad disk" in status
    assert "> orchestrator fleet resume inventory inventory-worker" in status
    assert "by local: a bad disk" in run("fleet", "waves", "inventory").out
    assert run("fleet", "resume", "inventory", "inventory-worker").code == 0
    assert "is paused" not in run("status", "inventory").out


def test_a_pause_of_a_fleet_that_was_told_says_so(run: Run) -> None:
    said = run("fleet", "pause", "inventory", "inventory-api", "--reason", "a bad disk")
    assert said.out == "inventory-api is paused: it was told expanded already, and goes no further\n"


def test_a_pause_needs_a_reason_and_a_fleet_that_there_is(run: Run) -> None:
    assert run("fleet", "pause", "inventory", "inventory-api", "--reason", " ").code == 2
    assert run("fleet", "pause", "inventory", "inventory-api").code == 2
    assert "fleet_unknown" in run("fleet", "pause", "inventory", "nobody", "--reason", "r").err
