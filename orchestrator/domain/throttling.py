"""Throttling: whether the next batch of rows may begin, from what the signals of a database read. It looks at no clock.

A throttle lies beside a data migration and changes nothing of it: the migration runs, and waits. What cannot be read
is a reason to wait, as what is above its limit is.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.visible import visible

LONGEST_SENTENCE = 500
"""What others say of themselves, such as an error of a server, is cut to so many characters."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one signal says of one thing, e.g. the replica lag of one of several replicas.

    `value` is compared with `limit`, both in `unit`. `of` says what was measured, where there may be several of them.
    A signal that only says yes or no has no value; `objection` is its no, in words that follow its name. With `error`
    it could not be read, and `remedy` is what mends that. `option` is what switches its throttle off.
    """

    signal: str
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    of: str = ""
    objection: str | None = None
    error: str | None = None
    remedy: str = ""
    option: str = ""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why no batch begins, as one sentence. `signal` and `of` say whose; with `is_unreadable` it could not be read.

    `remedy` is what mends it, "" where time alone does; `option` what may be set off so that nobody waits for it.
    """

    signal: str
    of: str
    is_unreadable: bool
    sentence: str
    remedy: str = ""
    option: str = ""

    @property
    def mark(self) -> tuple[str, str, bool]:
        """What makes it another reason: not its number, which changes all the time."""
        return self.signal, self.of, self.is_unreadable

    def found_by(self, daemons: Sequence[str]) -> Reason:
        """The same, with those named that found it, where others may not."""
        return replace(self, sentence=f"{self.sentence} (so daemon {' and '.join(sorted(daemons))})")


@dataclass(frozen=True, slots=True)
class RowsWait:
    """Rows of a schema that one daemon does not move in one database now, and why.

    `since` is when it began to wait, `seen_at` when it last found reasons to, both in the state database's time.
    """

    schema: str
    database: str
    daemon: str
    reasons: tuple[Reason, ...]
    since: float
    seen_at: float


def reasons_to_wait(readings: Iterable[Reading]) -> tuple[Reason, ...]:
    """Every reason why no batch may begin, in the order of the readings; none means go."""
    found = (_reason(reading) for reading in readings)
    return tuple(reason for reason in found if reason is not None)


def remedy_of(reasons: Iterable[Reason], schema: str, database: str) -> str:
    """What mends that rows wait there, and how not to wait for it; "" where time alone mends it."""
    reasons = tuple(reasons)
    said = dict.fromkeys(reason.remedy for reason in reasons if reason.remedy)
    switches = " ".join(dict.fromkeys(f"{reason.option}=off" for reason in reasons if reason.option))
    if switches:
        command = f"orchestrator data-migration set {schema} {switches} --database {database} --reason ..."
        said[f"Not to wait for it: {command}"] = None
    return " ".join(said)


def newest_reasons(waits: Iterable[RowsWait], daemons: Collection[str]) -> tuple[Reason, ...]:
    """What these daemons wait for in one database, each thing once, in the words of whoever looked last.

    What not all of them found names who did: the others may go on.
    """
    found: dict[tuple[str, str], Reason] = {}
    finders: dict[tuple[str, str], list[str]] = {}
    for wait in sorted(waits, key=lambda each: each.seen_at):
        for reason in wait.reasons if wait.daemon in daemons else ():
            found[reason.signal, reason.of] = reason
            finders.setdefault((reason.signal, reason.of), []).append(wait.daemon)
    return tuple(
        reason if len(finders[key]) == len(daemons) else reason.found_by(finders[key]) for key, reason in found.items()
    )


def _reason(reading: Reading) -> Reason | None:
    name = f"{reading.signal}{f' on {reading.of}' if reading.of else ''}"
    if reading.error is not None:
        return _because(reading, f"{name} cannot be read: {reading.error}", is_unreadable=True)
    if reading.objection is not None:
        return _because(reading, f"{name} {reading.objection}")
    if reading.limit is None:
        return None
    if reading.value is None or math.isnan(reading.value):
        return _because(reading, f"{name} cannot be read: there is no number", is_unreadable=True)
    if reading.value <= reading.limit:
        return None
    there = f" on {reading.of}" if reading.of else ""
    value, limit = (_amount(each, reading.unit) for each in (reading.value, reading.limit))
    return _because(reading, f"{reading.signal} is {value}, more than {limit}{there}")


def _because(reading: Reading, sentence: str, *, is_unreadable: bool = False) -> Reason:
    sentence = visible(sentence)
    if len(sentence) > LONGEST_SENTENCE:
        sentence = f"{sentence[: LONGEST_SENTENCE - 3]}..."
    return Reason(reading.signal, reading.of, is_unreadable, sentence, reading.remedy, reading.option)


def _amount(value: float, unit: str) -> str:
    number = f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
    return f"{number} {unit}".rstrip()
