"""Loading: configuration files to settings. Whatever cannot be used is refused before anything starts."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from oslo_config import cfg

from orchestrator.conf import (
    api,
    cycle,
    data_migrations,
    database,
    leadership,
    leases,
    logs,
    orchestrator,
    policy,
    throttling,
)
from orchestrator.conf import inventory as inventory_section
from orchestrator.conf import schema as schema_section
from orchestrator.conf import schema_database as schema_database_section
from orchestrator.conf import throttle as throttle_section
from orchestrator.conf import window as window_section
from orchestrator.conf.batches import batches_of
from orchestrator.conf.nearest import meant
from orchestrator.conf.options import SECTIONS
from orchestrator.conf.reading import SectionReader
from orchestrator.conf.settings import (
    DatabaseSettings,
    InventorySettings,
    SchemaSettings,
    Settings,
    ThrottleSettings,
    WindowSettings,
)
from orchestrator.conf.sharing import refuse_shared
from orchestrator.conf.sources import DEFAULT, Assignment, Sources, read_sources
from orchestrator.conf.unknown import Known, unknown_option, unknown_section
from orchestrator.conf.waves import waves_of
from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.ladder import RUNGS, Phase
from orchestrator.domain.pacing import BatchSizes

PROJECT = "orchestrator"

_NAME_LENGTH = 64
_NAME_SIGNS = "_.-"

_NAMED_BY_SITE = (
    schema_section.PREFIX,
    schema_database_section.PREFIX,
    inventory_section.PREFIX,
    throttle_section.PREFIX,
    window_section.PREFIX,
)


def find_config_files() -> tuple[Path, ...]:
    """What is read if none is named: the first orchestrator.conf in ~/.orchestrator, ~, /etc/orchestrator, /etc."""
    found = cfg.find_config_files(project=PROJECT, prog=PROJECT)
    return tuple(Path(file) for file in dict.fromkeys(found))  # once for the project and once for the program


def load(config_files: Sequence[str | Path] = ()) -> Settings:
    """Read the files, or the usual ones if none is named. Later files override earlier ones.

    Reads files only: no database is asked, no directory made. Raises `ConfigurationError` with file, line and remedy.
    """
    files = tuple(Path(file).expanduser().absolute() for file in config_files) or find_config_files()
    if not files:
        raise ConfigurationError(
            "config_file_missing",
            "there is no configuration file: none was named, and there is no orchestrator.conf in ~/.orchestrator, ~, "
            "/etc/orchestrator and /etc",
            remedy="`orchestrator config sample > orchestrator.conf`, edit it, then name it with --config-file.",
        )
    sources = read_sources(files)
    conf = parsed(files)
    known = _known_sections(conf, sources)
    _check_names(sources, known)
    return _Loading(conf, sources, known).settings()


def parsed(files: Sequence[Path]) -> cfg.ConfigOpts:
    """The files as oslo.config reads them, with the options of the fixed sections and of oslo.log."""
    conf = cfg.ConfigOpts()
    for section in SECTIONS:
        conf.register_group(section.GROUP)
        conf.register_opts([_optional(opt) for opt in section.OPTIONS], group=section.GROUP)
    conf.register_opts(logs.options())
    try:
        conf(
            args=[],
            project=PROJECT,
            prog=PROJECT,
            default_config_files=[str(file) for file in files],
            default_config_dirs=[],
        )
    except cfg.Error as error:
        raise ConfigurationError("config_unusable", str(error), remedy="Mend the file that it names.") from error
    return conf


def _optional(opt: cfg.Opt) -> cfg.Opt:
    """The option without oslo.config's own check that it is there: ours names the file and what to write."""
    if not opt.required:
        return opt
    relaxed = copy(opt)
    relaxed.required = False
    return relaxed


