"""The composition: makes the services of one daemon from its settings. The only place that knows all the parts."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

from orchestrator import __version__
from orchestrator.api.auth import Tokens
from orchestrator.bookkeeping.ranges import KNOWN_SINCE
from orchestrator.conf.nearest import meant
from orchestrator.conf.settable import options_of
from orchestrator.conf.settings import DatabaseSettings, SchemaSettings, Settings
from orchestrator.conf.window import windows_of
from orchestrator.daemon.live_schema import Driver, LiveSchema
from orchestrator.daemon.own_tables import OwnTables
from orchestrator.daemon.refusals import explained
from orchestrator.daemon.throttles import watch_of
from orchestrator.data_migrations.functions import FunctionRunner
from orchestrator.data_migrations.runner import DataMigrationRunner
from orchestrator.data_migrations.service_process import ServiceEnvironment
from orchestrator.dialects import Database, open_database
from orchestrator.domain.daemons import OwnTree
from orchestrator.domain.errors import ConfigurationError, Invalid, OrchestratorError, Unavailable
from orchestrator.domain.releases import Releases
from orchestrator.domain.view import Policy
from orchestrator.inventory_sources.sql_query import SqlQuery
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from orchestrator.schema_migrations.command_driver import CommandDriver
from orchestrator.schema_migrations.own_tables import MayContract, nobody_asked
from orchestrator.schema_migrations.waiting import Patience
from orchestrator.services.advancing import Advancing
from orchestrator.services.clocks import ClockWatch
from orchestrator.services.context import Context, LeaseTerms
from orchestrator.services.daemons import Daemons, Identity, Wait
from orchestrator.services.data_migrations import DataMigrations
from orchestrator.services.evicting import Evicting
from orchestrator.services.fleets import Fleets
from orchestrator.services.leadership import Elections
from orchestrator.services.leases import Leases
from orchestrator.services.renewing import Renewing
from orchestrator.services.rows_control import RowsControl
from orchestrator.services.status import StatusBoard
from orchestrator.services.sweeping import Sweep
from orchestrator.services.throttling import Throttling
from orchestrator.services.upgrades import Upgrades
from orchestrator.store.sql import SqlStore

T = TypeVar("T")

STATE_IDLE_SECONDS = 10
"""A daemon that is paused in the middle of a transaction keeps the others from the state for no longer than this."""

MANAGED_IDLE_SECONDS = 120
"""The same in managed databases, where a data migration may compute in Python between the statements of a batch."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the API and the jobs of one daemon call. `row_workers` are by schema and database."""

    context: Context
    upgrades: Upgrades
    leases: Leases
    renewing: Renewing
    fleets: Fleets
    board: StatusBoard
    data_migrations: DataMigrations
    rows_control: RowsControl
    advancing: Advancing
    elections: Elections
    evicting: Evicting
    sweep: Sweep
    daemons: Daemons
    contract_own_tables: Callable[[], tuple[Wait, ...]]
    row_workers: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The state database with its tables as far as they may be taken; `waits` says what keeps them from going on."""

    database: Database
    waits: tuple[Wait, ...]


def compose(settings: Settings, stopping: threading.Event, place: str | None = None) -> Services:
    """Check the configuration against files and databases, bring our own tables up to date, and join the parts.

    The daemon is registered from then on: `daemons.leave()` ends that. Once `stopping` is set, steps that wait for
    locks give up. Managed databases are not asked for anything yet. `place` is held by this process until it ends.
    Raises `OrchestratorError` with place and remedy; nothing is left running, or registered.
    """
    watch = ClockWatch()
    state, own_tables, store, daemons = _begin(settings, watch, place)
    may_contract = partial(daemons.may_contract, OwnTree.BOOKKEEPING)
    may_split = partial(daemons.may_rely_on, OwnTree.BOOKKEEPING, KNOWN_SINCE)
    schemas = {
        schema.name: _live_schema(schema, settings, stopping, may_contract, may_split) for schema in settings.schemas
    }
    fleets = _fleets_in_waves(settings, schemas)
    for each in settings.schemas:
        _check_roles(each, schemas[each.name], (state, *schemas[each.name].handles))
    context = Context(
        store=store,
        schemas=schemas,
        policies={
            each.name: Policy(each.approve, each.soak_seconds, each.waves.among(fleets[each.name]))
            for each in settings.schemas
        },
        lease_terms=LeaseTerms(settings.lease_ttl_seconds, settings.lease_renew_seconds),
    )
    _make_directory(settings.state_dir)
    with explained(state), _private_files():
        _refuse_unfit(state)
        own_tables.open_door()
        daemons.join()
        try:
            own_tables.bring_forward(daemons.may_contract)
            context.register_schemas()
        except BaseException:
            with suppress(OrchestratorError):
                daemons.leave()
            raise
    managed = tuple(database for schema in schemas.values() for database in schema.handles)

    def contract_own_tables() -> tuple[Wait, ...]:
        own_tables.contract(managed, daemons.may_contract)
        return daemons.waiting()

    leases = Leases(context)
    return Services(
        context=context,
        upgrades=Upgrades(context),
        leases=leases,
        renewing=Renewing(context, leases),
        fleets=Fleets(context),
        board=StatusBoard(context),
        data_migrations=DataMigrations(context, Throttling(context, daemons.me.id)),
        rows_control=RowsControl(context),
        advancing=Advancing(context, parallel=settings.parallel),
        elections=Elections(
            store, daemons.me.id, ttl_seconds=settings.leadership_ttl_seconds,
            watch=watch, grant_seconds=settings.lease_ttl_seconds,
        ),
        evicting=Evicting(context, parallel=settings.parallel),
        sweep=Sweep(context),
        daemons=daemons,
        contract_own_tables=contract_own_tables,
        row_workers={
            (name, database): workers for name, each in schemas.items() for database, workers in each.workers.items()
        },
    )  # fmt: skip


def faults(settings: Settings) -> tuple[OrchestratorError, ...]:
    """What a daemon would refuse of the configuration and the files that it names, found without any connection."""
    found: list[OrchestratorError] = []

    def attempt(work: Callable[[], T]) -> T | None:
        try:
            return work()
        except OrchestratorError as error:
            found.append(error)
            return None

    if settings.tokens_file is not None:
        attempt(partial(Tokens.read, settings.tokens_file))
    state = attempt(partial(open_database, "state", settings.state_connection))
    schemas: dict[str, LiveSchema] = {}
    for each in settings.schemas:
        faulty = [attempt(partial(_opened, one)) is None for one in each.databases]
        if any(faulty):
            attempt(partial(_driver_of, each))
            continue
        schema = attempt(partial(_live_schema, each, settings, threading.Event(), nobody_asked))
        if schema is not None:
            schemas[each.name] = schema
            attempt(partial(_check_roles, each, schema, (*schema.handles, *((state,) if state else ()))))
    if len(schemas) == len(settings.schemas):
        attempt(partial(_fleets_in_waves, settings, schemas))
    return tuple(found)


def _opened(database: DatabaseSettings) -> Database:
    """The database, not connected. Raises `Invalid`, with the place where its URL is written."""
    try:
        return open_database(database.name, database.connection)
    except Invalid as invalid:
        message = f"{database.place}: {invalid.message}" if database.place else invalid.message
        raise Invalid(invalid.code, message, remedy=invalid.remedy, **invalid.fields) from invalid.__cause__


def _fleets_in_waves(settings: Settings, schemas: Mapping[str, LiveSchema]) -> Mapping[str, frozenset[str]]:
    """The fleets of each schema. Raises `ConfigurationError` for waves with a fleet that no schema has."""
    found = {
        name: frozenset(fleet for release in each.releases.ordered for fleet in release.fleets)
        for name, each in schemas.items()
    }
    listed = {fleet for fleets in found.values() for fleet in fleets}
    for schema in settings.schemas:
        for fleet in (fleet for wave in schema.waves.order for fleet in wave):
            if fleet not in listed:
                raise ConfigurationError(
                    "fleet_unknown",
                    f"the waves of schema {schema.name} name a fleet {fleet}, which no release lists",
                    remedy=meant(fleet, sorted(listed)),
                    schema=schema.name,
                )
    return found


def _check_roles(schema: SchemaSettings, managed: LiveSchema, databases: Iterable[Database]) -> None:
    """Refuse roles that cannot be locked, or must not be. Raises `ConfigurationError`."""

    def refuse(code: str, why: str, remedy: str) -> NoReturn:
        raise ConfigurationError(code, f"[schema:{schema.name}] roles: {why}", remedy=remedy, schema=schema.name)

    for role, release in schema.roles:
        if any(database.dialect.name == "sqlite" for database in managed.handles):
            refuse("roles_unknown", "a file of SQLite has no roles", "Remove the option.")
        if release not in managed.releases:
            known = [each.name for each in managed.releases.ordered]
            refuse("release_unknown", f"there is no release {release}", meant(release, known))
        if role in {database.engine.url.username for database in databases}:
            refuse("role_own", f"the orchestrator itself works under {role}", "Give it a role of its own.")


def address_of(settings: Settings) -> str:
    """Where a daemon listens."""
    return f"{settings.bind}:{settings.port}"


def prepare_state(settings: Settings) -> Prepared:
    """The state database, with its tables as this version needs them. Repeatable; several daemons may do it at once."""
    state, own_tables, _, daemons = _begin(settings, ClockWatch())
    _make_directory(settings.state_dir)
    with explained(state), _private_files():
        _refuse_unfit(state)
        own_tables.open_door()
        own_tables.bring_forward(daemons.may_contract)
        return Prepared(state, daemons.waiting())


def _refuse_unfit(state: Database) -> None:
    """Refuse a state database that takes no writes, or in which a session is none. Raises `Unavailable`, `Conflict`."""
    state.refuse_read_only()
    state.refuse_pooler()


def _begin(
    settings: Settings, watch: ClockWatch, place: str | None = None
) -> tuple[Database, OwnTables, SqlStore, Daemons]:
    """What a daemon is made of before it knows whether it may use the state database's tables. Does not connect."""
    state = open_database("state", settings.state_connection)
    state.dialect.limit_idle(state.engine, STATE_IDLE_SECONDS)
    own_tables, store = OwnTables(state), SqlStore(state, watch=watch)
    host = socket.gethostname()
    me = Identity(
        id=f"{host}:{os.getpid()}:{os.urandom(4).hex()}",
        host=host,
        address=address_of(settings),
        version=__version__,
        trees=own_tables.releases,
        place=place,
    )
    return state, own_tables, store, Daemons(store, me, ttl_seconds=settings.leadership_ttl_seconds, watch=watch)


