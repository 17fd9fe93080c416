"""Rows: the few operations that a storage offers, and the kinds of records that it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Table

from orchestrator.domain.daemons import Daemon, OwnTreeState
from orchestrator.domain.fleets import Instance, Report
from orchestrator.domain.intentions import Intention
from orchestrator.domain.ladder import Profile
from orchestrator.domain.overlay import Setting
from orchestrator.domain.records import DatabaseReading, Event, Leadership, SchemaState, SigningKey
from orchestrator.domain.throttling import RowsWait
from orchestrator.domain.upgrades import Upgrade
from orchestrator.domain.view import Approval, StepRecord
from orchestrator.domain.waves import FleetPause
from orchestrator.store import tables

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class KnownFleet:
    """Something was reported of this fleet."""

    schema: str
    fleet: str


@dataclass(frozen=True, slots=True)
class LeadershipRow:
    """The one row of the leadership table."""

    id: int
    holder: str
    epoch: int
    expires_at: float
    taken_at: float | None
    revision: int
    clock_steps: float
    incarnation: str | None = None

    @classmethod
    def of(cls, leadership: Leadership, revision: int) -> LeadershipRow:
        found = leadership
        return cls(
            1, found.holder, found.epoch, found.expires_at, found.taken_at, revision, found.clock_steps,
            found.incarnation,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Kind(Generic[R]):
    """A kind of record: its class, its table, the fields that are its key, whether the storage numbers it."""

    record: type[R]
    table: Table
    key: tuple[str, ...]
    numbered: bool = False


SCHEMAS = Kind(SchemaState, tables.schemas, ("name",))
UPGRADES = Kind(Upgrade, tables.upgrades, ("id",))
INSTANCES = Kind(Instance, tables.instances, ("schema", "fleet", "id"))
FLEETS = Kind(KnownFleet, tables.fleets, ("schema", "fleet"))
FLEET_PAUSES = Kind(FleetPause, tables.fleet_pauses, ("schema", "fleet"))
REPORTS = Kind(Report, tables.reports, ("schema", "fleet"))
STEPS = Kind(StepRecord, tables.steps, ("upgrade_id", "phase", "database"))
APPROVALS = Kind(Approval, tables.approvals, ("upgrade_id", "phase"))
READINGS = Kind(DatabaseReading, tables.readings, ("schema", "database"))
ROWS_WAITS = Kind(RowsWait, tables.rows_waits, ("schema", "database", "daemon"))
INTENTIONS = Kind(Intention, tables.intentions, ("schema", "name", "database"))
SETTINGS = Kind(Setting, tables.settings, ("schema", "database", "name", "option"))
SIGNING_KEYS = Kind(SigningKey, tables.signing_keys, ("id",))
EVENTS = Kind(Event, tables.events, ("id",), numbered=True)
LEADERSHIP = Kind(LeadershipRow, tables.leadership, ("id",))
DAEMONS = Kind(Daemon, tables.daemons, ("id",))
OWN_TREES = Kind(OwnTreeState, tables.own_trees, ("name",))


class Rows(Protocol):
    """One transaction on a storage. `equal` and `expected` map field names to values."""

    @property
    def now(self) -> float: ...

    @property
    def incarnation(self) -> str | None: ...

    def get(self, kind: Kind[R], *key: object) -> R | None: ...

    def find(
        self,
        kind: Kind[R],
        equal: Mapping[str, object],
        *,
        after: int | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> tuple[R, ...]:
        """Records whose fields equal those given, in the order of their key; `after` is a number of the key."""
        ...

    def insert(self, kind: Kind[R], record: R) -> R:
        """Store a new record; a numbered kind returns it with its number."""
        ...

    def replace(self, kind: Kind[R], record: R, expected: Mapping[str, object]) -> bool:
        """Store a record over the one of its key if that one's fields equal `expected`. Returns whether they did."""
        ...

    def find_and_lock(
        self, kind: Kind[R], equal: Mapping[str, object], field: str, values: Sequence[object]
    ) -> tuple[R, ...]:
        """Records whose fields equal those given, and whose `field` is one of the values, locked until the end."""
        ...

    def replace_parts(self, kind: Kind[R], records: Sequence[R], fields: Sequence[str]) -> None:
        """Store these fields of many records, which this transaction has locked."""
        ...

    def delete(self, kind: Kind[R], *key: object) -> None:
        """Forget the record of that key, if there is one."""
        ...

    def add(self, kind: Kind[R], equal: Mapping[str, object], amounts: Mapping[str, float]) -> None:
        """Add to fields of all records whose fields equal those given."""
        ...

    def lock(self, kind: Kind[R], *key: object) -> None:
        """Write the row of that key, so that any two who do this come one after the other; its kind counts writes."""
        ...


PROFILE_FIELDS = ("in_step_by", "has_data_migrations", "has_contract", "seals", "reverses")


def to_row(record: Any) -> dict[str, Any]:
    """The columns of a record. An upgrade's profile lies in columns of its own."""
    row = {field: getattr(record, field) for field in type(record).__dataclass_fields__}
    profile = row.pop("profile", None)
    if profile is not None:
        row |= {field: getattr(profile, field) for field in PROFILE_FIELDS}
    return row


def from_row(kind: Kind[R], row: Mapping[str, Any]) -> R:
    """The record of a row."""
    fields: dict[str, Any] = {}
    for field in kind.record.__dataclass_fields__:  # type: ignore[attr-defined]  # every record is a dataclass
        fields[field] = Profile(*(row[each] for each in PROFILE_FIELDS)) if field == "profile" else row[field]
    return kind.record(**fields)
