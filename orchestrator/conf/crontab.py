"""Crontab: a window that opens when a line of five cron fields says so. APScheduler knows when that is.

It reads a few things otherwise than cron does, or not at all and says nothing. What people write means here what it
means to cron, or is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from functools import lru_cache, partial

from apscheduler.triggers.cron import CronTrigger

from orchestrator.domain.windows import Opening

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
"""By cron's numbers, of which 7 is Sunday too. To APScheduler 0 is Monday, so it is given names only."""

_PART = re.compile(r"\*(/\d+)?|\d+(-\d+(/\d+)?)?|[a-z]{3}(-[a-z]{3})?|last")
"""What may stand between commas. APScheduler drops what follows a name: `jan-mar/2` would be each of the three. Crons
do not agree on what 5/10 means."""

_DAY_PART = re.compile(r"(?:\*|(?P<first>[a-z]+|\d)(?:-(?P<last>[a-z]+|\d))?)(?:/(?P<step>\d+))?")

_STEP_SECONDS = 3600
"""Looked for is from such a step on, so that what was found is found again by whoever asks a moment later."""

_REMEMBERED = 10_000
"""So many times are remembered: to find one costs more than all else that is done before a batch."""

_FROM, _UNTIL = datetime(2000, 1, 1, tzinfo=UTC), datetime(2012, 12, 31, tzinfo=UTC)
"""Whatever comes at all has come in between, as 29 February has."""


class CronWindow:
    """Opens for `duration_seconds` at each time that the cron line names, by the clocks of its time zone.

    A time that comes twice when clocks are put back counts once, the first time; what they leap over when they are put
    forward opens when they do. `ever_opens` is false where no such time ever comes, as on 30 February. Safe for any
    number of threads.
    """

    def __init__(self, name: str, cron: str, duration_seconds: float, zone: tzinfo, zone_name: str) -> None:
        """Raises `ValueError` with a sentence for a line that cannot be read, or means one thing here and another to
        cron.
        """
        self.name = name
        self.duration_seconds = duration_seconds
        self._zone = zone
        self._zone_name = zone_name
        minute, hour, day, month, day_of_week = _fields(cron)
        # By clocks that are never put forward or back: of others APScheduler leaves out a time now and then.
        trigger = partial(
            CronTrigger, minute=minute, hour=hour, day=day, month=month, day_of_week=day_of_week, timezone=UTC
        )
        self._trigger = trigger()
        self.ever_opens = trigger(end_date=_UNTIL).get_next_fire_time(None, _FROM) is not None
        self._found = lru_cache(maxsize=_REMEMBERED)(self._find)

    def openings(self, since: float) -> Iterator[Opening]:
        """As `domain.windows.Window.openings`."""
        begin = since - self.duration_seconds
        wall = begin + _offset_seconds(begin, self._zone)
        found = self._found(wall // _STEP_SECONDS * _STEP_SECONDS)
        while found is not None:
            wall, opens_at = found
            if opens_at + self.duration_seconds > since:
                yield Opening(opens_at, opens_at + self.duration_seconds)
            found = self._found(wall + 1)

    def told(self, moment: float) -> str:
        """As `domain.windows.Window.told`, e.g. Mon 2026-11-23 22:00 Europe/Berlin; with its seconds if it has any."""
        shown = datetime.fromtimestamp(moment, self._zone)
        return f"{shown:{'%a %Y-%m-%d %H:%M:%S' if shown.second else '%a %Y-%m-%d %H:%M'}} {self._zone_name}"

    def _find(self, wall: float) -> tuple[float, float] | None:
        """The first time from this one on, as the clocks show it, and the moment; None where there is none any more.

        What they show is written as if it were UTC.
        """
        found = self._trigger.get_next_fire_time(None, datetime.fromtimestamp(wall, UTC))
        return None if found is None else (float(found.timestamp()), _moment(found, self._zone))


def _moment(shown: datetime, zone: tzinfo) -> float:
    """When the clocks of the zone show this first; where they leap over it, when they do."""
    early, late = (shown.replace(tzinfo=zone, fold=fold).timestamp() for fold in (1, 0))
    if early >= late:
        return late
    before = _offset_seconds(early, zone)
    while late - early > 1:
        middle = (early + late) // 2
        if _offset_seconds(middle, zone) == before:
            early = middle
        else:
            late = middle
    return late


def _offset_seconds(moment: float, zone: tzinfo) -> float:
    """By how much the clocks of the zone are ahead of UTC at that moment."""
    offset = datetime.fromtimestamp(moment, zone).utcoffset()
    assert offset is not None
    return offset.total_seconds()


def _fields(cron: str) -> tuple[str, ...]:
    """The five fields as APScheduler reads them. Raises `ValueError`."""
    fields = cron.lower().split()
    if len(fields) != 5:
        raise ValueError(f"it needs five fields (minute, hour, day, month, day of the week) and has {len(fields)}")
    *times, weekdays = fields
    for field in times:
        for part in field.split(","):
            if not _PART.fullmatch(part):
                raise ValueError(f"{part!r} is nothing that can be understood")
    days = _weekdays(weekdays)
    if times[2] != "*" and days != "*":
        raise ValueError("it names days of the month and days of the week: to cron either is enough, to others both")
    return (*times, days)


def _weekdays(field: str) -> str:
    """The days that cron reads there, by name. Raises `ValueError`."""
    found: set[int] = set()
    for part in field.split(","):
        read = _DAY_PART.fullmatch(part)
        if read is None:
            raise ValueError(f"{part!r} names no days of the week")
        step = int(read["step"] or 1)
        if step == 0 or (read["step"] and read["first"] and not read["last"]):
            raise ValueError(f"{part!r} names no days of the week")
        first = 0 if read["first"] is None else _day(read["first"])
        last = 6 if read["first"] is None else first if read["last"] is None else _day(read["last"])
        last += 7 if last < first else 0
        found |= {day % 7 for day in range(first, last + 1, step)}
    return "*" if len(found) == 7 else ",".join(_DAYS[day] for day in sorted(found))


def _day(text: str) -> int:
    """Its number to cron. Raises `ValueError`."""
    if text.isdigit() and int(text) <= 7:
        return int(text)
    if text not in _DAYS:
        raise ValueError(f"{text!r} is no day of the week: write sun to sat, or 0 to 7")
    return _DAYS.index(text)