@contextmanager
def _private_files() -> Iterator[None]:
    """Files made meanwhile are ours alone: a state database that is a file holds the secrets of all leases."""
    usual = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(usual)


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            "state_dir_unusable",
            f"[orchestrator] state_dir {directory} cannot be made: {error.strerror}",
            remedy="Make it, and let the user that runs the orchestrator write there; or name another directory.",
        ) from error


def _live_schema(
    schema: SchemaSettings,
    settings: Settings,
    stopping: threading.Event,
    may_contract: MayContract,
    may_split: Callable[[], bool] = lambda: False,
) -> LiveSchema:
    databases = {each.name: _opened(each) for each in schema.databases}
    for database in databases.values():
        database.dialect.limit_idle(database.engine, MANAGED_IDLE_SECONDS)
    members = {
        each.name: tuple(open_database(f"{each.name}, member {n}", url) for n, url in enumerate(each.members, 1))
        for each in schema.databases
    }
    driver = _driver_of(schema, sleep=partial(_pause, stopping))
    made = {name: _runner(schema, settings, driver, each, stopping, may_split) for name, each in databases.items()}
    runners = {name: runner for name, runner in made.items() if runner is not None}
    return LiveSchema(
        schema.name, driver, databases, runners, batches=schema.batches, may_contract=may_contract,
        sources=tuple(_sources(schema, driver.releases)), members=members,
        roles=dict(schema.roles), watches={name: watch_of(schema, databases[name]) for name in runners},
        options={
            each.name: options_of(schema, settings.batch_pause_seconds, each)
            for each in schema.databases
            if each.name in runners
        },
        windows=windows_of(schema),
    )  # fmt: skip


