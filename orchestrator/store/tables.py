"""The tables of the state database. The migrations at the project's root create exactly these."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
)
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.types import TypeDecorator

from orchestrator.domain.daemons import DaemonState, OwnTree
from orchestrator.domain.fleets import InstanceState, Sessions
from orchestrator.domain.intentions import Wish
from orchestrator.domain.ladder import InStepBy, Phase
from orchestrator.domain.progress import Track
from orchestrator.domain.throttling import Reason
from orchestrator.domain.upgrades import Move, Status
from orchestrator.domain.view import DatabaseFacts, StepState
from orchestrator.domain.waves import Telling

NAME_LENGTH = 64
SENTENCE_LENGTH = 2000

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)


class PhaseWord(TypeDecorator[Phase]):
    """A phase, stored as its word so that a person reading the table sees it."""

    impl = String(16)
    cache_ok = True

    def process_bind_param(self, value: Phase | None, dialect: Any) -> str | None:
        return None if value is None else value.word

    def process_result_value(self, value: str | None, dialect: Any) -> Phase | None:
        return None if value is None else Phase.from_word(value)


class Word(TypeDecorator[StrEnum]):
    """A closed set of words, stored as text."""

    impl = String(16)
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: StrEnum | None, dialect: Any) -> str | None:
        return None if value is None else value.value

    def process_result_value(self, value: str | None, dialect: Any) -> StrEnum | None:
        return None if value is None else self.kind(value)


# Made while this module is loaded, by one thread: where several decode a dataclass for the first time, msgspec 0.22
# lets one of them use what another has not finished, and the process ends.
_FACTS = msgspec.json.Decoder(DatabaseFacts)
_TELLING = msgspec.json.Decoder(Telling)
_REASONS = msgspec.json.Decoder(tuple[Reason, ...])
_TRACKS = msgspec.json.Decoder(tuple[Track, ...])


class FactsText(TypeDecorator[DatabaseFacts]):
    """The facts of one managed database, as JSON."""

    impl = Text().with_variant(MEDIUMTEXT(), "mysql")  # a TEXT holds 64 KiB there
    cache_ok = True

    def process_bind_param(self, value: DatabaseFacts | None, dialect: Any) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Any) -> DatabaseFacts | None:
        return None if value is None else _FACTS.decode(value)


class TellingText(TypeDecorator[Telling]):
    """How far a phase was told, as JSON."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Telling | None, dialect: Any) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Any) -> Telling | None:
        return None if value is None else _TELLING.decode(value)


