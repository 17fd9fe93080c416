"""The tool of a service: a preset filled in for one schema, and each of its commands run and judged."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import URL

from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, Invalid, StepFailed
from orchestrator.schema_migrations.command_process import Command, Ended, Result, Secrets, run_command
from orchestrator.schema_migrations.preset import (
    CONFIG,
    CommandTemplate,
    Meaning,
    Preset,
    fill,
    is_older,
    is_version_of,
)

LOG = logging.getLogger(__name__)


class CommandSettings(Protocol):
    """What the configuration of a schema says to the driver `command`.

    In `command_prefix`, `config_file` and the values of `environment` the preset's placeholders have their meaning;
    an environment variable of the configuration replaces the preset's.
    """

    @property
    def name(self) -> str: ...

    @property
    def migrations(self) -> Path: ...

    @property
    def preset(self) -> str | None: ...

    @property
    def command_prefix(self) -> tuple[str, ...]: ...

    @property
    def config_file(self) -> Path | None: ...

    @property
    def environment(self) -> tuple[tuple[str, str], ...]: ...


@dataclass(frozen=True, slots=True)
class Stand:
    """What is done of a release in one database."""

    expanded: bool
    migrated: bool
    contracted: bool


_STAND_OF = {
    Meaning.EXPAND_NEEDED: Stand(expanded=False, migrated=False, contracted=False),
    Meaning.MIGRATE_NEEDED: Stand(expanded=True, migrated=False, contracted=False),
    Meaning.CONTRACT_NEEDED: Stand(expanded=True, migrated=True, contracted=False),
    Meaning.DONE: Stand(expanded=True, migrated=True, contracted=True),
}


class Tool:
    """Runs the commands of one preset. Safe to use from several threads."""

    def __init__(
        self, settings: CommandSettings, preset: Preset, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.preset = preset
        self._settings = settings
        self._clock = clock

    def version(self, release: str) -> str | None:
        """The version that the tool says it has, None where the preset does not ask. Raises as `_end` does."""
        template, pattern = self.preset.version, self.preset.version_pattern
        if template is None or pattern is None:
            return None
        command = self._command(template, release, None)
        result = run_command(command)
        self._judge(command, template, result, where="")
        found = pattern.search(result.stdout) or pattern.search(result.output)
        if found is None:
            raise StepFailed(
                "output_unreadable",
                f"`{command.words}` ended well, but its output names no version{_said(result)}",
                remedy=f"Correct 'pattern' of [version] in {self.preset.path}.",
                command=command.words,
                output=result.output,
            )
        return found[1] if found.re.groups else found[0]

    def refuse_other_version(self, release: str) -> str | None:
        """The tool's version, if it is the one of that release. Raises `Conflict` (code `tool_version_wrong`).

        A tool of another release would do the work of that release, and then say that nothing is left to do.
        """
        version = self.version(release)
        known = self.preset.release(release)
        if version is None or is_version_of(version, known.version if known else release):
            return version
        wanted = f"version {known.version} of it" if known else "another one, as far as its name tells"
        raise Conflict(
            "tool_version_wrong",
            f"the tool of {self._settings.name} has version {version}; release {release} is {wanted}",
            remedy=f"Let command_prefix, or PATH in environment, lead to the tool of {release}; {{release}} may stand "
            "in both."
            if known
            else f"Name the release in the manifest by the tool's version, e.g. {version.partition('.')[0]!r}; or "
            f"lead command_prefix to the tool of {release}.",
            release=release,
            version=version,
        )

    def trusts_check(self, version: str | None) -> bool:
        """Whether what this version of the tool says of a database can be believed."""
        limit = self.preset.trusted_from
        return limit is None or version is None or not is_older(version, limit)

    def stand(self, database: Database, release: str) -> Stand:
        """What the check command says. Raises `StepFailed` where it cannot tell."""
        template = self.preset.check
        command = self._command(template, release, database)
        result = run_command(command)
        meaning = self._judge(command, template, result, where=f" in database {database.name}")
        return _STAND_OF[meaning]

    def perform(
        self, template: CommandTemplate, database: Database, release: str, *, kept_open: tuple[int, ...]
    ) -> None:
        """Run a step's command until it says that it is done. Raises `StepFailed`, `ConfigurationError`."""
        deadline = self._clock() + template.timeout_seconds
        command = self._command(template, release, database)
        while True:
            told = {"database": database.name, "command": command.words}
            LOG.info("a command begins: %(command)s in %(database)s", {"action": "command.begin", **told})
            result = run_command(command, kept_open=kept_open)
            LOG.info(
                "a command ended: %(command)s in %(database)s, %(ended)s, exit code %(exit_code)s; its output:\n"
                "%(output)s",
                {
                    "action": "command.end",
                    "ended": result.ended.value,
                    "exit_code": result.exit_code,
                    "output": result.output,
                    **told,
                },
            )
            meaning = self._judge(command, template, result, where=f" in database {database.name}")
            if meaning is Meaning.DONE:
                return
            if self._clock() > deadline:
                raise self._failure("command_timeout", command, result, f"is not done after {_span(template)}",
                    where=f" in database {database.name}", remedy=_LONGER)  # fmt: skip

    def words(self, template: CommandTemplate, database: Database, release: str) -> str:
        """The command as a person would type it."""
        return self._command(template, release, database).words

    def surroundings(self, database: Database, release: str) -> Command:
        """Where the service's own code runs: the prefix, the environment and its secrets; the words are to be added."""
        return self._command(CommandTemplate((), 0.0, 0.0), release, database)

    def _command(self, template: CommandTemplate, release: str, database: Database | None) -> Command:
        values = {
            "schema": self._settings.name,
            "release": release,
            "database": database.name if database else "",
        }
        if self._settings.config_file is not None:
            values["config_file"] = fill(str(self._settings.config_file), values)
        url = self._url(database) if database else None
        connection = _rendered(url) if url else ""
        given = {"connection": connection, "connection_oslo": connection.replace("$", "$$")}
        environment = dict(self.preset.environment) | dict(self._settings.environment)
        filled = tuple((name, fill(value, values | given)) for name, value in environment.items())
        return Command(
            argv=tuple(fill(word, values) for word in (*self._settings.command_prefix, *self._words(template))),
            environment=filled,
            timeout_seconds=template.timeout_seconds,
            grace_seconds=template.grace_seconds,
            secrets=Secrets.of(filled, connection, url.password if url else None),
        )

    def _words(self, template: CommandTemplate) -> tuple[str, ...]:
        config = self.preset.config_file if self._settings.config_file is not None else ()
        return tuple(each for word in template.argv for each in (config if word == CONFIG else (word,)))

    def _url(self, database: Database) -> URL:
        """The database's URL as the tool reads it: with the tool's driver, and no path that depends on a directory."""
        url = database.engine.url
        if url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
            raise Invalid(
                "database_in_memory",
                f"database {database.name} is in the memory of this process, where no command can reach it",
                remedy="Give it a file: sqlite:////absolute/path.db.",
                database=database.name,
            )
        backend = url.get_backend_name()
        url = url.set(drivername=dict(self.preset.drivers).get(backend, backend))
        if backend == "sqlite" and url.database:
            url = url.set(database=os.path.abspath(url.database))
        return url

    def _judge(self, command: Command, template: CommandTemplate, result: Result, *, where: str) -> Meaning:
        """What the result means, errors raised."""
        match result.ended:
            case Ended.NOT_STARTED:
                raise self._failure("command_not_started", command, result, f"cannot be started: {result.reason}",
                    where=where, remedy="Mend the program that it names.")  # fmt: skip
            case Ended.TIMED_OUT:
                raise self._failure("command_timeout", command, result, f"was ended after {_span(template)}",
                    where=where, remedy=_LONGER)  # fmt: skip
            case Ended.STOPPED | Ended.LOST:
                raise self._failure("command_interrupted", command, result, "was interrupted from outside",
                    where=where, remedy="Find out who ended it, then retry.")  # fmt: skip
            case Ended.EXITED:
                return self._meaning(command, template, result, where)

    def _meaning(self, command: Command, template: CommandTemplate, result: Result, where: str) -> Meaning:
        assert result.exit_code is not None
        if template.outputs:
            read = template.meaning_of_output(result.stdout)
            if read is None:
                raise self._failure(
                    "output_unreadable", command, result, f"ended with {_exit(result)} and said nothing that is known",
                    where=where, remedy=f"Mend what it says, or the patterns in {self.preset.path}; then retry.",
                )  # fmt: skip
            meaning: Meaning | None = read
        else:
            meaning = template.meaning(result.exit_code)
        if meaning is None or meaning is Meaning.ERROR:
            unknown = "" if meaning or result.exit_code in {1, 2} or result.exit_code < 0 else ", which is not listed"
            raise self._failure("command_failed", command, result, f"ended with {_exit(result)}{unknown}",
                where=where, remedy="Nothing was marked done. Mend what it says, then retry.")  # fmt: skip
        return meaning

    def _failure(
        self, code: str, command: Command, result: Result, what: str, *, where: str, remedy: str
    ) -> StepFailed:
        return StepFailed(
            code,
            f"`{command.words}` {what}{where}{_said(result)}",
            remedy=remedy,
            command=command.words,
            exit_code=result.exit_code,
            output=result.output,
        )


def _rendered(url: URL) -> str:
    """The URL with its password.

    A slash needs no escape after the question mark; some tools take each per cent sign for an interpolation.
    """
    place, mark, options = url.render_as_string(hide_password=False).partition("?")
    return place + mark + options.replace("%2F", "/")


_LONGER = "Find out what it waits for, or give it a longer timeout_seconds in the preset; then retry."


def _span(template: CommandTemplate) -> str:
    return f"its time limit of {template.timeout_seconds:g} s"


def _exit(result: Result) -> str:
    code = result.exit_code
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _said(result: Result) -> str:
    lines = result.last_lines()
    return f"; it said last: {lines}" if lines else "; it said nothing"
