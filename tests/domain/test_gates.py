"""Gates answer deployment tooling: open, closed for now, closed for good."""

from __future__ import annotations

import pytest

from orchestrator.domain.admission import Standing
from orchestrator.domain.errors import Invalid, NotFound
from orchestrator.domain.gates import GateAnswer, GateStatus, answer, parse
from orchestrator.domain.ladder import InStepBy, Phase
from orchestrator.domain.releases import Release
from orchestrator.domain.upgrades import Status, Upgrade
from tests.domain.views import RELEASES, an_upgrade

RUNNING, SUCCEEDED, TERMINAL = GateStatus


def asked(gate: str, upgrade: Upgrade | None, *, release: str = "1") -> GateAnswer:
    """The answer while that upgrade is under way."""
    return answer(parse(gate), Standing("inventory", release, upgrade, RELEASES), upgrade)


@pytest.mark.parametrize(
    ("gate", "upgrade", "status", "code"),
    [
        ("deploy:api:2", None, RUNNING, "upgrade_not_begun"),
        ("deploy:api:2", an_upgrade(), RUNNING, "phase_not_reached"),
        ("deploy:api:2", an_upgrade(Phase.EXPANDED), SUCCEEDED, "ready"),
        ("deploy:api:2", an_upgrade(Phase.WRITE_NEW), SUCCEEDED, "ready"),
        ("deploy:api:2", an_upgrade(Phase.BACKFILL, goal=Phase.BASE), RUNNING, "going_back"),
        ("deploy:api:2", an_upgrade(Phase.BACKFILL, goal=Phase.EXPANDED), SUCCEEDED, "ready"),
        ("deploy:api:3", an_upgrade(Phase.EXPANDED), TERMINAL, "release_too_new"),
        ("deploy:api:9", None, TERMINAL, "release_unknown"),
        ("rollback:api:1", None, SUCCEEDED, "ready"),
        ("rollback:api:1", an_upgrade(Phase.EXPANDED), SUCCEEDED, "ready"),
        ("rollback:api:1", an_upgrade(Phase.EXPANDED, fence=Phase.BACKFILL), RUNNING, "fenced"),
        ("rollback:api:1", an_upgrade(Phase.BACKFILL), TERMINAL, "release_too_old"),
        ("phase:backfill", None, RUNNING, "no_upgrade"),
        ("phase:backfill", an_upgrade(Phase.EXPANDED), RUNNING, "phase_not_reached"),
        ("phase:backfill", an_upgrade(Phase.BACKFILL), SUCCEEDED, "reached"),
        ("phase:backfill", an_upgrade(Phase.WRITE_NEW), SUCCEEDED, "reached"),
        ("phase:backfill", an_upgrade(Phase.READ_NEW, goal=Phase.EXPANDED), RUNNING, "going_back"),
        ("phase:backfill", an_upgrade(Phase.BACKFILL, goal=Phase.BASE, cancelling=True), RUNNING, "going_back"),
        ("phase:backfill", an_upgrade(Phase.READ_NEW, goal=Phase.BACKFILL), SUCCEEDED, "reached"),
        ("phase:backfill", an_upgrade(Phase.EXPANDED, goal=Phase.EXPANDED), RUNNING, "going_back"),
        (
            "phase:backfill",
            an_upgrade(goal=Phase.BASE, cancelling=True, status=Status.CANCELLED),
            RUNNING,
            "no_upgrade",
        ),
        ("phase:contracted", an_upgrade(Phase.CONTRACTED, status=Status.COMPLETED), SUCCEEDED, "reached"),
        ("phase:sealed", an_upgrade(Phase.WRITE_NEW), TERMINAL, "phase_not_on_ladder"),
    ],
)
def test_gates_follow_the_upgrade(gate: str, upgrade: Upgrade | None, status: GateStatus, code: str) -> None:
    found = asked(gate, upgrade)
    assert (found.status, found.code) == (status, code)
    assert found.is_open == (status is SUCCEEDED)
    assert found.sentence
    assert found.remedy or found.is_open


def test_a_phase_that_a_service_skips_is_said_to_be_missing() -> None:
    service = Release("2", in_step_by=InStepBy.SERVICE, has_contract=True)
    found = asked("phase:read_new", an_upgrade(Phase.EXPANDED, release=service))
    assert found.status is TERMINAL
    assert "base, expanded, write_new, contracted" in found.remedy


@pytest.mark.parametrize("name", ["", "deploy", "deploy:api", "deploy::2", "deploy:api:", "phase:", "open:api:2", "x"])
def test_a_name_that_is_no_gate_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(Invalid) as refusal:
        parse(name)
    assert refusal.value.code == "gate_unknown"
    assert "deploy:FLEET:RELEASE" in refusal.value.remedy


def test_a_phase_that_does_not_exist_is_refused() -> None:
    with pytest.raises(Invalid) as refusal:
        parse("phase:done")
    assert refusal.value.code == "phase_unknown"


def test_a_fleet_that_no_release_lists_is_not_found() -> None:
    with pytest.raises(NotFound) as refusal:
        asked("deploy:nobody:2", None)
    assert refusal.value.code == "fleet_unknown"