def _runner(
    schema: SchemaSettings,
    settings: Settings,
    driver: Driver,
    database: Database,
    stopping: threading.Event,
    may_split: Callable[[], bool],
) -> DataMigrationRunner | None:
    """What moves the rows of that database; None where the service's own tool does, and nothing of ours."""
    pause, nice, place = settings.batch_pause_seconds, schema.nice_ratio, schema.migrations
    if not isinstance(driver, CommandDriver):
        return DataMigrationRunner(
            database, schema.name, place, pause_seconds=pause, nice_ratio=nice,
            workers=schema.workers if database.dialect.many_writers else 1, may_split=may_split,
            beside=driver.releases.beside,
        )  # fmt: skip
    if not any(release.all_data_migrations for release in driver.releases.ordered):
        return None

    def surroundings(release: str) -> ServiceEnvironment:
        command = driver.surroundings(database, release)
        return ServiceEnvironment(command.argv, dict(command.environment), command.secrets.hide)

    return FunctionRunner(
        database, schema.name, place, surroundings=surroundings, pause_seconds=pause, nice_ratio=nice,
        is_stopping=stopping.is_set, beside=driver.releases.beside,
    )  # fmt: skip


def _sources(schema: SchemaSettings, releases: Releases) -> Iterator[SqlQuery]:
    """The inventory sources of this schema. Raises `ConfigurationError` for one of a fleet that no release lists."""
    listed = {fleet for release in releases.ordered for fleet in release.fleets}
    for each in schema.inventories:
        section = f"inventory:{schema.name}:{each.fleet}"
        if each.fleet not in listed:
            raise ConfigurationError(
                "fleet_unknown",
                f"[{section}]: no release of {schema.name} lists a fleet {each.fleet}",
                remedy=meant(each.fleet, sorted(listed)),
                section=section,
            )
        yield SqlQuery(
            section, each.fleet, each.query, dict(each.releases), each.databases, each.max_age_seconds,
            each.timeout_seconds,
        )  # fmt: skip


def _driver_of(schema: SchemaSettings, *, sleep: Callable[[float], None] = time.sleep) -> Driver:
    """How this schema's DDL is run, with its manifest and tree read and checked. Raises `ManifestError`."""
    if schema.driver == "alembic":
        patience = Patience(end_idle_blockers_after_seconds=schema.end_idle_blockers_after_seconds)
        return AlembicDriver(
            schema.migrations, schema=schema.name, version_table=schema.version_table, patience=patience, sleep=sleep
        )
    return CommandDriver(schema)


def _pause(stopping: threading.Event, seconds: float) -> None:
    """The pause of a step before it tries again. Raises `Unavailable` where it is not going to."""
    if stopping.wait(seconds):
        raise Unavailable(
            "daemon_stopping",
            "this daemon stops, and did not try again to get the step's locks",
            remedy="Nothing was marked done; the next daemon goes on with it.",
        )
