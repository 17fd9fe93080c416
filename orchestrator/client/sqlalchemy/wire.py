"""Speaking to one connection of a driver, of a sync or an async one, past the engine and its events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from sqlalchemy import Engine, Executable
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql import ClauseElement
from sqlalchemy.util.concurrency import greenlet_spawn

T = TypeVar("T")

_is_ours: ContextVar[bool] = ContextVar("orchestrator_own_connection", default=False)


class Wire:
    """One connection. Nothing is committed that is not asked for."""

    def __init__(self, dialect: Dialect, connection: Any) -> None:
        self.dialect = dialect
        self.connection = connection  # of the driver, or what SQLAlchemy makes of an async one

    @property
    def kind(self) -> str:
        """Which database it is: postgresql, mysql (MariaDB too) or sqlite."""
        return "mysql" if self.dialect.name == "mariadb" else self.dialect.name

    def run(self, statement: Executable) -> int:
        """Execute; the number of rows that it hit."""
        cursor = self._executed(statement)
        try:
            return int(cursor.rowcount)
        finally:
            cursor.close()

    def rows(self, statement: Executable) -> list[tuple[Any, ...]]:
        """Execute, and fetch what comes back."""
        cursor = self._executed(statement)
        try:
            return [tuple(row) for row in cursor.fetchall()]
        finally:
            cursor.close()

    def commit(self) -> None:
        self.connection.commit()

    def rollback(self) -> None:
        self.connection.rollback()

    def _executed(self, statement: Executable) -> Any:
        assert isinstance(statement, ClauseElement)
        compiled = statement.compile(dialect=self.dialect)
        values: Any = compiled.params
        positions = getattr(compiled, "positiontup", None)
        if positions is not None:
            values = tuple(values[name] for name in positions)
        cursor = self.connection.cursor()
        try:
            if values:
                cursor.execute(str(compiled), values)
            else:
                cursor.execute(str(compiled))
        except BaseException:
            cursor.close()
            raise
        return cursor


def errors_of(dialect: Dialect) -> tuple[type[Exception], ...]:
    """What a driver raises when a database does not do as it was told."""
    return (dialect.loaded_dbapi.Error, SQLAlchemyError, OSError)


def is_ours() -> bool:
    """Whether the connection that is just being made is for the orchestrator's own tables: no guard looks at it."""
    return _is_ours.get()


@contextmanager
def _wired(engine: Engine) -> Iterator[Wire]:
    """A new connection of its own, made as the engine makes them, and closed at the end."""
    pool = engine.pool.recreate()
    token = _is_ours.set(True)
    try:
        fairy = pool.connect()
        try:
            yield Wire(engine.dialect, fairy.dbapi_connection)
        finally:
            fairy.close()
            pool.dispose()
    finally:
        _is_ours.reset(token)


def on_new_connection(engine: Engine | AsyncEngine, work: Callable[[Wire], T]) -> T:
    """What `work` returns, done on a connection of its own, which sees none of the service's transactions.

    Blocks. With an async engine it runs an event loop of its own, so it needs a thread that has none.
    """
    sync_engine = engine.sync_engine if isinstance(engine, AsyncEngine) else engine

    def act() -> T:
        with _wired(sync_engine) as wire:
            return work(wire)

    if not sync_engine.dialect.is_async:
        return act()

    async def in_loop() -> T:
        return await greenlet_spawn(act)

    return asyncio.run(in_loop())
