"""Progress: how far data migrations are, as the state knows it. No managed database is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.domain.intentions import Intention, intention_for
from orchestrator.domain.ladder import Phase
from orchestrator.domain.progress import EtaState, Progress, progress_of, progress_of_all
from orchestrator.domain.records import DatabaseReading
from orchestrator.domain.throttling import Reason
from orchestrator.domain.upgrades import Status
from orchestrator.domain.view import View
from orchestrator.domain.windows import SIGNAL as WINDOWS


def progress_in(
    reading: DatabaseReading,
    name: str,
    *,
    now: float,
    may_move: bool,
    intention: Intention | None,
    reasons: Sequence[Reason],
) -> Progress:
    """How far one data migration is in one database. `may_move`: its upgrade lets its rows be moved, or proven, now."""
    facts = next((each for each in reading.facts.migrations if each.name == name), None)
    track = next((each for each in reading.tracks if each.name == name), None)
    waits = EtaState.THROTTLED if reasons else None
    if intention is not None or not may_move:
        waits = EtaState.HELD
    return progress_of(facts, track, now=now, waits=waits)


def progress_of_upgrade(
    view: View, readings: Sequence[DatabaseReading], throttles: Mapping[str, Sequence[Reason]]
) -> Progress | None:
    """How far the data migrations of an upgrade are, all together; None where it does not move rows."""
    upgrade = view.upgrade
    if upgrade.status is not Status.RUNNING or upgrade.phase is not Phase.BACKFILL:
        return None
    may_move = upgrade.paused is None and upgrade.doubt is None
    return progress_of_all(
        _in_windows(
            reading, name, now=view.now, may_move=may_move,
            intention=intention_for(view.intentions, name, reading.database),
            reasons=throttles.get(reading.database, ()),
        )
        for reading in readings
        for name in view.new.data_migrations
    )  # fmt: skip


def _in_windows(
    reading: DatabaseReading,
    name: str,
    *,
    now: float,
    may_move: bool,
    intention: Intention | None,
    reasons: Sequence[Reason],
) -> Progress:
    """As `progress_in`; of rows that only wait for a window the work is told that is left at their last speed.

    Whoever knows when windows open makes a time of that.
    """
    is_closed = bool(reasons) and all(reason.signal == WINDOWS for reason in reasons)
    samples = [track.samples[-1].at for track in reading.tracks if track.name == name and track.samples]
    seen_at = max(samples, default=now)
    if not is_closed or seen_at > now:
        return progress_in(reading, name, now=now, may_move=may_move, intention=intention, reasons=reasons)
    found = progress_in(reading, name, now=seen_at, may_move=may_move, intention=intention, reasons=())
    return replace(found, rows_per_second=None if found.rows_per_second is None else 0.0)
