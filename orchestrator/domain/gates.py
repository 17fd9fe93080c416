"""Gates: the questions that deployment tooling asks, and their answers.

`deploy:FLEET:RELEASE` may this fleet start instances of this release? `rollback:FLEET:RELEASE` may it still go back
to this release? `phase:PHASE` is this phase reached?
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.admission import Admission, Standing, Verdict, admit
from orchestrator.domain.errors import Invalid, NotFound
from orchestrator.domain.ladder import Phase, Side
from orchestrator.domain.upgrades import Status, Upgrade


class GateKind(StrEnum):
    """What a gate asks."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"
    PHASE = "phase"


class GateStatus(StrEnum):
    """The answer in the words that monitored webhooks use."""

    RUNNING = "RUNNING"  # closed, may open
    SUCCEEDED = "SUCCEEDED"  # open
    TERMINAL = "TERMINAL"  # closed for good


@dataclass(frozen=True, slots=True)
class Gate:
    """A parsed gate name. `phase` is set for phase gates, `fleet` and `release` for the others."""

    kind: GateKind
    fleet: str | None = None
    release: str | None = None
    phase: Phase | None = None


@dataclass(frozen=True, slots=True)
class GateAnswer:
    """Whether the gate is open, and if not, why not and what to do."""

    status: GateStatus
    code: str
    sentence: str
    remedy: str = ""

    @property
    def is_open(self) -> bool:
        """Whether what the gate asks may happen now."""
        return self.status is GateStatus.SUCCEEDED


def parse(name: str) -> Gate:
    """Read `deploy:FLEET:RELEASE`, `rollback:FLEET:RELEASE` or `phase:PHASE`. Raises `Invalid`."""
    kind, _, rest = name.partition(":")
    if kind == GateKind.PHASE and rest:
        return Gate(GateKind.PHASE, phase=Phase.from_word(rest))
    fleet, _, release = rest.partition(":")
    if kind in (GateKind.DEPLOY, GateKind.ROLLBACK) and fleet and release:
        return Gate(GateKind(kind), fleet=fleet, release=release)
    raise Invalid(
        "gate_unknown",
        f"there is no gate {name!r}",
        remedy="Gates are deploy:FLEET:RELEASE, rollback:FLEET:RELEASE and phase:PHASE.",
    )


def answer(gate: Gate, standing: Standing, last_upgrade: Upgrade | None) -> GateAnswer:
    """The answer to a gate. `last_upgrade` is the newest upgrade of the schema, ended or not."""
    if gate.kind is GateKind.PHASE:
        assert gate.phase is not None
        return _answer_phase(gate.phase, last_upgrade)
    assert gate.fleet is not None and gate.release is not None
    if not any(gate.fleet in release.fleets for release in standing.releases.ordered):
        raise NotFound(
            "fleet_unknown",
            f"no release of {standing.schema} lists a fleet {gate.fleet!r}",
            remedy="Fleets are listed in releases.toml.",
        )
    upgrade = standing.upgrade
    if gate.kind is GateKind.DEPLOY and upgrade is not None and _is_leaving(upgrade, gate.release):
        return GateAnswer(
            GateStatus.RUNNING,
            "going_back",
            f"the upgrade goes back to {upgrade.goal.word}; release {gate.release} has to go",
            f"Roll {gate.fleet} back to {upgrade.from_release}.",
        )
    return _from_admission(admit(standing, gate.release))


def _is_leaving(upgrade: Upgrade, release: str) -> bool:
    side = upgrade.side_of(release)
    return side is Side.NEW and upgrade.goal not in upgrade.profile.support(side)


def _from_admission(admission: Admission) -> GateAnswer:
    status = {
        Verdict.READY: GateStatus.SUCCEEDED,
        Verdict.NOT_YET: GateStatus.RUNNING,
        Verdict.NEVER: GateStatus.TERMINAL,
    }[admission.verdict]
    return GateAnswer(status, admission.code, admission.sentence, admission.remedy)


def _answer_phase(phase: Phase, upgrade: Upgrade | None) -> GateAnswer:
    if upgrade is None:
        return GateAnswer(GateStatus.RUNNING, "no_upgrade", "no upgrade has begun", "Begin one, or wait for it.")
    if phase not in upgrade.profile.phases():
        return GateAnswer(
            GateStatus.TERMINAL,
            "phase_not_on_ladder",
            f"the upgrade to {upgrade.to_release} has no phase {phase.word}",
            f"Its phases are: {', '.join(each.word for each in upgrade.profile.phases())}.",
        )
    if upgrade.status is Status.CANCELLED and phase is not Phase.BASE:
        return GateAnswer(
            GateStatus.RUNNING,
            "no_upgrade",
            f"the upgrade to {upgrade.to_release} was cancelled",
            "Begin it again, or wait for it.",
        )
    if upgrade.status is Status.RUNNING and upgrade.goal < phase:
        leaves = f"leaves {phase.word}" if upgrade.phase >= phase else f"does not come to {phase.word}"
        return GateAnswer(
            GateStatus.RUNNING,
            "going_back",
            f"the upgrade is at {upgrade.phase.word} and was sent to {upgrade.goal.word}: it {leaves}",
            "It is being cancelled; begin it again when it has ended."
            if upgrade.cancelling
            else f"It goes forward again with: orchestrator upgrade resume {upgrade.schema}",
        )
    if upgrade.phase >= phase:
        return GateAnswer(GateStatus.SUCCEEDED, "reached", f"the upgrade is at {upgrade.phase.word}")
    return GateAnswer(
        GateStatus.RUNNING,
        "phase_not_reached",
        f"the upgrade is at {upgrade.phase.word}, {phase.word} comes later",
        "Wait; `orchestrator status` says what it waits for.",
    )
