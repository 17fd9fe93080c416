"""[window:SCHEMA:NAME]: when rows may be moved."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from oslo_config import cfg

from orchestrator.conf.crontab import CronWindow
from orchestrator.conf.nearest import meant, nearest
from orchestrator.conf.reading import SectionReader
from orchestrator.conf.schema_database import chosen
from orchestrator.conf.settings import DatabaseSettings, SchemaSettings, WindowSettings
from orchestrator.domain.pacing import BatchSizes
from orchestrator.domain.windows import Windows, batch_needs_seconds

PREFIX = "window:"

LONGEST_DAYS = 31

OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "cron",
        required=True,
        sample_default="0 22 * * mon-fri",
        help="When it opens, as in a crontab: minute, hour, day of the month, month, day of the week. Days of the week "
        "are names, or cron's numbers (0 and 7 are Sunday). Only one of the two fields for days may name some.",
    ),
    cfg.StrOpt(
        "duration",
        required=True,
        sample_default="8h",
        help="For how long it is open, e.g. 90m, 8h, 1h30m or 2d: in time that passes, also while clocks are put "
        f"forward or back. {LONGEST_DAYS}d at the most.",
    ),
    cfg.StrOpt(
        "timezone",
        default="UTC",
        sample_default="Europe/Berlin",
        help="The time zone of cron, by its name in the IANA database.",
    ),
    cfg.ListOpt(
        "databases",
        default=[],
        sample_default=["cell01"],
        help="For which databases of the schema it is; for all without a value.",
    ),
)

_DURATION = re.compile(r"(?:(\d+) ?d)? ?(?:(\d+) ?h)? ?(?:(\d+) ?m)? ?(?:(\d+) ?s)?", re.ASCII)
_UNIT_SECONDS = (86_400, 3600, 60, 1)


def group(schema: str, name: str) -> cfg.OptGroup:
    """The section of that window of that schema."""
    return cfg.OptGroup(
        f"{PREFIX}{schema}:{name}",
        help="[window:NAME:WINDOW]: the data migrations of schema NAME move and verify rows only while this window is "
        "open, or another one of the same database. A database without any is always open.",
    )


def parts(section: str) -> tuple[str, str]:
    """Schema and window that the name of a section names."""
    schema, _, name = section.removeprefix(PREFIX).partition(":")
    return schema, name


def read(
    section: SectionReader,
    name: str,
    databases: Sequence[DatabaseSettings],
    batches: BatchSizes,
    cycle_seconds: float,
) -> WindowSettings:
    """The section as settings. Raises `ConfigurationError` for a window that never opens, or in which nothing fits.

    A daemon looks every `cycle_seconds` whether it has opened.
    """
    names, _ = chosen(section, databases)
    duration_seconds = _duration(section, batches, cycle_seconds)
    cron = " ".join(section.text("cron").split())
    settings = WindowSettings(name, cron, duration_seconds, _zone_name(section), names)
    try:
        window = _window(settings)
    except ValueError as error:
        section.refuse(
            "cron",
            "option_value_invalid",
            f"its value cannot be used: {error}",
            remedy=f"{_of_comments(cron)}Write five cron fields, such as 0 22 * * mon-fri. What one line cannot say "
            "two windows can.",
        )
    if not window.ever_opens:
        section.refuse(
            "cron",
            "option_value_invalid",
            "such a day never comes, so it never opens",
            remedy="Name a day that the month has, or remove the section.",
        )
    return settings


def windows_of(schema: SchemaSettings) -> Mapping[str, Windows]:
    """The windows of each database of the schema, each window one and the same in all that have it."""
    made = [(_window(each), each.databases) for each in schema.windows]
    return {
        database.name: Windows(tuple(window for window, names in made if not names or database.name in names))
        for database in schema.databases
    }


def _window(settings: WindowSettings) -> CronWindow:
    zone: tzinfo = UTC if settings.timezone == "UTC" else ZoneInfo(settings.timezone)
    return CronWindow(settings.name, settings.cron, settings.duration_seconds, zone, settings.timezone)


def _of_comments(text: str) -> str:
    return "A comment needs a line of its own. " if "#" in text else ""


def _zone_name(section: SectionReader) -> str:
    name = str(section.value("timezone") or "UTC")
    known = {"UTC"} if name == "UTC" else available_timezones() - {"localtime"}  # which each daemon has another one of
    if name not in known:
        near = nearest(name, sorted(known))
        remedy = meant(name, [near]) if near else "Give a name of the IANA database, such as Europe/Berlin."
        if not known:
            remedy = "This machine has no database of time zones: install tzdata, or leave the option out for UTC."
        section.refuse("timezone", "option_value_invalid", f"there is no time zone {name}", remedy=remedy)
    return name


def _duration(section: SectionReader, batches: BatchSizes, cycle_seconds: float) -> float:
    """In seconds, and enough for a batch, however late in its cycle a daemon finds it open."""
    text = section.text("duration").strip().lower()
    read = _DURATION.fullmatch(text)
    counts = [int(count or 0) for count in read.groups()] if read and len(text) < 20 else [0]
    seconds = float(sum(count * unit for count, unit in zip(counts, _UNIT_SECONDS, strict=False)))
    if not 0 < seconds <= LONGEST_DAYS * 86_400:
        section.refuse(
            "duration",
            "option_value_invalid",
            f"{section.text('duration')} is no time between 1s and {LONGEST_DAYS}d",
            remedy=f"{_of_comments(text)}Give a number and its unit, such as 90m, 8h or 1h30m.",
        )
    batch_seconds = batch_needs_seconds(batches.seconds)
    if seconds < batch_seconds + cycle_seconds:
        section.refuse(
            "duration",
            "option_value_invalid",
            f"no batch fits in: one may take {batch_seconds:g} s with batch_seconds = {batches.seconds:g}, waiting "
            f"for its locks included, and a daemon looks every {cycle_seconds:g} s ([cycle] interval_seconds)",
            remedy=f"Let it be open for {math.ceil(batch_seconds + cycle_seconds)}s at the least, or make one of the "
            "two smaller.",
        )
    return seconds
