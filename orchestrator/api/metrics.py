"""Metrics: how upgrades and their rows stand, for Prometheus. Read from the state when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from orchestrator.api.data_migrations import ABSENT, UNREADABLE, state_of
from orchestrator.api.exchange import Answer, ApiServices, Asked, Nothing
from orchestrator.domain.progress import EtaState
from orchestrator.domain.upgrades import Status
from orchestrator.domain.view import MigrationState
from orchestrator.services.data_migrations import MigrationStatus
from orchestrator.services.status import SchemaStatus, UpgradeStatus

_OF_SCHEMA = ("schema",)
_OF_DATABASE = ("schema", "database")
_OF_MIGRATION = ("schema", "database", "data_migration")

_STATES = (*(state.value for state in MigrationState), ABSENT, UNREADABLE)


def show(asked: Asked[Nothing, Nothing]) -> Answer:
    """What stands in the state at this moment, in the format that is asked for. Any daemon says the same.

    Raises `Unavailable` where the state database does not answer: a scrape that fails is no zero.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Readings(_read(asked.services)))
    try:
        encode, media_type = choose_encoder(asked.headers.get("accept", ""))
    except (TypeError, ValueError):  # it compares versions that are no numbers
        encode, media_type = choose_encoder("")
    return Answer(encode(registry), media_type=media_type)


@dataclass(frozen=True, slots=True)
class _Read:
    """One schema, and the data migrations of its newest upgrade: no earlier ones, of which there are ever more."""

    schema: SchemaStatus
    migrations: tuple[MigrationStatus, ...]


def _read(services: ApiServices) -> tuple[_Read, ...]:
    return tuple(_Read(schema, _of_upgrade(services, schema)) for schema in services.board.schemas())


def _of_upgrade(services: ApiServices, schema: SchemaStatus) -> tuple[MigrationStatus, ...]:
    if schema.upgrade is None:
        return ()
    release = schema.upgrade.upgrade.to_release
    return tuple(each for each in services.data_migrations.list(schema.name) if each.release == release)


class _Readings(Collector):
    """What was read once, for one scrape."""

    def __init__(self, found: tuple[_Read, ...]) -> None:
        self._found = found

    def describe(self) -> Iterable[Metric]:
        """It is asked once, and need not be known by name before."""
        return ()

    def collect(self) -> Iterator[Metric]:
        upgrades = [(each.schema.name, each.schema.upgrade) for each in self._found]
        yield from _of_upgrades([(schema, upgrade) for schema, upgrade in upgrades if upgrade is not None])
        yield _blockers(each.schema for each in self._found)
        yield _readable(each.schema for each in self._found)
        yield from _of_migrations(
            [((each.schema.name, one.database, one.name), one) for each in self._found for one in each.migrations]
        )


def _gauge(name: str, words: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"orchestrator_{name}", words, labels=labels)


def _of_upgrades(found: list[tuple[str, UpgradeStatus]]) -> Iterator[Metric]:
    info = InfoMetricFamily("orchestrator_upgrade", "The newest upgrade of a schema, ended or not.", labels=_OF_SCHEMA)
    running = _gauge("upgrade_running", "1 while the upgrade is under way.", _OF_SCHEMA)
    paused = _gauge("upgrade_paused", "1 while somebody paused the upgrade.", _OF_SCHEMA)
    number = _gauge("upgrade_phase_number", "The phase: 0 base to 6 contracted.", _OF_SCHEMA)
    phase = _gauge("upgrade_phase", "1 for the phase of the upgrade, 0 for its others.", (*_OF_SCHEMA, "phase"))
    since = _gauge("upgrade_phase_entered_timestamp_seconds", "When the phase was entered, in Unix time.", _OF_SCHEMA)
    share = _gauge(
        "upgrade_progress_ratio",
        "Share of all rows moved and verified, 0 to 1, while rows move; 1 only when all are proven.",
        _OF_SCHEMA,
    )
    rate = _gauge("upgrade_rows_per_second", "Rows moved or verified in a second, over the last minute.", _OF_SCHEMA)
    eta = _gauge("upgrade_eta_seconds", "In how many seconds the rows are done; absent while nobody knows.", _OF_SCHEMA)
    for schema, status in found:
        upgrade, labels = status.upgrade, (schema,)
        info.add_metric(labels, {"from_release": upgrade.from_release, "to_release": upgrade.to_release})
        running.add_metric(labels, upgrade.status is Status.RUNNING)
        paused.add_metric(labels, upgrade.paused is not None)
        number.add_metric(labels, int(upgrade.phase))
        since.add_metric(labels, upgrade.phase_since)
        for each in upgrade.profile.phases():
            phase.add_metric((schema, each.word), each is upgrade.phase)
        if status.progress is not None:
            _add(share, labels, status.progress.share)
            _add(rate, labels, status.progress.rows_per_second)
        _add(eta, labels, status.eta_seconds)
    yield from (info, running, paused, number, phase, since, share, rate, eta)


