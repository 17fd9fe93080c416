"""The guard of an engine: each database session carries the lease of its instance, and none works without one."""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import ref

from sqlalchemy import Connection, Engine, event, insert, text, update
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import Pool

from orchestrator.client.errors import ClientError, Refused
from orchestrator.client.member import Member
from orchestrator.client.registry import Credentials, within
from orchestrator.client.sqlalchemy import servers
from orchestrator.client.sqlalchemy.own_row import check_own, is_own, own_values
from orchestrator.client.sqlalchemy.tables import instances
from orchestrator.client.sqlalchemy.wire import Wire, is_ours, on_new_connection

LEAVE_SECONDS = 10.0

_TAGGED = "orchestrator_tagged"
_CHECKED = "orchestrator_checked"
_PERIOD = "orchestrator_period"

_READS = ("SELECT", "PRAGMA", "EXPLAIN", "VALUES")
_FRAMES = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA", "END")

_GUARD = "_orchestrator_guard"


def guard(engine: Engine | AsyncEngine, member: Member, *, check_each_transaction: bool = False) -> None:
    """Let the engine work for this member only. Call it before `join`; for each engine of the schema's databases.

    - A new connection is tagged and committed as such before the instance is looked up: one that was evicted is refused
      (`Evicted`), and an eviction that comes later finds the session by its tag and ends it.
    - Statements are refused outside `member.transaction()`, and so are commits after the lease's end. A transaction of
      the database that goes on into another `member.transaction()`, of a later phase, is refused there.
    - When the lease is lost, and when the member leaves, the pool is disposed of.

    With `check_each_transaction` the instance is looked up at the beginning of each transaction too. On SQLite, where
    nobody can end a session, that is always so, in the same transaction: none commits after the eviction did.

    In a forked child make a new `Member` and guard the engine anew: connections of the parent are left alone.
    """
    sync_engine = engine.sync_engine if isinstance(engine, AsyncEngine) else engine
    member.promise_tags()
    known = vars(sync_engine).get(_GUARD)
    if known is None:
        vars(sync_engine)[_GUARD] = Guard(engine, member, check_each_transaction=check_each_transaction)
    else:
        known.serve(member)


