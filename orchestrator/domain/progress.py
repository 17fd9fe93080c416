"""Progress: how far the rows of a data migration are, how fast they move, and how much work is left, by our own counts.

Nothing here is estimated by a database. The state keeps a track of each data migration in each database: how far it was
seen, and a few samples of its counts, so that whichever daemon is asked says the same, after a restart too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.view import DatabaseFacts, MigrationFacts, MigrationState

WINDOW_SECONDS = 60.0
"""A speed is that of so many seconds up to now. Samples that lie further apart do not belong together."""

SAMPLE_SECONDS = 5.0
"""Samples are no closer to each other than this; only the newest may be. A speed takes two that are so far apart."""

KEPT_SECONDS = 90.0
"""Samples are forgotten when they are older."""

_LATE_SECONDS = 10.0
"""So long the next sample may take to come before that counts as rows that do not move."""

_MOST_UNPROVEN = 0.99
"""No share is larger before all rows are proven."""

_ENDED = (MigrationState.COMPLETE, MigrationState.ASSUMED)
_UNDER_WAY = (MigrationState.RUNNING, MigrationState.VERIFYING)


@dataclass(frozen=True, slots=True)
class Sample:
    """How many rows were moved, and verified, at a moment by the state's clock."""

    at: float
    moved: int
    verified: int


@dataclass(frozen=True, slots=True)
class Track:
    """What is remembered of one run of a data migration in one database. The last sample has its newest counts.

    `share` is the largest that was seen in this run; None while its rows are not counted. `rows` is that count.
    """

    name: str
    share: float | None = None
    rows: int | None = None
    samples: tuple[Sample, ...] = ()