def _blockers(schemas: Iterable[SchemaStatus]) -> Metric:
    metric = _gauge("upgrade_blockers", "How many blockers of this code there are.", (*_OF_SCHEMA, "code"))
    for schema in schemas:
        found = schema.blockers if schema.upgrade is None else schema.upgrade.blockers
        codes = [blocker.code for blocker in found]
        for code in sorted(set(codes)):
            metric.add_metric((schema.name, code), codes.count(code))
    return metric


def _readable(schemas: Iterable[SchemaStatus]) -> Metric:
    metric = _gauge("database_readable", "1 when the database could be read when that was last tried.", _OF_DATABASE)
    for schema in schemas:
        for facts in schema.readings:
            metric.add_metric((schema.name, facts.name), facts.error is None)
    return metric


def _of_migrations(found: list[tuple[tuple[str, ...], MigrationStatus]]) -> Iterator[Metric]:
    """Counts are gauges: a data migration that is retried begins at 0 again."""
    state = _gauge(
        "data_migration_state", "1 for the state of the data migration, 0 for all others.", (*_OF_MIGRATION, "state")
    )
    moved = _gauge("data_migration_rows_moved", "Rows moved in this run.", _OF_MIGRATION)
    verified = _gauge("data_migration_rows_verified", "Rows compared in this run.", _OF_MIGRATION)
    counted = _gauge("data_migration_rows_counted", "Rows there were when it began.", _OF_MIGRATION)
    differences = _gauge("data_migration_differences", "Rows that do not hold what they are to hold.", _OF_MIGRATION)
    quarantined = _gauge("data_migration_rows_quarantined", "Rows that could not be moved.", _OF_MIGRATION)
    share = _gauge(
        "data_migration_progress_ratio",
        "Share of its rows moved and verified, 0 to 1; 1 only when all are proven.",
        _OF_MIGRATION,
    )
    rate = _gauge(
        "data_migration_rows_per_second", "Rows moved or verified in a second, over the last minute.", _OF_MIGRATION
    )
    eta = _gauge(
        "data_migration_eta_seconds", "Seconds of work left at that speed; absent while nobody knows.", _OF_MIGRATION
    )
    held = _gauge("data_migration_held", "1 while its rows may not move, as of a paused upgrade.", _OF_MIGRATION)
    throttled = _gauge("data_migration_throttled", "1 while its next batch waits for a signal.", _OF_MIGRATION)
    signal = _gauge(
        "data_migration_throttled_by", "1 for each signal that its next batch waits for.", (*_OF_MIGRATION, "signal")
    )
    for labels, status in found:
        facts, progress = status.facts, status.progress
        present = state_of(status)
        for each in _STATES:
            state.add_metric((*labels, each), each == present)
        held.add_metric(labels, progress.eta.state is EtaState.HELD)
        throttled.add_metric(labels, bool(status.throttled_by))
        for name in sorted({reason.signal for reason in status.throttled_by}):
            signal.add_metric((*labels, name), 1)
        _add(share, labels, progress.share)
        _add(rate, labels, progress.rows_per_second)
        _add(eta, labels, progress.eta.seconds)
        if facts is not None:
            moved.add_metric(labels, facts.rows_done)
            verified.add_metric(labels, facts.rows_verified)
            _add(counted, labels, facts.rows_total)
            differences.add_metric(labels, facts.differences)
            quarantined.add_metric(labels, facts.rows_quarantined)
    yield from (state, moved, verified, counted, differences, quarantined, share, rate, eta, held, throttled, signal)


def _add(metric: GaugeMetricFamily, labels: tuple[str, ...], value: float | None) -> None:
    """What is not known is absent: no number stands for it."""
    if value is not None:
        metric.add_metric(labels, value)
