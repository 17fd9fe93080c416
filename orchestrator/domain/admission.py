"""Admission: may code of this release use the schema now, and what may it do there.

Joining, readiness and the deploy and rollback gates ask the same function. Refused by the fence alone means "not
yet", refused by the phase means "never".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.ladder import Behaviour, Phase, Side
from orchestrator.domain.releases import Releases
from orchestrator.domain.upgrades import Upgrade


class Verdict(StrEnum):
    """The three answers."""

    READY = "ready"
    NOT_YET = "not_yet"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer for one release. `code` is stable; `remedy` says what to do about a no."""

    verdict: Verdict
    code: str
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a schema stands: its release, and the upgrade under way if there is one.

    `last_revision` is the one at which its last upgrade ended, 0 before the first. `incarnation` is that of the state
    database which says so, None where that cannot be told. `forgotten`: at rest, a database knows more than the state.
    `removed`: somebody took the old shape away by hand, so nobody may start who needs it.
    """

    schema: str
    release: str | None
    upgrade: Upgrade | None
    releases: Releases
    last_revision: int = 0
    incarnation: str | None = None
    forgotten: str | None = None
    removed: str | None = None


@dataclass(frozen=True, slots=True)
class Stance:
    """What an instance is told: the publication that it follows and what it does, in its own release's terms.

    `behaviour` speaks of the shapes that the instance's own release introduced. At rest, and for the release that is
    being left, that change is long over: it reads new and writes new. Publications only grow, at rest too: the end of
    an upgrade is one, so that nobody takes it for a state that lost what was published.
    """

    upgrade_id: int | None
    publication: int
    phase: Phase
    behaviour: Behaviour


def admit(standing: Standing, release: str) -> Admission:
    """Whether code of `release` may start now. It must be able to live in the phase and in the fence."""
    if standing.release is None:
        return Admission(
            Verdict.NOT_YET,
            "schema_uninitialised",
            f"{standing.schema} has no release yet",
            f"orchestrator schema init {standing.schema} --release {release}",
        )
    if release not in standing.releases:
        return Admission(
            Verdict.NEVER,
            "release_unknown",
            f"the manifest of {standing.schema} has no release {release!r}",
            "Add it to releases.toml and restart the daemon, or start a release that the manifest names.",
        )
    upgrade = standing.upgrade
    if upgrade is None and standing.forgotten is not None:
        return Admission(Verdict.NOT_YET, "copy_ahead", standing.forgotten, taking_over(standing.schema))
    if upgrade is None:
        return _admit_at_rest(standing, standing.release, release)
    return _admit_in_upgrade(standing, upgrade, release)


def taking_over(schema: str) -> str:
    """What to do where the databases know more than the state."""
    return (
        "If no other orchestrator manages them, let the state take over what they know: "
        f"orchestrator schema take-over {schema} --reason ..."
    )


def _admit_at_rest(standing: Standing, current: str, release: str) -> Admission:
    if release == current:
        return Admission(Verdict.READY, "ready", f"{standing.schema} is at release {current}")
    distance = standing.releases.index(release) - standing.releases.index(current)
    if distance == 1:
        return Admission(
            Verdict.NOT_YET,
            "upgrade_not_begun",
            f"{standing.schema} is at release {current}; its upgrade to {release} has not begun",
            f"orchestrator upgrade begin {standing.schema} --release {release}",
        )
    return _too_far(standing, current, release, distance)


def _admit_in_upgrade(standing: Standing, upgrade: Upgrade, release: str) -> Admission:
    side = upgrade.side_of(release)
    if side is None:
        distance = standing.releases.index(release) - standing.releases.index(upgrade.from_release)
        return _too_far(standing, f"{upgrade.from_release} on its way to {upgrade.to_release}", release, distance)
    support = upgrade.profile.support(side)
    way = f"the upgrade of {standing.schema} from {upgrade.from_release} to {upgrade.to_release}"
    frozen = upgrade.frozen
    if frozen is None and upgrade.is_of_another(standing.incarnation):
        frozen = "the state database is not the one that it was"  # what it has forgotten may refuse this release
    if frozen is not None:
        return Admission(
            Verdict.NOT_YET,
            "frozen",
            f"{way} waits until everybody was heard of again: {frozen}",
            "Wait; `orchestrator status` says for how long.",
        )
    if upgrade.phase not in support:
        if side is Side.NEW:
            return Admission(
                Verdict.NOT_YET,
                "phase_not_reached",
                f"{way} is at {upgrade.phase.word}; release {release} may start from {support.low.word} on",
                "Wait; `orchestrator status` says what it waits for.",
            )
        return Admission(
            Verdict.NEVER,
            "release_too_old",
            f"{way} is at {upgrade.phase.word}; release {release} could live only up to {support.high.word}",
            f"Start release {upgrade.to_release}.",
        )
    if upgrade.fence not in support:
        return Admission(
            Verdict.NOT_YET,
            "fenced",
            f"{way} is about to enter {upgrade.fence.word}, where release {release} cannot live",
            f"Start release {upgrade.from_release if side is Side.NEW else upgrade.to_release}, or try again later.",
        )
    if side is Side.OLD and standing.removed is not None:
        return Admission(
            Verdict.NOT_YET,
            "old_shape_gone",
            f"release {release} cannot run: {standing.removed}",
            "Put back what is gone; `orchestrator status` says how.",
        )
    return Admission(Verdict.READY, "ready", f"{way} is at {upgrade.phase.word}")


def _too_far(standing: Standing, where: str, release: str, distance: int) -> Admission:
    word = "new" if distance > 0 else "old"
    return Admission(
        Verdict.NEVER,
        f"release_too_{word}",
        f"release {release} is too {word} for {standing.schema}, which is at {where}",
        "Start the release that the schema is at.",
    )


def stance(standing: Standing, release: str, *, is_told: bool = True) -> Stance:
    """What an admitted instance of `release` follows now; without `is_told` it follows the publication before."""
    upgrade = standing.upgrade
    if upgrade is None:
        return Stance(None, standing.last_revision, Phase.BASE, Behaviour.A3)
    side = upgrade.side_of(release)
    phase, publication = upgrade.phase, upgrade.publication
    if upgrade.telling is not None and not is_told:
        phase, publication = upgrade.telling.phase_before, upgrade.telling.publication_before
    behaviour = upgrade.profile.behaviour(Side.NEW, phase) if side is Side.NEW else Behaviour.A3
    return Stance(upgrade.id, publication, phase, behaviour)


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a managed database knows of one release: what its instances follow, and whether new ones may join."""

    release: str
    stance: Stance
    joins: bool


