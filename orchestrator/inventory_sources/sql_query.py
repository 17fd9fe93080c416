"""A SQL query as an inventory source: what a service's own table says of its instances, such as nova's `services`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import sqlglot
from oslo_db.exception import DBError
from sqlalchemy.exc import SQLAlchemyError
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from orchestrator.dialects import Database, reason
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.inventories import Inventory, Sighting

MOST_ROWS = 100_000
MOST_WRONG_SECONDS = 300.0
"""By so much a sign of life may lie in the future: clocks differ. More is another time zone."""

MOST_NAMES = 5

_TOKENS = {"postgresql": "postgres", "postgres": "postgres", "mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite"}
_READS = ("SELECT", "WITH", "VALUES", "TABLE", "(")
_WRITES: Mapping[type[exp.Expression], str] = {
    exp.Insert: "an INSERT", exp.Update: "an UPDATE", exp.Delete: "a DELETE", exp.Merge: "a MERGE", exp.Into: "an INTO",
}  # fmt: skip
_TRUTHS = {True: True, False: False, "true": True, "t": True, "false": False, "f": False, "1": True, "0": False}


def refusal(query: str, url: str) -> str | None:
    """Why this query cannot be a source in a database of that URL, None where it may be."""
    kind = url.partition(":")[0].partition("+")[0]
    try:
        tokens = sqlglot.tokenize(query, read=_TOKENS.get(kind))
    except SqlglotError as error:
        return f"it cannot be read as SQL: {str(error).partition(chr(10))[0]}"
    while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
        tokens.pop()
    if not tokens:
        return "it is empty"
    if any(token.token_type is TokenType.SEMICOLON for token in tokens):
        return "it is more than one statement"
    if tokens[0].text.upper() not in _READS:
        return "it is no query: it has to begin with SELECT, or WITH"
    return _writing(query, _TOKENS.get(kind))


def _writing(query: str, dialect: str | None) -> str | None:
    """What in the query writes, None where nothing does, or where it cannot be parsed: the database then refuses it."""
    try:
        found = sqlglot.parse_one(query, read=dialect).find(*_WRITES)
    except (SqlglotError, RecursionError):
        return None
    return None if found is None else f"it writes: it has {_WRITES[type(found)]} in it"


@dataclass(frozen=True, slots=True)
class SqlQuery:
    """Implements `orchestrator.inventory_sources.InventorySource`.

    `section` is the name of its section in the configuration. `query` returns the columns instance, and release or
    version, and maybe age_seconds and down. `releases` says which release each value means, where that is not its
    name; without it values are names. No `databases` means all.
    """

    section: str
    fleet: str
    query: str
    releases: Mapping[str, str]
    databases: tuple[str, ...] = ()
    max_age_seconds: float = 60.0
    timeout_seconds: float = 5.0

    def covers(self, database: str) -> bool:
        return not self.databases or database in self.databases

    def read(self, database: Database) -> Inventory:
        """Runs the query alone, in a transaction that can write nothing, under a timeout."""
        try:
            with database.consulting(self.timeout_seconds) as connection:
                answer = connection.exec_driver_sql(self.query, execution_options={"no_parameters": True})
                columns = [name.lower() for name in answer.keys()]  # noqa: SIM118  # a result is no mapping
                rows = answer.fetchmany(MOST_ROWS + 1)
        except OrchestratorError as error:
            if error.code == "database_read_only":  # as its transaction is
                return self._unread("its query would write", f"Mend query in [{self.section}] and restart the daemon.")
            return self._unread(error.message, error.remedy)
        except (SQLAlchemyError, DBError) as error:
            return self._unread(
                f"its query failed: {reason(error, database.engine.url)}",
                f"Mend query in [{self.section}] and restart the daemon, or let our user of {database.place} read what "
                "it asks for.",
            )
        return self._understood(columns, rows)

    def _understood(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Inventory:
        named = next((each for each in ("release", "version") if each in columns), None)
        if "instance" not in columns or named is None:
            return self._unread(
                f"its query returns the columns {', '.join(columns)}",
                f"Let query in [{self.section}] return instance, and release or version; age_seconds and down may come "
                "along. Then restart the daemon.",
            )
        if len(rows) > MOST_ROWS:
            return self._unread(
                f"its query returns more than {MOST_ROWS} rows",
                f"Narrow query in [{self.section}] to instances of {self.fleet}, then restart the daemon.",
            )
        found = [_read(dict(zip(columns, row, strict=True)), named, self.releases) for row in rows]
        sightings = tuple(each for each in found if isinstance(each, Sighting))
        wrong = tuple(_grouped(each for each in found if isinstance(each, _Unclear)))
        return Inventory(
            self.fleet,
            f"[{self.section}]",
            sightings,
            error="; ".join(wrong) or None,
            remedy=f"Add what is missing to releases in [{self.section}], or mend its query; then restart the daemon."
            if wrong
            else None,
            max_age_seconds=self.max_age_seconds,
        )

    def _unread(self, error: str, remedy: str) -> Inventory:
        return Inventory(self.fleet, f"[{self.section}]", error=error, remedy=remedy)


@dataclass(frozen=True, slots=True)
class _Unclear:
    """A row that cannot be understood: whose it is, and why."""

    name: str
    why: str


def _read(row: Mapping[str, Any], named: str, releases: Mapping[str, str]) -> Sighting | _Unclear:
    name = _text(row["instance"])
    if not name:
        return _Unclear("a row", "it has no instance")
    held = _text(row[named])
    release = releases.get(held) if releases else held
    if not release:
        why = f"it holds {named} {held}, which releases does not name" if held else f"it has no {named}"
        return _Unclear(name, why)
    age = _seconds(row.get("age_seconds"))
    if isinstance(age, str):
        return _Unclear(name, age)
    down = _truth(row.get("down"))
    if down is None:
        return _Unclear(name, f"its down is {row['down']!r}, neither true nor false")
    return Sighting(name, release, age, down)


def _grouped(unclear: Iterator[_Unclear]) -> Iterator[str]:
    """One clause for each reason, with the names of the first rows that it holds for."""
    names: dict[str, list[str]] = {}
    for each in unclear:
        names.setdefault(each.why, []).append(each.name)
    for why, whose in names.items():
        more = f" and {len(whose) - MOST_NAMES} more" if len(whose) > MOST_NAMES else ""
        yield f"{', '.join(whose[:MOST_NAMES])}{more}: {why}"


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace").strip()
    if isinstance(value, Decimal | float) and value == int(value):
        return str(int(value))
    return "" if value is None else str(value).strip()


def _seconds(value: object) -> float | str | None:
    """Seconds, None where it is not known, or why it is neither."""
    if value is None:
        return None
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    else:
        try:
            seconds = float(_text(value))
        except ValueError:
            return f"its age_seconds is {value!r}, which is no number"
    if not seconds >= -MOST_WRONG_SECONDS:  # also what is no number at all
        return f"its age_seconds is {seconds:.0f}: compare in one time zone, as UTC"
    return max(0.0, seconds)


def _truth(value: object) -> bool | None:
    """Whether it is true; no value is a no. None: it is neither."""
    if value is None:
        return False
    if isinstance(value, bytes):
        return bool(int.from_bytes(value, "big")) if len(value) == 1 and value in (b"\0", b"\1") else None
    if isinstance(value, int | float | Decimal):
        return _TRUTHS.get(int(value)) if value in (0, 1) else None
    return _TRUTHS.get(str(value).strip().lower())