def _known_sections(conf: cfg.ConfigOpts, sources: Sources) -> dict[str, Sequence[cfg.Opt]]:
    """All sections that may stand in these files. Those of schemas and databases get known by their names."""
    known: dict[str, Sequence[cfg.Opt]] = {DEFAULT: logs.options()}
    known |= {section.GROUP.name: section.OPTIONS for section in SECTIONS}

    def learn(group: cfg.OptGroup, options: Sequence[cfg.Opt]) -> SectionReader:
        conf.register_group(group)
        conf.register_opts([_optional(opt) for opt in options], group=group)
        known[group.name] = options
        return SectionReader(conf, sources, group.name, options)

    top = SectionReader(conf, sources, orchestrator.GROUP.name, orchestrator.OPTIONS)
    schemas = top.names("schemas")
    _check_spelling(top, "schemas", schemas)
    for schema in schemas:
        section = learn(schema_section.group(schema), schema_section.OPTIONS)
        databases = section.names("databases")
        _check_spelling(section, "databases", databases)
        for name in databases:
            learn(schema_database_section.group(schema, name), schema_database_section.OPTIONS)
    for name in dict.fromkeys(written.section for written in sources.assignments):
        if name.startswith(inventory_section.PREFIX):
            schema, fleet = inventory_section.parts(name)
            if schema in schemas and fleet:
                learn(inventory_section.group(schema, fleet), inventory_section.OPTIONS)
        if name.startswith(throttle_section.PREFIX):
            schema, throttle = throttle_section.parts(name)
            if schema in schemas and throttle:
                learn(throttle_section.group(schema, throttle), throttle_section.OPTIONS)
        if name.startswith(window_section.PREFIX):
            schema, window = window_section.parts(name)
            if schema in schemas and window:
                learn(window_section.group(schema, window), window_section.OPTIONS)
    return known


def _check_spelling(reader: SectionReader, option: str, names: Sequence[str]) -> None:
    for name in names:
        if len(name) > _NAME_LENGTH or not all(sign.isalnum() or sign in _NAME_SIGNS for sign in name):
            reader.refuse(
                option,
                "name_invalid",
                f"{name!r} is no usable name",
                remedy=f"Use 1 to {_NAME_LENGTH} letters, digits and _ . -",
            )


def _check_names(sources: Sources, known: Known) -> None:
    """Refuse the first section or option that nobody reads, and an option that stands twice in one section.

    An empty section of a schema or database is let be: the sample has one of each, as an example.
    """
    filled = {written.section for written in sources.assignments}
    for section in sources.sections:
        is_example = section.name.startswith(_NAMED_BY_SITE) and section.name not in filled
        if section.name not in known and not is_example:
            raise unknown_section(section, known, {each.name for each in sources.sections})
    seen: dict[tuple[Path, str, str], Assignment] = {}
    for written in sources.assignments:
        options = {name: opt for opt in known[written.section] for name in spellings(opt)}
        if written.option not in options:
            raise unknown_option(written, known)
        key = (written.place.file, written.section, written.option)
        if key in seen and not options[written.option].multi:
            raise ConfigurationError(
                "option_repeated",
                f"{written.place}: [{written.section}] {written.option} stands already in line {seen[key].place.line}",
                remedy="Remove one of the two lines.",
                file=str(written.place.file),
                line=written.place.line,
            )
        seen[key] = written


def spellings(opt: cfg.Opt) -> tuple[str, ...]:
    """The names under which an option may stand in a file; oslo.log's have older ones."""
    return (opt.dest, *(each.name for each in opt.deprecated_opts if each.name))