def admitted(standing: Standing) -> tuple[Admitted, ...]:
    """The releases that can live in the present phase. Whoever joins without a daemon finds itself here, or may not."""
    upgrade = standing.upgrade
    if standing.release is None:
        return ()
    if upgrade is None:
        lives = [standing.release]
    else:
        sides = ((upgrade.from_release, Side.OLD), (upgrade.to_release, Side.NEW))
        lives = [release for release, side in sides if upgrade.phase in upgrade.profile.support(side)]
    known = [release for release in lives if release in standing.releases]
    return tuple(
        Admitted(
            release,
            stance(standing, release, is_told=upgrade is None or _is_told_by_copies(upgrade, release)),
            may_join(standing, release),
        )
        for release in known
    )


def _is_told_by_copies(upgrade: Upgrade, release: str) -> bool:
    """Copies know of no waves: while there may be some, they tell the publication before, which goes with both."""
    side, telling = upgrade.side_of(release), upgrade.telling
    if telling is None or side is None or upgrade.fence > upgrade.phase:
        return True
    return telling.phase_before not in upgrade.profile.support(side)


def lives(standing: Standing, release: str) -> bool:
    """Whether somebody of that release may go on who is written down in a database only, and was found by asking there.

    Whatever fence stands: it counts from now on. But the phase was entered without it.
    """
    upgrade = standing.upgrade
    if upgrade is None:
        return release == standing.release
    side = upgrade.side_of(release)
    return side is not None and upgrade.phase in upgrade.profile.support(side)


def may_join(standing: Standing, release: str) -> bool:
    """Whether a join commits: the instance supports both the phase and the fence."""
    return admit(standing, release).verdict is Verdict.READY