class EtaState(StrEnum):
    """Whether one can say how much work is left, and if not, why."""

    MEASURING = "measuring"  # too few samples yet, or nothing has moved in the window
    ESTIMATED = "estimated"
    UNCOUNTED = "uncounted"  # nobody knows how many rows there are, as of a function of the service
    HELD = "held"  # they are not to move now: somebody paused or cancelled it, or its upgrade is not where they do
    THROTTLED = "throttled"  # its next batch waits for the databases or the site
    FAILED = "failed"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Eta:
    """How much work is left. `seconds` of it at the present speed where the state is estimated, None elsewhere."""

    state: EtaState
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one data migration is in one database, or all of an upgrade.

    `share` is 0 to 1, at most 0.99 before all rows are proven, None while they are not counted. It never falls within
    one run. `rows_per_second` are those that are moved, or verified, now; None while nobody can tell. `rows` is of how
    many rows that is the share.
    """

    share: float | None
    rows_per_second: float | None
    eta: Eta
    rows: int | None = None


UNKNOWN = Progress(None, None, Eta(EtaState.MEASURING))
"""Of what nothing was read yet."""


def followed(tracks: Sequence[Track], facts: DatabaseFacts, now: float) -> tuple[Track, ...]:
    """The tracks of a database after this reading. One that cannot be read is where it was."""
    if facts.error is not None:
        return tuple(tracks)
    known = {track.name: track for track in tracks}
    return tuple(after(known.get(each.name), each, now) for each in facts.migrations)


def after(track: Track | None, facts: MigrationFacts, now: float) -> Track:
    """The track of a data migration that has now come so far.

    It begins anew with a new run: at its start, and where counts fall, which never happens within one run. Its samples
    begin anew where time went back, or nothing was heard for longer than a window.
    """
    before = None if track is None or _is_new_run(track, facts) else track
    share = _share_of(facts)
    if before is not None and before.share is not None and facts.state not in _ENDED:
        share = max(before.share, share or 0.0)
    samples = () if before is None else before.samples
    if facts.state in _UNDER_WAY:
        samples = _with(samples, Sample(now, facts.rows_done, facts.rows_verified))
    elif facts.state is not MigrationState.FAILED:
        samples = ()
    rows = facts.rows_total if facts.state not in _ENDED else facts.rows_total or 0
    return Track(facts.name, share, rows, samples)


def progress_of(
    facts: MigrationFacts | None, track: Track | None, *, now: float, waits: EtaState | None = None
) -> Progress:
    """How far a data migration is in one database, of which this was last read and remembered.

    Without facts the database cannot be read, and what is remembered stands. `waits` is why its next batch does not
    begin now: held or throttled.

    What is left to be moved takes as long as the present speed of moving says, and what is left to be verified as long
    as that of verifying. Until rows have been verified in the window, the speed of moving stands for it.
    """
    if facts is None:
        share, rows = (None, None) if track is None else (track.share, track.rows)
        return Progress(share, None, Eta(waits or EtaState.MEASURING), rows)
    known = after(track, facts, now) if track is None or _is_news(track, facts) else track
    if facts.state in _ENDED:
        return Progress(1.0, None, Eta(EtaState.COMPLETE), facts.rows_total or 0)
    if facts.state is MigrationState.FAILED:
        return Progress(known.share, None, Eta(EtaState.FAILED), facts.rows_total)
    speeds = _Speeds.of(known.samples, now, is_moving=facts.state is not MigrationState.VERIFYING)
    present = speeds.verifying if facts.state is MigrationState.VERIFYING else speeds.moving
    if present is None and known.samples and known.samples[-1].at < now - WINDOW_SECONDS:
        present = 0.0
    eta = Eta(waits) if waits is not None else _eta_of(facts, speeds)
    return Progress(known.share, present, eta, facts.rows_total)


def progress_of_all(parts: Iterable[Progress]) -> Progress:
    """How far an upgrade is, of which these are all data migrations in all databases.

    The share counts every row the same, moved or verified; None while any rows are not counted. Databases work side by
    side, so that the one with the most work left says how much that is; where one of them does not move, none says it.
    """
    found = tuple(parts)
    rates = [each.rows_per_second for each in found if each.rows_per_second is not None]
    return Progress(
        _share_of_all(found), sum(rates) if rates else None, _eta_of_all(found), sum(each.rows or 0 for each in found)
    )


# -- shares ----------------------------------------------------------------------------------------------------------


def _share_of(facts: MigrationFacts) -> float | None:
    """The share of the work done; moving a row and verifying it count the same. Rows inserted later do not count."""
    if facts.state in _ENDED:
        return 1.0
    if facts.rows_total is None:
        return None
    if facts.rows_total == 0:
        return _MOST_UNPROVEN
    done = min(facts.rows_done, facts.rows_total) + min(facts.rows_verified, facts.rows_total)
    return min(_MOST_UNPROVEN, done / (2 * facts.rows_total))


def _share_of_all(parts: Sequence[Progress]) -> float | None:
    if all(each.eta.state is EtaState.COMPLETE for each in parts):
        return 1.0
    done = rows = 0.0
    for each in parts:
        if each.share is None or each.rows is None:
            return None
        done, rows = done + each.share * each.rows, rows + each.rows
    return min(_MOST_UNPROVEN, done / rows) if rows else _MOST_UNPROVEN


# -- runs and samples ------------------------------------------------------------------------------------------------


def _is_new_run(track: Track, facts: MigrationFacts) -> bool:
    """Whether it began again: was retried, was cancelled, went back with its upgrade, or is to be proven anew."""
    if facts.state is MigrationState.PENDING:
        return True
    if facts.state not in _ENDED and track.share == 1.0:
        return True
    if facts.state not in _UNDER_WAY or not track.samples:
        return False
    last = track.samples[-1]
    return facts.rows_done < last.moved or facts.rows_verified < last.verified


def _is_news(track: Track, facts: MigrationFacts) -> bool:
    """Whether the track does not know these facts: a daemon wrote them that keeps no tracks."""
    counts = (facts.rows_done, facts.rows_verified)
    is_behind = not track.samples or (track.samples[-1].moved, track.samples[-1].verified) != counts
    return facts.state is MigrationState.PENDING or (facts.state in _UNDER_WAY and is_behind)


def _with(samples: Sequence[Sample], newest: Sample) -> tuple[Sample, ...]:
    """The samples and the newest one, which takes the place of one that came only a moment before it."""
    if not samples or not samples[-1].at <= newest.at <= samples[-1].at + WINDOW_SECONDS:
        return (newest,)
    kept = [each for each in samples if each.at >= newest.at - KEPT_SECONDS]
    before = kept[-2].at + SAMPLE_SECONDS if len(kept) > 1 else kept[-1].at
    if kept[-1].at < before or kept[-1].at == newest.at:
        kept.pop()
    return (*kept, newest)


# -- speeds ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Speeds:
    """Rows per second in the window; None where that cannot be said, and never 0."""

    moving: float | None
    verifying: float | None

    @classmethod
    def of(cls, samples: Sequence[Sample], now: float, *, is_moving: bool) -> _Speeds:
        """Those of these samples. With `is_moving` rows are being moved at this moment, without it they all are."""
        inside = [each for each in samples if now - WINDOW_SECONDS <= each.at <= now]
        if not inside:
            return cls(None, None)
        first, last = inside[0], inside[-1]
        until = max(last.at, now - _LATE_SECONDS)
        moved_at = until if is_moving else next(each.at for each in inside if each.moved == last.moved)
        begun = next((each for each in reversed(inside) if each.verified == 0), first)
        return cls(
            _speed(last.moved - first.moved, moved_at - first.at),
            _speed(last.verified - begun.verified, until - begun.at),
        )


def _speed(rows: int, seconds: float) -> float | None:
    return rows / seconds if rows > 0 and seconds >= SAMPLE_SECONDS else None


def _eta_of(facts: MigrationFacts, speeds: _Speeds) -> Eta:
    """What the rest takes. Rows that were inserted since they were counted are not known before they are met."""
    if facts.rows_total is None:
        is_begun = facts.state in _UNDER_WAY
        return Eta(EtaState.UNCOUNTED if is_begun else EtaState.MEASURING)
    rows = max(facts.rows_total, facts.rows_done)
    is_moved = facts.state is MigrationState.VERIFYING
    to_move = 0 if is_moved else max(0, rows - facts.rows_done - facts.rows_quarantined)
    to_verify = max(0, rows - facts.rows_verified)
    verifying = speeds.verifying if speeds.verifying is not None else speeds.moving
    if verifying is None or (to_move and speeds.moving is None):
        return Eta(EtaState.MEASURING)
    moving_seconds = to_move / speeds.moving if to_move and speeds.moving is not None else 0.0
    return Eta(EtaState.ESTIMATED, moving_seconds + to_verify / verifying)


_SAID_FIRST = (
    EtaState.FAILED,
    EtaState.HELD,
    EtaState.THROTTLED,
    EtaState.UNCOUNTED,
    EtaState.MEASURING,
    EtaState.ESTIMATED,
    EtaState.COMPLETE,
)
"""Of several that differ, which state is that of all of them."""


def _eta_of_all(parts: Sequence[Progress]) -> Eta:
    states = {each.eta.state for each in parts}
    state = next((each for each in _SAID_FIRST if each in states), EtaState.COMPLETE)
    if state is not EtaState.ESTIMATED:
        return Eta(state)
    return Eta(state, max(each.eta.seconds or 0.0 for each in parts))
