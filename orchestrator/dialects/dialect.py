"""Dialect: what one kind of database does in its own way. One file per kind; nobody else asks which it is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import URL, Column, ColumnElement, Connection, Engine, Table

from orchestrator.dialects.holders import Holder
from orchestrator.dialects.load import Load
from orchestrator.dialects.roles import Roles
from orchestrator.dialects.tagged import Tagged
from orchestrator.dialects.triggers import Triggers


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """Why nothing can be written there, and what to do about it."""

    why: str
    remedy: str = "Let its URL name the server that takes writes; it is tried again by itself."


class Dialect(Protocol):
    """What one kind of database does in its own way."""

    name: str
    transactional_ddl: bool
    many_writers: bool  # transactions that write different rows of a table run at the same time

    @property
    def tagged(self) -> Tagged:
        """Sessions that carry the tag of an instance."""
        ...

    @property
    def roles(self) -> Roles:
        """The roles, or users, that services work under."""
        ...

    @property
    def load(self) -> Load:
        """What the server says of its load, and of its replicas."""
        ...

    tells_restores: bool  # a database that was restored has another incarnation, at least after some restores
    triggers: Triggers

    def prepare_url(self, url: URL) -> URL:
        """The URL with our driver and defaults filled in. Raises `Invalid` where it cannot be used."""
        ...

    def prepare_engine(self, engine: Engine) -> None:
        """Settings that every connection gets. Does not connect."""
        ...

    def limit_idle(self, engine: Engine, seconds: int) -> None:
        """From now on, let the server end a session of ours that does nothing in an open transaction for so long.

        Whoever is paused then holds no locks for longer. Not where the server has no such limit. Does not connect.
        """
        ...

    def is_pooled(self, engine: Engine) -> bool:
        """Whether a pooler gives the statements of one connection to several sessions."""
        ...

    def why_read_only(self, engine: Engine) -> ReadOnly | None:
        """Why nothing can be written, and what to do about it; None where it can."""
        ...

    def says_pooled(self, error: BaseException) -> bool:
        """Whether a pooler refused what only a session of one's own can do."""
        ...

    def says_read_only(self, error: BaseException) -> bool:
        """Whether a write was refused because nothing can be written."""
        ...

    def never_null(self, connection: Connection, table: Table, column: str) -> bool:
        """Whether the database itself keeps NULL out of this column."""
        ...

    def unique_keys(self, connection: Connection, table: Table) -> tuple[tuple[str, ...], ...]:
        """Lists of columns that an index keeps unique over all rows and at every statement, in the index's order."""
        ...

    def can_be_walked(self, column: Column[Any]) -> bool:
        """Whether values of this column, as the driver reads them, compare in the order of the column's index."""
        ...

    def row_after(self, row: Sequence[ColumnElement[Any]], other: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        """True where `row` comes after `other` in the order of an index over its columns, which the database uses."""
        ...

    def row_up_to(self, row: Sequence[ColumnElement[Any]], other: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        """True where `row` comes before `other`, or is it."""
        ...

    def now(self, connection: Connection) -> float:
        """The database's time: seconds since the epoch, UTC."""
        ...

    def incarnation(self, connection: Connection) -> str:
        """The identity of this database's history: it changes when the history forks (failover, restore to a point)."""
        ...

    def lock_timeout(self, connection: Connection, seconds: float) -> None:
        """Let no statement wait longer than this for a lock.

        Holds in this transaction; on an autocommit connection, until it is given back.
        """
        ...

    def session_lock(self, connection: Connection, key: str) -> AbstractContextManager[None]:
        """Hold the lock of that name as long as the block runs and the session lives.

        Raises `Conflict` (code `lock_busy`) at once if another session holds it. Leaves no transaction open.
        """
        ...

    def cluster_member(self, connection: Connection) -> str | None:
        """The member of a cluster that this session is of, in its present life; None where there is no cluster, and the
        whole database knows who holds the lock of a session."""
        ...

    def end_when_idle(self, connection: Connection, seconds: int | None) -> None:
        """Let its server end the session of a member as soon as it is asked nothing for so long; None: as it was.

        Holds until the connection is given back.
        """
        ...

    def is_transient(self, error: BaseException) -> bool:
        """Whether the same transaction may succeed when repeated: lock timeout, deadlock, serialization failure."""
        ...

    def is_cut_off(self, error: BaseException) -> bool:
        """Whether the server ended a statement that ran for too long, or that somebody had ended."""
        ...

    def refuses_value(self, error: BaseException) -> bool:
        """Whether a value was refused, or could not be computed: the same statement is fine for other rows."""
        ...

    def is_given_up(self, error: BaseException) -> bool:
        """Whether a transaction was given up in favour of another one: a deadlock, or a failed certification or
        serialization. Nobody holds anything for long: it may be repeated at once."""
        ...

    def is_done_already(self, error: BaseException) -> bool:
        """Whether DDL that commits by itself was refused because what it makes is there, or what it drops is not."""
        ...

    def remedy_out_of_cluster(self, error: BaseException) -> str | None:
        """What to do where a member answered that does not belong to the part of its cluster that may work; None for
        every other error."""
        ...

    def is_disconnect(self, error: BaseException) -> bool:
        """Whether the server went away or could not be reached."""
        ...

    def session_number(self, connection: Connection) -> int | None:
        """By what number the server knows this connection's session, None where there is no server.

        Leaves no transaction open.
        """
        ...

    def lock_holders(
        self, connection: Connection, tables: Sequence[str] = (), *, waiting: int | None = None
    ) -> tuple[Holder, ...]:
        """Other sessions that the session `waiting` waits for; else those that hold locks on these tables (on any,
        when none is given). Who works or idles longest comes first.

        Empty where this kind of database cannot tell.
        """
        ...

    def end_idle_session(self, connection: Connection, holder: Holder, idle_seconds: float) -> bool:
        """End the session if it still idles in its transaction, for that long already. Returns whether it did.

        Raises `Forbidden` (code `session_stays`) where we may not.
        """
        ...

    def writing(self, engine: Engine) -> AbstractContextManager[Connection]:
        """A transaction that is going to write: it is never promoted, so it cannot fail for having read first."""
        ...

    def snapshot(self, engine: Engine) -> AbstractContextManager[Connection]:
        """A transaction that sees one moment in all its reads, and may write rows that it locks before it reads.

        A collision is a transient error where the database notices it.
        """
        ...

    def consulting(self, engine: Engine, seconds: float) -> AbstractContextManager[Connection]:
        """A transaction for somebody else's query: it can write nothing, and no statement runs longer than this."""
        ...

    def schema_connection(self, engine: Engine) -> AbstractContextManager[Connection]:
        """A connection for DDL, with no transaction begun.

        On SQLite, foreign keys are not enforced on it: a table that is rebuilt is dropped on the way, which would
        delete the rows that refer to it.
        """
        ...

    def as_read(self, column: Column[Any]) -> ColumnElement[Any]:
        """The column as a transform is given its values: nothing on their way makes other values of them."""
        ...

    def check_constraints(self, connection: Connection) -> None:
        """Let constraints that wait for the commit be checked now, where a session can ask for that."""
        ...

    def stamped(self, connection: Connection, table: Table) -> tuple[str, ...]:
        """Columns that the database sets anew in each UPDATE without them; `update_rows` leaves them as they are."""
        ...

    def update_rows(
        self,
        connection: Connection,
        table: Table,
        key: Sequence[str],
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        within: Sequence[ColumnElement[bool]] = (),
    ) -> int:
        """Write `columns` of many rows in bulk; each row is its key values, then its new values. Returns rows hit.

        `within` are conditions that all these rows meet; they keep a database from looking through the whole table.
        """
        ...

    def differing_keys(
        self,
        connection: Connection,
        table: Table,
        key: Sequence[str],
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        within: Sequence[ColumnElement[bool]] = (),
    ) -> tuple[tuple[Any, ...], ...]:
        """Keys of the rows, all given as for `update_rows`, whose stored values are not these values."""
        ...

    def differs(self, column: Column[Any], value: ColumnElement[Any]) -> ColumnElement[bool]:
        """True where `column` does not hold what storing `value` in it would leave there. NULL equals NULL."""
        ...
