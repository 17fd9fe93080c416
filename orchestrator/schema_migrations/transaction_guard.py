"""The guard of the transaction in which a revision runs: what would end it is refused before it is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from orchestrator.domain.errors import MigrationRefused
from orchestrator.schema_migrations import transaction_control
from orchestrator.schema_migrations.online_context import OnlineContext
from orchestrator.schema_migrations.recording import place_in
from orchestrator.schema_migrations.tree import Revision


class TransactionGuard:
    """Watches one run of one revision in one database."""

    def __init__(self, context: OnlineContext, revision: Revision, database: str) -> None:
        assert context.connection is not None
        self._context = context
        self._connection = context.connection
        self._revision = revision
        self._database = database
        self._several = context.dialect.name == "postgresql"
        self._refusal: MigrationRefused | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Refuse as long as the block runs. A refusal that the revision swallowed is raised again, by every statement
        and at the end."""
        listeners: dict[str, Callable[..., None]] = {
            "before_cursor_execute": self._before,
            "commit": partial(self._ends, "commit()"),
            "rollback": partial(self._ends, "rollback()"),
        }
        for name, listener in listeners.items():
            event.listen(self._connection, name, listener)
        try:
            yield
        except Exception:
            if self._refusal is None:
                raise
        finally:
            for name, listener in listeners.items():
                event.remove(self._connection, name, listener)
        if self._refusal is not None:
            self._connection.rollback()
            raise self._refusal from None

    def _before(self, _connection: sa.Connection, _cursor: Any, text: str, *_: Any) -> None:
        if self._context.speaks:
            return
        if self._refusal is None:
            self._refusal = transaction_control.refusal(
                self._revision.id,
                place_in(self._revision),
                text,
                alone=self._context.outside,
                several=self._several,
                database=self._database,
            )
        if self._refusal is not None:
            raise self._refusal

    def _ends(self, how: str, connection: sa.Connection) -> None:
        """For SQLAlchemy it has ended by now, so that nobody would roll it back later."""
        if self._context.speaks:
            return
        if self._refusal is None:
            place = place_in(self._revision)
            self._refusal = transaction_control.ends(self._revision.id, place, how, database=self._database)
        connection.connection.rollback()
        raise self._refusal