class _Loading:
    """One reading of one configuration into settings."""

    def __init__(self, conf: cfg.ConfigOpts, sources: Sources, known: Known) -> None:
        self._conf = conf
        self._sources = sources
        self._known = known

    def settings(self) -> Settings:
        logging = self._reader(DEFAULT)
        for opt in self._known[DEFAULT]:
            logging.value(opt.dest)
        top = self._reader(orchestrator.GROUP.name)
        state_dir = top.path("state_dir")
        assert state_dir is not None
        cycle_seconds = float(self._reader(cycle.GROUP.name).value("interval_seconds"))
        ttl_seconds, renew_seconds = self._lease_terms()
        bind, port, tokens_file = self._api()
        schemas = tuple(self._schema(name) for name in top.names("schemas"))
        refuse_shared(schemas, self._reader_of_connection)
        return Settings(
            config_files=self._sources.files,
            state_connection=self._reader(database.GROUP.name).value("connection")
            or f"sqlite:///{state_dir / 'orchestrator.sqlite'}",
            state_dir=state_dir,
            schemas=schemas,
            bind=bind,
            port=port,
            tokens_file=tokens_file,
            lease_ttl_seconds=ttl_seconds,
            lease_renew_seconds=renew_seconds,
            cycle_seconds=cycle_seconds,
            parallel=self._reader(cycle.GROUP.name).value("parallel"),
            leadership_ttl_seconds=self._leadership(cycle_seconds),
            batch_pause_seconds=self._reader(data_migrations.GROUP.name).value("pause_seconds"),
        )

    def _reader(self, section: str) -> SectionReader:
        return SectionReader(self._conf, self._sources, section, self._known[section])

    def _reader_of_connection(self, schema: str, database: str) -> SectionReader:
        section = schema_database_section.group(schema, database).name
        return self._reader(section if section in self._known else schema_section.group(schema).name)

    def _lease_terms(self) -> tuple[float, float]:
        section = self._reader(leases.GROUP.name)
        ttl_seconds: float = section.value("ttl_seconds")
        renew_seconds: float = section.value("renew_seconds") or ttl_seconds / 3
        if renew_seconds > ttl_seconds / 2:
            section.refuse(
                "renew_seconds",
                "option_value_invalid",
                f"{renew_seconds:g} s leave no second chance to renew a lease of {ttl_seconds:g} s",
                remedy=f"Give {ttl_seconds / 3:g}, a third of ttl_seconds, or remove the option.",
            )
        return ttl_seconds, renew_seconds

    def _leadership(self, cycle_seconds: float) -> float:
        section = self._reader(leadership.GROUP.name)
        ttl_seconds: float = section.value("ttl_seconds")
        if ttl_seconds <= cycle_seconds:
            section.refuse(
                "ttl_seconds",
                "option_value_invalid",
                f"{ttl_seconds:g} s end before the next cycle renews them",
                remedy=f"Give more than [cycle] interval_seconds, which is {cycle_seconds:g}.",
            )
        return ttl_seconds

    def _api(self) -> tuple[str, int, Path | None]:
        section = self._reader(api.GROUP.name)
        bind, tokens_file = section.text("bind"), section.path("tokens_file")
        if tokens_file is None and not _is_loopback(bind):
            section.refuse(
                "bind",
                "bind_needs_authentication",
                f"everybody who reaches {bind} could steer upgrades",
                remedy="Set [api] tokens_file (`orchestrator token new` makes its lines), or bind = 127.0.0.1.",
            )
        if tokens_file is not None and not tokens_file.is_file():
            section.refuse(
                "tokens_file",
                "file_missing",
                f"there is no file {tokens_file}",
                remedy="Make it: one line per token, as `orchestrator token new` prints them.",
            )
        return bind, section.value("port"), tokens_file

    def _schema(self, name: str) -> SchemaSettings:
        section = self._reader(schema_section.group(name).name)
        migrations = section.path("migrations")
        assert migrations is not None
        if not migrations.is_dir():
            section.refuse(
                "migrations",
                "directory_missing",
                f"there is no directory {migrations}",
                remedy="Name the directory that holds releases.toml.",
            )
        driver = section.text("driver")
        if driver != "command":
            for option in schema_section.COMMAND_ONLY:
                if section.is_given(option):
                    section.refuse(
                        option,
                        "option_without_effect",
                        f"it means nothing with driver = {driver}",
                        remedy="Remove it, or set driver = command.",
                    )
        elif section.value("preset") is None:
            section.missing("preset")
        site = self._reader(policy.GROUP.name)

        ruled = partial(_either, section, site)

        databases = tuple(self._databases(name, section))
        batches = batches_of(section, self._reader(data_migrations.GROUP.name))
        return SchemaSettings(
            name=name,
            migrations=migrations,
            databases=databases,
            inventories=tuple(self._inventories(name, databases)),
            roles=tuple(_roles(section)),
            driver="command" if driver == "command" else "alembic",
            version_table=section.text("version_table"),
            preset=_preset(section),
            command_prefix=_words(section, "command_prefix"),
            config_file=section.path("config_file"),
            environment=tuple(_environment(section)),
            approve=_phases(site if section.value("approve") is None else section),
            soak_seconds=ruled("soak_seconds"),
            waves=waves_of(section, site),
            end_idle_blockers_after_seconds=ruled("end_idle_blockers_after_seconds"),
            batches=batches,
            workers=_either(section, self._reader(data_migrations.GROUP.name), "workers"),
            nice_ratio=_either(section, self._reader(data_migrations.GROUP.name), "nice_ratio"),
            throttling=replace(
                throttling.read(name, section, self._reader(throttling.GROUP.name), databases),
                own=tuple(self._throttles(name, databases)),
            ),
            windows=tuple(self._windows(name, databases, batches)),
        )

    def _throttles(self, schema: str, databases: Sequence[DatabaseSettings]) -> Iterator[ThrottleSettings]:
        for name in self._known:
            of, throttle = throttle_section.parts(name)
            if name.startswith(throttle_section.PREFIX) and of == schema:
                yield throttle_section.read(self._reader(name), throttle, databases)

    def _windows(
        self, schema: str, databases: Sequence[DatabaseSettings], batches: BatchSizes
    ) -> Iterator[WindowSettings]:
        for name in self._known:
            of, window = window_section.parts(name)
            if name.startswith(window_section.PREFIX) and of == schema:
                cycle_seconds = float(self._reader(cycle.GROUP.name).value("interval_seconds"))
                yield window_section.read(self._reader(name), window, databases, batches, cycle_seconds)

    def _inventories(self, schema: str, databases: Sequence[DatabaseSettings]) -> Iterator[InventorySettings]:
        for name in self._known:
            of, fleet = inventory_section.parts(name)
            if name.startswith(inventory_section.PREFIX) and of == schema:
                yield inventory_section.read(self._reader(name), fleet, databases)

    def _databases(self, schema: str, section: SectionReader) -> Iterator[DatabaseSettings]:
        connection, names = section.value("connection"), section.names("databases")
        if connection is not None and names:
            section.refuse(
                "connection",
                "option_ambiguous",
                "the schema has databases too, so this URL belongs to none of them",
                remedy=f"Remove it, or give it to one of them in [database:{schema}:{names[0]}].",
            )
        if connection is not None:
            members, replicas = tuple(section.value("members")), tuple(section.value("replicas"))
            yield DatabaseSettings(schema, connection, members, replicas, place=section.place("connection"))
        elif not names:
            section.missing("connection", also=" (or `databases = ...`)")
        for option in ("members", "replicas"):
            if names and section.is_given(option):
                section.refuse(
                    option,
                    "option_ambiguous",
                    "the schema has several databases, so these URLs belong to none of them",
                    remedy=f"Give them to their databases, e.g. in [database:{schema}:{names[0]}].",
                )
        seen: dict[str, str] = {}
        for name in names:
            each = self._reader(schema_database_section.group(schema, name).name)
            url = each.text("connection")
            if url in seen:
                each.refuse(
                    "connection",
                    "database_repeated",
                    f"it is the same database as {seen[url]}",
                    remedy="Give each database of a schema once.",
                )
            seen[url] = name
            members, replicas = tuple(each.value("members")), tuple(each.value("replicas"))
            yield DatabaseSettings(name, url, members, replicas, place=each.place("connection"))


