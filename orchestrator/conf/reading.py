"""Reading options of one section, with errors that say where the value is written and what to write instead."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from oslo_config import cfg
from oslo_config.sources._environment import EnvironmentConfigurationSource  # it alone knows how variables are named

from orchestrator.conf.sources import DEFAULT, Sources
from orchestrator.domain.errors import ConfigurationError


def place_of(sources: Sources, section: str, option: str) -> str:
    """Where the option's value comes from, for people: an environment variable, file and line, or the section."""
    variable = EnvironmentConfigurationSource.get_name(section, option)
    if variable in os.environ:
        return f"environment variable {variable}"
    place = sources.place(section, option) or sources.heading(section)
    return str(place) if place is not None else ", ".join(str(file) for file in sources.files)


class SectionReader:
    """The values of one section. What it returns was checked by the option's type; its errors name the place."""

    def __init__(self, conf: cfg.ConfigOpts, sources: Sources, section: str, options: Sequence[cfg.Opt]) -> None:
        self._conf = conf
        self._sources = sources
        self._section = section
        self._options = {option.dest: option for option in options}

    def value(self, option: str) -> Any:  # of the option's own type
        """The value of the option, None where there is neither a value nor a default."""
        opt = self._options[option]
        try:
            found = self._conf[option] if self._section == DEFAULT else self._conf[self._section][option]
        except (cfg.TemplateSubstitutionError, cfg.NoSuchOptError):
            self.refuse(
                option,
                "option_value_invalid",
                "it refers with a dollar sign to an option that does not exist",
                remedy="Write $$ for a dollar sign.",
            )
        except ValueError as error:
            reason = "" if opt.secret else f": {_reason(error)}"
            comment = "A comment needs a line of its own. " if "#" in str(error) else ""
            self.refuse(
                option,
                "option_value_invalid",
                f"its value cannot be used{reason}",
                remedy=f"{comment}{_expected(opt)} {opt.help}".strip(),
            )
        if isinstance(found, str) and not found.strip():
            found = None
        if opt.required and not found:
            self.missing(option)
        return found

    def text(self, option: str) -> str:
        """The value of an option that always has one."""
        return str(self.value(option))

    def names(self, option: str) -> tuple[str, ...]:
        """A list of names, without empty ones. Refuses a name that stands twice."""
        found = tuple(each for each in self.value(option) or () if each)
        for each in found:
            if found.count(each) > 1:
                self.refuse(option, "name_repeated", f"{each} stands in it twice", remedy="Remove one of them.")
        return found

    def path(self, option: str) -> Path | None:
        """A path; a relative one counts from the directory of the file that names it."""
        found = self.value(option)
        if found is None:
            return None
        path = Path(found).expanduser()
        place = self._sources.place(self._section, option)
        if not path.is_absolute() and place is not None:
            path = place.file.absolute().parent / path
        return path.absolute()

    def place(self, option: str) -> str:
        """Where the option's value comes from, for people."""
        return place_of(self._sources, self._section, option)

    def is_given(self, option: str) -> bool:
        """Whether somebody gave the option a value."""
        return bool(self.value(option)) and self.value(option) != self._options[option].default

    def missing(self, option: str, *, also: str = "") -> NoReturn:
        """Refuse a section that lacks the option."""
        opt = self._options[option]
        place = self._sources.heading(self._section)
        where = str(place) if place else ", ".join(str(file) for file in self._sources.files)
        raise ConfigurationError(
            "option_missing",
            f"{where}: [{self._section}] has no option {option}",
            remedy=f"Add `{option} = ...`{also} to [{self._section}]. {opt.help}".strip(),
            section=self._section,
            option=option,
            **({"file": str(place.file), "line": place.line} if place else {}),
        )

    def refuse(self, option: str, code: str, why: str, *, remedy: str) -> NoReturn:
        """Refuse the option's value: the message names its place."""
        place = self._sources.place(self._section, option)
        raise ConfigurationError(
            code,
            f"{place_of(self._sources, self._section, option)}: [{self._section}] {option}: {why}",
            remedy=remedy,
            section=self._section,
            option=option,
            **({"file": str(place.file), "line": place.line} if place else {}),
        )


def _reason(error: ValueError) -> str:
    """What oslo.config says about the value, without its preface about where it was found."""
    return str(error).rpartition(" is not valid: ")[2]


def _expected(opt: cfg.Opt) -> str:
    kinds: dict[type[cfg.Opt], str] = {
        cfg.IntOpt: "Give a whole number.",
        cfg.PortOpt: "Give a port number.",
        cfg.FloatOpt: "Give a number.",
    }
    return kinds.get(type(opt), "")
