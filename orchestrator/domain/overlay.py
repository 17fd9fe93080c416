"""The overlay: what is set while rows are moved, over what the configuration says of their pace.

An option is a fact of the configuration: its value there, and what it may be. A setting is somebody's word, kept in
the state, and in force until it is cleared; that of one database goes before that of its schema.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

PRIORITY = "priority"
"""The setting of one data migration: which of several that may run has its turn first."""

PRIORITIES = range(-1000, 1001)

OFF = -1.0
"""A limit, or a throttle, that is set to this is not asked. What is set below 0 counts as this."""

ON = 1.0
"""A throttle that has no limit is asked."""

EVERYWHERE = ""
"""Instead of a database: in all of the schema. Instead of a data migration: no matter which."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why an option cannot be set in a database, whatever its value: a code, a sentence and a remedy."""

    code: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Option:
    """What may be set in one database. `configured` is what its configuration comes to, in the words of the option.

    `most` None: there is no most. `free` is a value that can always be given, as -1 for no limit.
    """

    name: str
    configured: float
    least: float
    most: float | None
    is_whole: bool
    help: str
    free: float | None = None
    refused: Refused | None = None

    def refusal(self, value: float) -> Refused | None:
        """Why it cannot have this value, in the words of the configuration; None where it can."""
        if value == self.free:
            return None
        why, kind = "", "Give a number."
        if self.is_whole:
            kind = "Give a whole number."
            why = "" if float(value).is_integer() else f"invalid literal for a whole number: {value:g}"
        if not math.isfinite(value):
            why = "it is no finite number"
        elif value < self.least:
            why = f"Should be greater than or equal to {self.least:g}"
        elif self.most is not None and value > self.most:
            why = f"Should be less than or equal to {self.most:g}"
        if why:
            return Refused("option_value_invalid", f"its value cannot be used: {why}", f"{kind} {self.help}".strip())
        return self.refused


@dataclass(frozen=True, slots=True)
class Setting:
    """Somebody's word on an option, in one database or `EVERYWHERE`; a priority is that of the data migration `name`.

    `set_at` is in the state database's time.
    """

    schema: str
    database: str
    name: str
    option: str
    value: float
    actor: str
    reason: str | None
    set_at: float


@dataclass(frozen=True, slots=True)
class Overlay:
    """The settings that are in force in one database, by option."""

    settings: Mapping[str, Setting] = field(default_factory=dict)

    def value(self, option: str, configured: float) -> float:
        """What is in force there: what was set, or else what is configured."""
        found = self.settings.get(option)
        return configured if found is None else found.value

    def is_off(self, option: str) -> bool:
        """Whether somebody switched that limit or throttle off there."""
        found = self.settings.get(option)
        return found is not None and found.value < 0


NOTHING_SET = Overlay()


def overlay_of(settings: Iterable[Setting], database: str) -> Overlay:
    """What is in force in that database."""
    found = [each for each in settings if not each.name and each.database in (EVERYWHERE, database)]
    return Overlay({each.option: each for each in sorted(found, key=lambda each: each.database)})


def priorities_of(settings: Iterable[Setting]) -> Mapping[str, int]:
    """The priority of each data migration that was given one; of the others it is 0."""
    return {each.name: int(each.value) for each in settings if each.option == PRIORITY}


def said_value(value: float) -> str:
    """The value of a setting, for people."""
    return "off" if value < 0 else f"{value:g}"


def known_options(options: Sequence[Option]) -> str:
    """Their names, for people."""
    return ", ".join(option.name for option in options) or "none"