def _either(schema: SectionReader, site: SectionReader, option: str) -> Any:
    """What the schema says, or else the site."""
    return site.value(option) if schema.value(option) is None else schema.value(option)


def _is_loopback(bind: str) -> bool:
    try:
        return ipaddress.ip_address(bind).is_loopback
    except ValueError:
        return bind == "localhost"


def _phases(section: SectionReader) -> tuple[Phase, ...]:
    asked = {rung.phase.word: rung.phase for rung in RUNGS if "approved" in rung.up}
    words = section.names("approve")
    for word in words:
        if word not in asked:
            is_phase = word in {each.word for each in Phase}
            section.refuse(
                "approve",
                "phase_unknown",
                f"{word!r} is no phase that can ask for approval",
                remedy=f"These can: {', '.join(asked)}." if is_phase else meant(word, asked),
            )
    return tuple(sorted(asked[word] for word in words))


def _roles(section: SectionReader) -> Iterator[tuple[str, str]]:
    for role, release in section.value("roles").items():
        if not role.strip() or not release.strip():
            section.refuse(
                "roles",
                "option_value_invalid",
                "a role, or its release, is missing",
                remedy="Give pairs such as nova_2026_1: 2026.1.",
            )
        yield role.strip(), release.strip()


def _preset(section: SectionReader) -> str | None:
    name = section.value("preset")
    if name is None or not ("/" in name or name.endswith(".toml")):
        return None if name is None else str(name)
    path = section.path("preset")
    if path is None or not path.is_file():
        section.refuse(
            "preset",
            "file_missing",
            f"there is no file {path}",
            remedy="Name a preset that comes along, e.g. keystone, or the path of an existing TOML file.",
        )
    return str(path)


def _words(section: SectionReader, option: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(section.value(option) or ""))
    except ValueError as error:
        section.refuse(
            option, "option_value_invalid", f"it cannot be split into words: {error}", remedy="Close every quotation."
        )


def _environment(section: SectionReader) -> Iterator[tuple[str, str]]:
    for line in section.value("environment") or ():
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            section.refuse(
                "environment", "option_value_invalid", "a line is not NAME=VALUE", remedy="Write each as NAME=VALUE."
            )
        yield name.strip(), value.strip()
