"""The state in a SQL database, on oslo.db."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

from oslo_db import api as oslo_db_api
from oslo_db import exception as oslo_db_exception
from sqlalchemy import Connection, Select
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects import Database, Dialect, reason
from orchestrator.domain.errors import Invalid, Unavailable
from orchestrator.ports import Transaction
from orchestrator.services.clocks import ClockWatch
from orchestrator.store import statements
from orchestrator.store.rows import Kind, R, from_row, to_row
from orchestrator.store.statements import Field
from orchestrator.store.transaction import StoreTransaction

T = TypeVar("T")
Begin = Callable[[], AbstractContextManager[Connection]]

RETRIES = 12

# oslo.db logs the traceback of what it does not retry any more, and raises it too. Raising is enough.
logging.getLogger("oslo_db.api").setLevel(logging.CRITICAL)


class SqlStore:
    """Implements `orchestrator.ports.Store`.

    `clock` replaces the database's time in tests; without it the database says what time it is. `watch` sees every
    reading of it.
    """

    def __init__(
        self, database: Database, clock: Callable[[], float] | None = None, watch: ClockWatch | None = None
    ) -> None:
        self._database = database
        self._clock = clock
        self._watch = watch
        self._retried = oslo_db_api.wrap_db_retry(
            max_retries=RETRIES,
            retry_on_deadlock=True,
            exception_checker=self._may_be_repeated,
            inc_retry_interval=True,
            retry_interval=0.02,
            max_retry_interval=1,
            jitter=True,
        )(_run_once)

    def run(self, work: Callable[[Transaction], T]) -> T:
        return self._guarded(lambda: self._database.dialect.writing(self._database.engine), work)

    def read(self, work: Callable[[Transaction], T]) -> T:
        return self._guarded(self._database.engine.connect, work)

    def _may_be_repeated(self, error: BaseException) -> bool:
        """A row that somebody else inserted first is found when the work is repeated from its start."""
        is_collision = isinstance(error, oslo_db_exception.DBDuplicateEntry)
        return is_collision or self._database.dialect.is_transient(error)

    def _guarded(self, begin: Begin, work: Callable[[Transaction], T]) -> T:
        try:
            outcome: T = self._retried(begin, self._rows, self._watch, work)
        except (oslo_db_exception.DBError, SQLAlchemyError) as error:
            is_taken = isinstance(error, oslo_db_exception.DBDuplicateEntry)
            if not is_taken and self._database.dialect.refuses_value(error):
                raise Invalid(
                    "value_refused",
                    f"the state database cannot hold what it was given: {reason(error, self._database.engine.url)}",
                    remedy="Nothing was changed. Ask for less, or for something shorter.",
                ) from error
            takes_no_writes = self._database.dialect.says_read_only(error)
            out_of_cluster = self._database.dialect.remedy_out_of_cluster(error)
            raise Unavailable(
                "state_database_unavailable",
                f"the state database {self._database.place} "
                f"{'takes no writes' if takes_no_writes else 'does not do its work'}: "
                f"{reason(error, self._database.engine.url)}",
                remedy="Nothing was changed. Look at [database] connection and at the server"
                + (": is it a replica now?" if takes_no_writes else ".")
                + (f" This node is not in the primary component. {out_of_cluster}" if out_of_cluster else ""),
            ) from error
        return outcome

    def _now(self, connection: Connection) -> float:
        return self._clock() if self._clock is not None else self._database.dialect.now(connection)

    def _rows(self, connection: Connection) -> _SqlRows:
        return _SqlRows(connection, self._database.dialect, self._now, self._incarnation)

    def _incarnation(self, connection: Connection) -> str | None:
        """Asked once per connection: no connection outlives a restore, or a failover."""
        dialect = self._database.dialect
        if not dialect.tells_restores:
            return None
        known = connection.info.get("incarnation")
        if known is None:
            known = connection.info["incarnation"] = dialect.incarnation(connection)
        return str(known)


def _run_once(
    begin: Begin,
    rows: Callable[[Connection], _SqlRows],
    watch: ClockWatch | None,
    work: Callable[[Transaction], T],
) -> T:
    with begin() as connection:
        return work(StoreTransaction(rows(connection), watch))


class _SqlRows:
    """Implements `orchestrator.store.rows.Rows` on one connection in a transaction."""

    def __init__(
        self,
        connection: Connection,
        dialect: Dialect,
        read_clock: Callable[[Connection], float],
        read_incarnation: Callable[[Connection], str | None],
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._read_clock = read_clock
        self._read_incarnation = read_incarnation

    @cached_property
    def incarnation(self) -> str | None:
        return self._read_incarnation(self._connection)

    @cached_property
    def now(self) -> float:
        return self._read_clock(self._connection)

    def get(self, kind: Kind[R], *key: object) -> R | None:
        found = self._rows(statements.select_by_key(kind), _by_key(kind, key))
        return None if not found else from_row(kind, found[0])

    def find(
        self,
        kind: Kind[R],
        equal: Mapping[str, object],
        *,
        after: int | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> tuple[R, ...]:
        query = statements.select_in_order(
            kind, _fields(equal), goes_on=after is not None, newest_first=newest_first, is_limited=limit is not None
        )
        values = _given(equal)
        if after is not None:
            values["after"] = after
        if limit is not None:
            values["most"] = limit
        return tuple(from_row(kind, row) for row in self._rows(query, values))

    def insert(self, kind: Kind[R], record: R) -> R:
        values = to_row(record)
        if kind.numbered:
            del values["id"]
        number = self._connection.execute(statements.insert_into(kind), values).inserted_primary_key
        if not kind.numbered:
            return record
        assert number is not None
        return replace(record, id=number[0])  # type: ignore[type-var]  # every numbered record is a dataclass with an id

    def replace(self, kind: Kind[R], record: R, expected: Mapping[str, object]) -> bool:
        values: dict[str, Any] = to_row(record)
        key = {name: values.pop(name) for name in kind.key}
        if not values:
            return self.get(kind, *key.values()) is not None
        wanted = {**key, **expected}
        statement = statements.update_by(kind, _fields(wanted), tuple(values))
        written = {statements.written(name): value for name, value in values.items()}
        return self._connection.execute(statement, {**_given(wanted), **written}).rowcount == 1

    def find_and_lock(
        self, kind: Kind[R], equal: Mapping[str, object], field: str, values: Sequence[object]
    ) -> tuple[R, ...]:
        query = statements.select_to_lock(kind, _fields(equal), field)
        found = self._rows(query, {**_given(equal), "any_of": values})
        return tuple(from_row(kind, row) for row in found)

    def replace_parts(self, kind: Kind[R], records: Sequence[R], fields: Sequence[str]) -> None:
        names = (*kind.key, *fields)
        rows = [tuple(getattr(record, name) for name in names) for record in records]
        changed = self._dialect.update_rows(self._connection, kind.table, kind.key, fields, rows)
        if changed != len(rows):
            raise RuntimeError(f"{len(rows)} rows of {kind.table.name} were locked, and {changed} changed")

    def delete(self, kind: Kind[R], *key: object) -> None:
        self._connection.execute(statements.delete_by(kind), _by_key(kind, key))

    def add(self, kind: Kind[R], equal: Mapping[str, object], amounts: Mapping[str, float]) -> None:
        statement = statements.add_to(kind, _fields(equal), tuple(amounts))
        added = {statements.written(name): amount for name, amount in amounts.items()}
        self._connection.execute(statement, {**_given(equal), **added})

    def lock(self, kind: Kind[R], *key: object) -> None:
        self._connection.execute(statements.count_write(kind), _by_key(kind, key))

    def _rows(self, query: Select[Any], values: Mapping[str, object]) -> list[dict[str, Any]]:
        return [dict(row) for row in self._connection.execute(query, values).mappings()]


def _fields(equal: Mapping[str, object]) -> tuple[Field, ...]:
    return tuple((name, value is None) for name, value in equal.items())


def _given(equal: Mapping[str, object]) -> dict[str, object]:
    return {statements.given(name): value for name, value in equal.items() if value is not None}


def _by_key(kind: Kind[R], key: Sequence[object]) -> dict[str, object]:
    return _given(dict(zip(kind.key, key, strict=True)))