class Guard:
    """Watches one engine, for one member at a time."""

    def __init__(self, engine: Engine | AsyncEngine, member: Member, *, check_each_transaction: bool) -> None:
        self._given = engine
        self._engine = engine.sync_engine if isinstance(engine, AsyncEngine) else engine
        self._is_sqlite = self._engine.dialect.name == "sqlite"
        self._checks_each = check_each_transaction
        self._sessions: dict[int, servers.Session] = {}  # by the record of the pool's connection
        self._ended: list[servers.Session] = []
        self._books = threading.Lock()
        self._inherited: list[Pool] = []
        self._member = member
        for moment, listener in (
            ("connect", self._connected),
            ("checkout", self._checked_out),
            ("close", self._closed),
            ("begin", self._began),
            ("begin_twophase", self._refuse_twophase),
            ("before_cursor_execute", self._executes),
            ("commit", self._commits),
        ):
            event.listen(self._engine, moment, listener)
        self.serve(member)
        mine = ref(self)
        os.register_at_fork(after_in_child=lambda: _disown(mine()))

    def serve(self, member: Member) -> None:
        """Work for this member from now on. What its predecessor left in the pool is not used again."""
        self._member = member
        member.on_lost(lambda loss: self._drop())
        member.on_leave(lambda: self._leave(member))

    def disown(self) -> None:
        """In a forked child: leave the parent's connections alone. To close one here would end the parent's session."""
        self._inherited.append(self._engine.pool)  # nor may anybody collect them
        self._engine.dispose(close=False)
        self._books, self._sessions, self._ended = threading.Lock(), {}, []

    # -- connections ---------------------------------------------------------------------------------------------

    def _connected(self, connection: Any, record: Any) -> None:
        if is_ours():
            return
        wire = Wire(self._engine.dialect, connection)
        try:
            shown = self._member.credentials
            self._introduce(wire, shown, record)
        except BaseException:
            self._engine.dialect.do_terminate(connection)
            raise
        record.info[_TAGGED] = (os.getpid(), shown.tag)

    def _introduce(self, wire: Wire, shown: Credentials, record: Any) -> None:
        """Tag the session; only then look whether the instance may work. Whoever evicts does it the other way round."""
        session = servers.tag_session(wire, shown.tag)
        if session is not None:
            with self._books:
                self._sessions[id(record)] = session
                ended, self._ended = self._ended, []
            left = servers.forget_ended(wire, shown.tag, ended) if ended else []
            with self._books:
                self._ended += left
        with servers.seeing_the_cluster(wire):
            self._look_up(wire, shown)
            wire.rollback()

    def _look_up(self, wire: Wire, shown: Credentials) -> None:
        """Write the instance's row where there is none. Raises `LeaseLost`, after the member was told."""
        identity, tag = shown.identity, shown.tag
        try:
            if check_own(wire, identity, tag):
                return
            row = own_values(identity, tag, acked=shown.acked, now=servers.now(wire))
            try:
                wire.run(insert(instances).values(row))
                wire.commit()
            except self._engine.dialect.loaded_dbapi.IntegrityError:  # another connection of it, or its eviction
                wire.rollback()
                check_own(wire, identity, tag)
        except Refused as refusal:
            wire.rollback()
            raise self._member.give_up(refusal) from refusal

    def _checked_out(self, connection: Any, record: Any, proxy: Any) -> None:
        if is_ours():
            return
        shown = self._member.credentials  # refuses a forked child, and whoever has no lease
        if record.info.get(_TAGGED) != (os.getpid(), shown.tag):
            raise DisconnectionError("it carries no tag of this member's lease; another one is made")

    def _closed(self, connection: Any, record: Any) -> None:
        with self._books:
            session = self._sessions.pop(id(record), None)
            if session is not None:
                self._ended.append(session)

    # -- transactions --------------------------------------------------------------------------------------------

    def _began(self, connection: Connection) -> None:
        connection.info[_CHECKED] = None
        connection.info[_PERIOD] = None

    def _refuse_twophase(self, connection: Connection, xid: object) -> None:
        raise ClientError(
            "twophase_refused",
            "a guarded engine prepares no transactions: a prepared one outlives the session of its instance",
            remedy="Commit in one phase.",
        )

    def _commits(self, connection: Connection) -> None:
        """SQLAlchemy takes a transaction whose commit was refused for ended, and would hand it to the next one."""
        try:
            self._check_transaction(connection)
        except BaseException:
            self._engine.dialect.do_rollback(connection.connection)
            raise

    def _executes(
        self, connection: Connection, cursor: object, statement: str, parameters: object, context: object, many: bool
    ) -> None:
        verb = statement.lstrip(" (\n\t").split(None, 1)[0].upper() if statement.strip() else ""
        if verb.startswith(_FRAMES):
            return
        self._check_transaction(connection)
        if self._is_sqlite:
            self._check_in_file(connection, is_read=verb.startswith(_READS))
        elif self._checks_each and not connection.info.get(_CHECKED):
            self._look_up_in_transaction(connection)

    def _check_transaction(self, connection: Connection) -> None:
        """What was begun in an earlier phase was said to have ended when the member's transaction did."""
        period = self._member.check_transaction()
        began_in = connection.info.get(_PERIOD)
        if began_in is None:
            connection.info[_PERIOD] = period
        elif began_in != period:
            raise ClientError(
                "transaction_straddles",
                "a transaction of the database was begun in a member.transaction() that has ended, in an earlier phase",
                remedy="Commit or roll back within the `with member.transaction():` in which it begins.",
            )

    def _look_up_in_transaction(self, connection: Connection) -> None:
        wire = Wire(self._engine.dialect, connection.connection.dbapi_connection)
        shown = self._member.credentials
        try:
            if not check_own(wire, shown.identity, shown.tag):
                raise _vanished(shown)
        except Refused as refusal:
            raise self._member.give_up(refusal) from refusal
        connection.info[_CHECKED] = True

    def _check_in_file(self, connection: Connection, *, is_read: bool) -> None:
        """Look the instance up in the transaction that is going to write, while it holds SQLite's only write lock.

        A transaction that the service began itself and that has read first cannot write any more once somebody else
        has written: looking it up is such a reading.
        """
        driver = connection.connection.dbapi_connection
        assert driver is not None, "a connection that executes is there"
        begun = bool(getattr(getattr(driver, "driver_connection", driver), "in_transaction", False))
        known = connection.info.get(_CHECKED)
        if known and (known == "within" if begun else is_read):
            return
        if not begun and not is_read:
            if getattr(driver, "isolation_level", "") is None:
                raise ClientError(
                    "autocommit_unguarded",
                    "a statement that writes was begun outside a transaction",
                    remedy="Use no AUTOCOMMIT on a guarded SQLite engine.",
                )
            Wire(self._engine.dialect, driver).run(text("BEGIN IMMEDIATE"))
            begun = True
        self._look_up_in_transaction(connection)
        connection.info[_CHECKED] = "within" if begun else "before"

    # -- the end -------------------------------------------------------------------------------------------------

    def _drop(self) -> None:
        """Use no connection again. Those of an async driver are closed in its own loop, when they are taken next."""
        if not self._engine.dialect.is_async:
            self._engine.dispose()

    def _leave(self, member: Member) -> None:
        """Every transaction has ended: close the pool, sign off in this database, and forget the sessions."""
        self._drop()
        shown = member.last_credentials
        if shown is None:
            return

        def sign_off(wire: Wire) -> None:
            now = servers.now(wire)
            row = is_own(shown.identity, shown.tag, state="alive")
            wire.run(update(instances).where(*row).values(state="left", ended_at=now, renewed_at=now, news=True))
            wire.commit()
            if wire.kind == "mysql":
                with self._books:
                    ended = [*self._ended, *self._sessions.values()]
                servers.forget(wire, shown.tag, ended)
                wire.commit()

        within(LEAVE_SECONDS, lambda: on_new_connection(self._given, sign_off))


def _disown(guard: Guard | None) -> None:
    if guard is not None:
        guard.disown()


def _vanished(shown: Credentials) -> Refused:
    return Refused(
        "instance_unknown",
        f"the row of instance {shown.identity.id} is gone from this database",
        remedy="It was put back to an older state: start this process anew.",
        status=404,
    )
