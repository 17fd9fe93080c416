"""Forgotten: what the databases of a schema know of an upgrade that the state, at rest, knows nothing of.

That is so after the state was restored to a time before the upgrade began, or was made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.admission import Admitted
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ladder import Behaviour, Phase
from orchestrator.domain.records import SchemaState
from orchestrator.domain.releases import Release, Releases
from orchestrator.domain.upgrades import Move, Status, Upgrade, begin
from orchestrator.domain.view import Copy, DatabaseFacts


def ahead(state: SchemaState, databases: Sequence[DatabaseFacts]) -> str | None:
    """Which database knows more than the state, in words; None where none is seen to."""
    for facts in databases:
        if facts.error is None and facts.copy is not None and facts.copy.revision > state.last_revision:
            return (
                f"database {facts.name} holds revision {facts.copy.revision} of {state.name}, the state only "
                f"{state.last_revision}: the state database lost commits, or another orchestrator manages this one"
            )
    return None


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the copies tell: the release that the schema is at, and its newest upgrade, which may be under way."""

    release: str
    upgrade: Upgrade

    @property
    def sentence(self) -> str:
        """In words."""
        upgrade = self.upgrade
        if upgrade.status is not Status.RUNNING:
            return f"release {self.release}, at rest"
        return f"the upgrade from {upgrade.from_release} to {upgrade.to_release}, at {upgrade.phase.word}"


def recalled(
    state: SchemaState,
    databases: Sequence[DatabaseFacts],
    releases: Releases,
    *,
    now: float,
    until: float,
    incarnation: str | None,
) -> Recalled:
    """What the copies know, where they agree. An upgrade under way is frozen, and rests where it is until `until`.

    Where it was sent nobody knows any more; nor what was approved, or paused. Raises `Conflict`, and `NotFound` for a
    release that the manifest does not know.
    """
    copy = _agreed(state, databases)
    sides = {each.release for each in copy.admits}
    if not sides:
        raise _disagree(f"what the databases hold of {state.name} names no release")
    for release in sides:
        releases[release]
    ended = all(each.stance.upgrade_id is None for each in copy.admits)
    old, new = _ended_sides(copy, releases) if ended else _sides(copy, releases)
    if copy.phase not in new.profile.phases():
        raise _disagree(f"the upgrade to {new.name} has no phase {copy.phase.word} by the manifest")
    found = begin(
        schema=state.name, from_release=old, to_release=new.name, profile=new.profile,
        after_revision=copy.revision, now=now, manifest=new.recorded(), incarnation=incarnation,
    )  # fmt: skip
    assert copy.upgrade_id is not None, "the copies name one"
    found = replace(found, id=copy.upgrade_id, phase=copy.phase, fence=copy.phase, goal=copy.phase)
    if not ended:
        why = f"the state had forgotten the upgrade, and database {databases[0].name} knew of it"
        lost = found.with_lost_commits(
            why, now=now, until=until, revision=copy.revision, phase=copy.phase, incarnation=incarnation,
            removing=copy.move is Move.STEPPING and copy.fence is Phase.CONTRACTED,
        )  # fmt: skip
        return Recalled(old, lost)
    completed = copy.phase is not Phase.BASE
    status = Status.COMPLETED if completed else Status.CANCELLED
    return Recalled(new.name if completed else old, replace(found, status=status, ended_at=now))


def _agreed(state: SchemaState, databases: Sequence[DatabaseFacts]) -> Copy:
    """The newest copy. The others may be a few changes behind it, of the same upgrade."""
    for facts in databases:
        if facts.error is not None:
            raise _disagree(f"database {facts.name} cannot be read, so nobody knows what it holds: {facts.error}")
    copies = [facts.copy for facts in databases if facts.copy is not None]
    newest = max(copies, key=lambda copy: copy.revision, default=None)
    if newest is None or newest.revision <= state.last_revision:
        raise Conflict(
            "nothing_forgotten",
            f"no database knows more of {state.name} than the state",
            remedy="Nothing to do.",
        )
    if (
        newest.upgrade_id is None
        or len(copies) < len(databases)
        or {copy.upgrade_id for copy in copies} != {newest.upgrade_id}
    ):
        held = ", ".join(f"{facts.name} {_said(facts.copy)}" for facts in databases)
        raise _disagree(f"the databases of {state.name} do not know the same upgrade: {held}")
    return newest


def _said(copy: Copy | None) -> str:
    if copy is None or copy.upgrade_id is None:
        return "none"
    return f"number {copy.upgrade_id} at revision {copy.revision}"


def _disagree(sentence: str) -> Conflict:
    return Conflict(
        "copies_differ",
        sentence,
        remedy="Let every database be read, and be of the same time; or restore a newer backup of the state database.",
    )


def _ended_sides(copy: Copy, releases: Releases) -> tuple[str, Release]:
    """The releases between which the upgrade went that has ended: at base it was cancelled, else completed."""
    (here, *_) = copy.admits
    if copy.phase is Phase.BASE:
        return here.release, _next_to(releases, here.release, 1)
    return _next_to(releases, here.release, -1).name, releases[here.release]


def _sides(copy: Copy, releases: Releases) -> tuple[str, Release]:
    """The releases between which the upgrade under way goes. Where both may live, both are admitted."""
    admitted = sorted(copy.admits, key=lambda each: releases.index(each.release))
    if len(admitted) > 1:
        return admitted[0].release, releases[admitted[-1].release]
    (only,) = admitted
    if _is_old(only, copy.phase):
        return only.release, _next_to(releases, only.release, 1)
    return _next_to(releases, only.release, -1).name, releases[only.release]


def _is_old(only: Admitted, phase: Phase) -> bool:
    """Below write_new the new release does something else than what the old one does in its own terms."""
    return phase is Phase.BASE or (phase < Phase.WRITE_NEW and only.stance.behaviour is Behaviour.A3)


def _next_to(releases: Releases, release: str, by: int) -> Release:
    place = releases.index(release) + by
    if not 0 <= place < len(releases.ordered):
        raise _disagree(f"the manifest has no release {'after' if by > 0 else 'before'} {release}")
    return releases.ordered[place]