class ReasonsText(TypeDecorator[tuple[Reason, ...]]):
    """Why rows wait, as JSON."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[Reason, ...] | None, dialect: Any) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Any) -> tuple[Reason, ...] | None:
        return None if value is None else _REASONS.decode(value)


class TracksText(TypeDecorator[tuple[Track, ...]]):
    """How far data migrations came, as JSON; NULL, as daemons write that know of none, is none."""

    impl = Text().with_variant(MEDIUMTEXT(), "mysql")
    cache_ok = True

    def process_bind_param(self, value: tuple[Track, ...] | None, dialect: Any) -> str | None:
        return msgspec.json.encode(value).decode() if value else None

    def process_result_value(self, value: str | None, dialect: Any) -> tuple[Track, ...]:
        return () if value is None else _TRACKS.decode(value)


class Words(TypeDecorator[tuple[str, ...]]):
    """A few words, stored with commas between them."""

    impl = String(255)
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Any) -> str:
        return ",".join(value or ())

    def process_result_value(self, value: str | None, dialect: Any) -> tuple[str, ...]:
        return tuple(value.split(",")) if value else ()


IN_MYSQL: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}
"""Names are told apart by every letter and accent on MySQL and MariaDB too, and every row is transactional."""


def _name(column: str, *args: Any, **options: Any) -> Column[str]:
    return Column(column, String(NAME_LENGTH), *args, **options)


schemas = Table(
    "schemas",
    metadata,
    _name("name", primary_key=True),
    _name("release", nullable=True),
    Column("upgrade_id", Integer, nullable=True),
    Column("last_revision", BigInteger, nullable=False),
    Column("forgotten", Text, nullable=True),
    Column("lost_until", Double, nullable=True),
    Column("writes", BigInteger, nullable=False, server_default="0"),  # grows with every join and move
    **IN_MYSQL,
)

upgrades = Table(
    "upgrades",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    _name("schema", ForeignKey("schemas.name"), nullable=False),
    _name("from_release", nullable=False),
    _name("to_release", nullable=False),
    Column("in_step_by", Word(InStepBy), nullable=False),
    Column("has_data_migrations", Boolean, nullable=False),
    Column("has_contract", Boolean, nullable=False),
    Column("seals", Boolean, nullable=False),
    Column("reverses", Boolean, nullable=False),
    Column("phase", PhaseWord, nullable=False),
    Column("fence", PhaseWord, nullable=False),
    Column("goal", PhaseWord, nullable=False),
    Column("move", Word(Move), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("publication", BigInteger, nullable=False),
    Column("old_valid", Boolean, nullable=False),
    Column("paused", String(SENTENCE_LENGTH), nullable=True),
    Column("cancelling", Boolean, nullable=False),
    Column("status", Word(Status), nullable=False),
    Column("begun_at", Double, nullable=False),
    Column("phase_since", Double, nullable=False),
    Column("ended_at", Double, nullable=True),
    Column("doubt", String(SENTENCE_LENGTH), nullable=True),
    Column("manifest", Text, nullable=True),
    Column("telling", TellingText, nullable=True),
    Column("reversing", Boolean, nullable=False),
    Column("frozen", String(SENTENCE_LENGTH), nullable=True),
    Column("frozen_until", Double, nullable=True),
    Column("incarnation", String(255), nullable=True),
    Index(None, "schema", "id"),
    **IN_MYSQL,
)

instances = Table(
    "instances",
    metadata,
    _name("schema", ForeignKey("schemas.name"), primary_key=True),
    _name("fleet", primary_key=True),
    _name("id", primary_key=True),
    _name("tag", nullable=False),
    _name("nonce", nullable=False),
    _name("salt", nullable=False),
    _name("release", nullable=False),
    Column("host", String(255), nullable=True),
    Column("state", Word(InstanceState), nullable=False),
    Column("acked", BigInteger, nullable=False),
    Column("told", BigInteger, nullable=False),
    Column("joined_at", Double, nullable=False),
    Column("renewed_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("ended_at", Double, nullable=True),
    Column("ended_by", String(255), nullable=True),
    Column("end_reason", String(SENTENCE_LENGTH), nullable=True),
    Column("sessions", Word(Sessions), nullable=True),
    Column("proof", Text, nullable=True),
    Column("unproven", Text, nullable=True),
    Column("remedy", Text, nullable=True),
    Column("is_refused", Boolean, nullable=False),
    Column("is_disbelieved", Boolean, nullable=False, server_default=false()),
    Index(None, "schema", "state"),
    Index(None, "schema", "is_refused"),
    **IN_MYSQL,
)

fleets = Table(
    "fleets",
    metadata,
    _name("schema", ForeignKey("schemas.name"), primary_key=True),
    _name("fleet", primary_key=True),
    **IN_MYSQL,
)

reports = Table(
    "reports",
    metadata,
    _name("schema", ForeignKey("schemas.name"), primary_key=True),
    _name("fleet", primary_key=True),
    _name("release", nullable=False),
    Column("instances", Integer, nullable=False),
    Column("actor", String(255), nullable=False),
    Column("reason", String(SENTENCE_LENGTH), nullable=True),
    Column("reported_at", Double, nullable=False),
    **IN_MYSQL,
)

fleet_pauses = Table(
    "fleet_pauses",
    metadata,
    _name("schema", ForeignKey("schemas.name"), primary_key=True),
    _name("fleet", primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("actor", String(255), nullable=False),
    Column("reason", String(SENTENCE_LENGTH), nullable=False),
    Column("paused_at", Double, nullable=False),
    **IN_MYSQL,
)

steps = Table(
    "steps",
    metadata,
    Column("upgrade_id", Integer, ForeignKey("upgrades.id"), primary_key=True),
    Column("phase", PhaseWord, primary_key=True),
    _name("database", primary_key=True),
    Column("state", Word(StepState), nullable=False),
    Column("owner_epoch", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    _name("code", nullable=True),
    Column("error", Text, nullable=True),
    Column("remedy", Text, nullable=True),
    Column("started_at", Double, nullable=True),
    Column("finished_at", Double, nullable=True),
    **IN_MYSQL,
)

approvals = Table(
    "approvals",
    metadata,
    Column("upgrade_id", Integer, ForeignKey("upgrades.id"), primary_key=True),
    Column("phase", PhaseWord, primary_key=True),
    Column("actor", String(255), nullable=False),
    Column("reason", String(SENTENCE_LENGTH), nullable=True),
    Column("forced", Words, nullable=False),
    Column("approved_at", Double, nullable=False),
    **IN_MYSQL,
)

readings = Table(
    "readings",
    metadata,
    _name("schema", ForeignKey("schemas.name"), primary_key=True),
    _name("database", primary_key=True),
    Column("facts", FactsText, nullable=False),
    Column("observed_at", Double, nullable=False),
    Column("tracks", TracksText, nullable=True),
    **IN_MYSQL,
)

rows_waits = Table(
    "rows_waits",
    metadata,
    _name("schema", ForeignKey("schemas.name"), primary_key=True),
    _name("database", primary_key=True),
    Column("daemon", String(255), primary_key=True),
    Column("reasons", ReasonsText, nullable=False),
    Column("since", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    **IN_MYSQL,
)

intentions = Table(
    "intentions",
    metadata,
    _name("schema", ForeignKey("schemas.name"), primary_key=True),
    _name("name", primary_key=True),
    _name("database", primary_key=True),
    Column("wish", Word(Wish), nullable=False),
    Column("actor", String(255), nullable=False),
    Column("reason", String(SENTENCE_LENGTH), nullable=False),
    Column("since", Double, nullable=False),
    **IN_MYSQL,
)

settings = Table(
    "settings",
    metadata,
    _name("schema", ForeignKey("schemas.name"), primary_key=True),
    _name("database", primary_key=True),  # empty: all of the schema
    _name("name", primary_key=True),  # empty: every data migration
    Column("option", String(128), primary_key=True),
    Column("value", Double, nullable=False),
    Column("actor", String(255), nullable=False),
    Column("reason", String(SENTENCE_LENGTH), nullable=True),
    Column("set_at", Double, nullable=False),
    **IN_MYSQL,
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("secret", String(64), nullable=False),
    **IN_MYSQL,
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    _name("action", nullable=False),
    Column("actor", String(255), nullable=False),
    _name("schema", nullable=True),
    Column("upgrade_id", Integer, nullable=True),
    Column("subject", String(255), nullable=True),
    Column("sentence", Text, nullable=False),
    Column("reason", String(SENTENCE_LENGTH), nullable=True),
    Index(None, "schema", "id"),
    **IN_MYSQL,
)

leadership = Table(
    "leadership",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("holder", String(255), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("taken_at", Double, nullable=True),
    Column("revision", BigInteger, nullable=False),  # grows with every renewal
    Column("clock_steps", Double, nullable=False),
    Column("incarnation", String(255), nullable=True),
    **IN_MYSQL,
)

# The door: daemons of all versions read and write these two tables before they know what else is there. So their
# columns stay for ever; a newer version adds only nullable ones, which it does without when it registers.

daemons = Table(
    "daemons",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("address", String(255), nullable=False),
    Column("version", String(64), nullable=False),
    _name("state_release", nullable=False),
    _name("bookkeeping_release", nullable=False),
    Column("state", Word(DaemonState), nullable=False),
    Column("started_at", Double, nullable=False),
    Column("renewed_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("ended_at", Double, nullable=True),
    Column("ended_by", String(255), nullable=True),
    Column("end_reason", String(SENTENCE_LENGTH), nullable=True),
    Column("place", String(255), nullable=True),
    Index(None, "state"),
    **IN_MYSQL,
)

own_trees = Table(
    "own_trees",
    metadata,
    Column("name", Word(OwnTree), primary_key=True),
    _name("contracting", nullable=True),
    Column("writes", BigInteger, nullable=False, server_default="0"),  # grows with every daemon that registers
    **IN_MYSQL,
)
