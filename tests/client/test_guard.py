"""The guard of an engine: sessions that carry their lease, and instances that were evicted and find out."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from orchestrator.client import ClientError, Evicted, LeaseLost, Member, NotAMember
from orchestrator.client.sqlalchemy import FenceTable, guard
from orchestrator.dialects import Database
from orchestrator.domain.errors import Unavailable
from tests.client.daemon_stand_in import Timeline
from tests.client.managed import Daemon, Managed, a_member, on_every_database, on_servers

INSERT = sa.text("INSERT INTO things (name) VALUES (:name)")


def write(engine: sa.Engine, member: Member, name: str) -> None:
    """What a service does: its transaction encloses the database's."""
    with member.transaction(), engine.begin() as connection:
        connection.execute(INSERT, {"name": name})


@pytest.fixture
def member(service: sa.Engine, managed: Managed, daemon: Daemon) -> Member:
    """A member that has joined, and guards the service's engine."""
    member = a_member(daemon, service, instance_id="web-1")
    guard(service, member)
    member.join(in_background=False)
    return member


def tag_of(member: Member) -> str:
    shown = member.last_credentials
    assert shown is not None
    return shown.tag


def test_a_member_says_that_its_sessions_can_be_told(daemon: Daemon, member: Member) -> None:
    assert daemon.stand_in.instances["web-1"]["sessions"] == "tagged"


@on_every_database
def test_every_new_connection_carries_the_tag_and_the_instance_is_written_down(
    managed: Managed, service: sa.Engine, member: Member
) -> None:
    assert managed.rows() == []
    with member.transaction(), service.connect() as first, service.connect() as second:
        kind = service.dialect.name
        for connection in (first, second):
            connection.execute(INSERT, {"name": "a"})
            connection.rollback()
        if kind == "postgresql":
            names = [
                each.execute(sa.text("SELECT current_setting('application_name')")).scalar() for each in (first, second)
            ]
            assert names == [f"orchestrator {tag_of(member)[:32]}"] * 2
        if kind == "mysql":
            numbers = [each.execute(sa.text("SELECT CONNECTION_ID()")).scalar_one() for each in (first, second)]
            assert {(row.session, row.tag) for row in managed.sessions()} == {
                (each, tag_of(member)) for each in numbers
            }
            place = first.execute(sa.text("SELECT CONCAT(@@hostname, ':', @@port)")).scalar()
            assert {row.member for row in managed.sessions()} == {place}
    (row,) = managed.rows()
    assert (row.instance_id, row.tag, row.state, row.sessions, row.news) == (
        "web-1", tag_of(member), "alive", "tagged", False
    )  # fmt: skip


@pytest.mark.parametrize("new_database_url", ["postgresql"], indirect=True)
def test_the_services_own_name_stays_to_be_seen(managed: Managed, daemon: Daemon) -> None:
    url = managed.database.engine.url.update_query_dict({"application_name": "inventory-api of the north, number 7"})
    engine = sa.create_engine(url)
    member = a_member(daemon)
    guard(engine, member)
    member.join(in_background=False)
    with member.transaction(), engine.connect() as connection:
        name = connection.execute(sa.text("SELECT current_setting('application_name')")).scalar_one()
    assert name == f"inventory-api of the north, nu {tag_of(member)[:32]}"
    engine.dispose()


@on_every_database
def test_work_is_done_inside_the_members_transactions_only(
    managed: Managed, service: sa.Engine, member: Member
) -> None:
    with pytest.raises(NotAMember) as outside, service.begin() as connection:
        connection.execute(INSERT, {"name": "outside"})
    assert outside.value.code == "outside_transaction"
    with service.connect() as connection:
        for _ in range(2):  # also when somebody insists
            with pytest.raises(NotAMember):
                connection.execute(sa.text("SELECT 1"))
        with member.transaction():
            connection.execute(INSERT, {"name": "ended outside"})
        with pytest.raises(NotAMember):
            connection.commit()
    write(service, member, "inside")
    assert managed.things() == ["inside"]


@on_every_database
def test_nobody_works_before_joining_or_after_leaving(managed: Managed, service: sa.Engine, daemon: Daemon) -> None:
    member = a_member(daemon)
    guard(service, member)
    with pytest.raises(NotAMember) as early, service.connect():
        pass
    assert early.value.code == "not_joined"
    member.join(in_background=False)
    write(service, member, "between")
    member.leave()
    assert [row.state for row in managed.rows()] == ["left"]
    assert managed.sessions() == []
    with pytest.raises(NotAMember) as late, service.connect():
        pass
    assert late.value.code == "left"
    with pytest.raises(NotAMember):
        guard(service, member)


def test_no_commit_after_the_leases_end(managed: Managed, service: sa.Engine, daemon: Daemon) -> None:
    time = Timeline()
    member = a_member(daemon, clock=time.clock, pause=time.pause)
    guard(service, member)
    member.join(in_background=False)
    with pytest.raises(LeaseLost), member.transaction(), service.begin() as connection:
        connection.execute(INSERT, {"name": "too late"})
        time.now += 49
    assert managed.things() == []


def test_the_pool_is_dropped_when_the_lease_is_lost(managed: Managed, service: sa.Engine, daemon: Daemon) -> None:
    time = Timeline()
    member = a_member(daemon, clock=time.clock, pause=time.pause)
    guard(service, member)
    member.join(in_background=False)
    write(service, member, "before")
    pool = service.pool
    daemon.is_away = True
    time.now += 49
    assert not member.renew()
    assert service.pool is not pool
    daemon.is_away = False
    assert member.renew()
    write(service, member, "revived")
    assert managed.things() == ["before", "revived"]


@on_every_database
def test_an_evicted_instance_gets_no_connection(managed: Managed, service: sa.Engine, member: Member) -> None:
    lost: list[LeaseLost] = []
    member.on_lost(lost.append)
    write(service, member, "before")
    managed.evict(member)
    service.dispose()
    with pytest.raises(Evicted) as refused:
        write(service, member, "after")
    assert refused.value.final
    assert [loss.code for loss in lost] == ["instance_evicted"]
    assert not member.is_live
    with pytest.raises(Evicted), member.transaction():
        pass
    assert managed.things() == ["before"]


def test_one_that_was_evicted_before_it_was_ever_here_finds_out(
    managed: Managed, service: sa.Engine, member: Member
) -> None:
    managed.evict(member)
    with pytest.raises(Evicted):
        write(service, member, "after")
    assert [row.state for row in managed.rows()] == ["evicted"]


def test_what_was_written_down_by_a_join_without_a_daemon_is_the_same_row(
    managed: Managed, service: sa.Engine, daemon: Daemon
) -> None:
    daemon.is_away = True
    member = a_member(daemon, service)
    guard(service, member)
    member.join(wait_seconds=0, in_background=False)
    write(service, member, "inside")
    (row,) = managed.rows()
    assert (row.tag, row.sessions, row.news) == (tag_of(member), "tagged", True)


@on_servers
def test_looking_each_transaction_up_notices_an_eviction_on_a_pooled_connection(
    managed: Managed, service: sa.Engine, daemon: Daemon
) -> None:
    member = a_member(daemon)
    guard(service, member, check_each_transaction=True)
    member.join(in_background=False)
    write(service, member, "before")
    managed.evict(member)
    with pytest.raises(Evicted):
        write(service, member, "after")
    assert managed.things() == ["before"]


@on_servers
def test_prepared_transactions_are_refused(service: sa.Engine, member: Member) -> None:
    with member.transaction(), service.connect() as connection, pytest.raises(ClientError) as refused:
        connection.begin_twophase()
    assert refused.value.code == "twophase_refused"


@on_servers
def test_threads_share_an_engine(managed: Managed, service: sa.Engine, member: Member) -> None:
    wrong: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                write(service, member, f"{number}-{turn}")
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not wrong
    assert len(managed.things()) == 30
    assert len(managed.rows()) == 1


# -- sqlite: nobody can end a session, so each transaction looks -----------------------------------------------------


@pytest.fixture
def file_service(sqlite_url: str, open_database: Callable[[str, str], Database]) -> tuple[Managed, sa.Engine]:
    managed = Managed(open_database("file", sqlite_url))
    return managed, sa.create_engine(sqlite_url, connect_args={"timeout": 0.2})


@contextmanager
def joined(engine: sa.Engine, daemon: Daemon, name: str | None = None) -> Iterator[Member]:
    member = a_member(daemon, instance_id=name)
    guard(engine, member)
    member.join(in_background=False)
    yield member
    engine.dispose()


def by_default(engine: sa.Engine) -> None:
    """As the driver does it: it begins before the first statement that writes."""


def deferred(engine: sa.Engine) -> None:
    """The service begins by itself, and reads what it likes before it writes."""
    sa.event.listen(engine, "connect", lambda connection, record: setattr(connection, "isolation_level", None))
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))


def immediate(engine: sa.Engine) -> None:
    """The service takes the lock at once."""
    sa.event.listen(engine, "connect", lambda connection, record: setattr(connection, "isolation_level", None))
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))


@pytest.mark.parametrize("habit", [by_default, deferred, immediate])
def test_in_a_file_nothing_is_committed_after_the_eviction_was(
    file_service: tuple[Managed, sa.Engine], daemon: Daemon, habit: Callable[[sa.Engine], None]
) -> None:
    """Evicted between any two statements of a transaction: either that comes first, or the eviction waits."""
    managed, engine = file_service
    managed.database.engine.dispose()
    habit(engine)
    sa.event.listen(
        managed.database.engine, "connect", lambda connection, record: connection.execute("PRAGMA busy_timeout = 100")
    )
    statements: tuple[Callable[[sa.Connection], object], ...] = (
        lambda connection: connection.execute(sa.text("SELECT COUNT(*) FROM things")).all(),
        lambda connection: connection.execute(INSERT, {"name": "first"}),
        lambda connection: connection.execute(INSERT, {"name": "second"}),
    )
    for moment in range(len(statements) + 1):
        with managed.database.writing() as connection:
            for table in ("things", "orchestrator_instances"):
                connection.execute(sa.text(f"DELETE FROM {table}"))
        with joined(engine, daemon) as member:
            is_evicted = is_committed = False
            try:
                with member.transaction(), engine.connect() as connection:
                    for number, statement in enumerate((*statements, None)):
                        if number == moment:
                            is_evicted = evicted_now(managed, member)
                        if statement is not None:
                            statement(connection)
                    connection.commit()
                    is_committed = True
            except (LeaseLost, sa.exc.OperationalError):
                pass
            assert not (is_evicted and is_committed)
            assert is_committed or is_evicted, "one of them gets through"
            assert managed.things() == (["first", "second"] if is_committed else [])


def evicted_now(managed: Managed, member: Member) -> bool:
    """Whether the eviction was committed; else the file is locked."""
    try:
        managed.evict(member)
    except Unavailable:
        return False
    return True


def test_in_a_file_a_pooled_connection_finds_the_eviction(
    file_service: tuple[Managed, sa.Engine], daemon: Daemon
) -> None:
    managed, engine = file_service
    with joined(engine, daemon) as member:
        write(engine, member, "before")
        managed.evict(member)
        with pytest.raises(Evicted), member.transaction(), engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
        with pytest.raises(Evicted):
            write(engine, member, "after")
    assert managed.things() == ["before"]


def test_in_a_file_autocommit_is_refused(file_service: tuple[Managed, sa.Engine], daemon: Daemon) -> None:
    managed, engine = file_service
    with joined(engine, daemon) as member:
        loose = engine.execution_options(isolation_level="AUTOCOMMIT")
        with member.transaction(), loose.connect() as connection, pytest.raises(ClientError) as refused:
            connection.execute(INSERT, {"name": "loose"})
        assert refused.value.code == "autocommit_unguarded"
    assert managed.things() == []


@on_every_database
@pytest.mark.parametrize("how", ["statement", "commit"])
def test_a_transaction_that_goes_on_into_a_later_phase_is_refused(
    managed: Managed, service: sa.Engine, daemon: Daemon, member: Member, how: str
) -> None:
    with service.connect() as connection:
        with member.transaction():
            connection.execute(INSERT, {"name": "early"})
        with member.transaction():
            connection.execute(INSERT, {"name": "in the same phase"})
        daemon.stand_in.publish("new", "both")
        assert member.renew()
        with member.transaction() as behaviour, pytest.raises(ClientError) as refused:
            assert behaviour.reads == "new"
            if how == "statement":
                connection.execute(INSERT, {"name": "late"})
            else:
                connection.commit()
        assert refused.value.code == "transaction_straddles"
    assert managed.things() == []
    write(service, member, "later")
    assert managed.things() == ["later"]


# -- asyncio, and forks ----------------------------------------------------------------------------------------------


def test_an_async_engine_is_guarded_too(
    postgresql_url: str, open_database: Callable[[str, str], Database], daemon: Daemon
) -> None:
    managed = Managed(open_database("async", postgresql_url))

    async def work() -> None:
        engine = create_async_engine(managed.database.engine.url)
        member = a_member(daemon, instance_id="web-1")
        guard(engine, member)
        await asyncio.to_thread(member.join, in_background=False)

        async def add(name: str) -> None:
            async with member.transaction(), engine.begin() as connection:
                await connection.execute(INSERT, {"name": name})

        await asyncio.gather(*(add(f"task {number}") for number in range(4)))
        with pytest.raises(NotAMember):
            async with engine.begin() as connection:
                await connection.execute(INSERT, {"name": "outside"})
        async with member.transaction(), engine.connect() as connection:
            name = (await connection.execute(sa.text("SELECT current_setting('application_name')"))).scalar_one()
            assert name.endswith(tag_of(member)[:32])
        await engine.dispose()
        managed.evict(member)
        with pytest.raises(Evicted):
            await add("after")
        await asyncio.to_thread(member.leave)
        await engine.dispose()

    asyncio.run(work())
    assert managed.things() == [f"task {number}" for number in range(4)]


def test_an_async_service_lives_without_a_daemon(
    postgresql_url: str, open_database: Callable[[str, str], Database], daemon: Daemon
) -> None:
    managed = Managed(open_database("async", postgresql_url))
    daemon.is_away = True

    async def work() -> None:
        engine = create_async_engine(managed.database.engine.url)
        member = Member(
            "http://not.used", schema="inventory", fleet="inventory-api", release="2", transport=daemon.transport,
            copy=FenceTable(engine, schema="inventory"),
        )  # fmt: skip
        guard(engine, member)
        await asyncio.to_thread(member.join, wait_seconds=0, in_background=False)
        assert await asyncio.to_thread(member.renew)
        async with member.transaction(), engine.begin() as connection:
            await connection.execute(INSERT, {"name": "inside"})
        await engine.dispose()
        await asyncio.to_thread(member.leave)

    asyncio.run(work())
    assert managed.things() == ["inside"]
    assert [row.state for row in managed.rows()] == ["left"]


def test_a_forked_child_works_under_no_lease_but_its_own(
    postgresql_url: str, open_database: Callable[[str, str], Database], daemon: Daemon
) -> None:
    managed = Managed(open_database("forked", postgresql_url))
    engine = sa.create_engine(managed.database.engine.url)
    with joined(engine, daemon, "web-1") as member:
        write(engine, member, "parent, before")
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            said = "nothing"
            try:
                try:
                    with engine.connect():
                        said = "used its parent's lease"
                except NotAMember as refused:
                    said = refused.code
                own = a_member(daemon, instance_id="child")
                guard(engine, own)
                own.join(in_background=False)
                write(engine, own, "child")
                own.leave()
                said += ", worked under its own"
            finally:
                os.write(writing, said.encode())
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as told:
            assert told.read() == "forked, worked under its own"
        os.waitpid(child, 0)
        write(engine, member, "parent, after")
        assert {row.instance_id: row.state for row in managed.rows()} == {"web-1": "alive", "child": "left"}
    assert managed.things() == ["child", "parent, after", "parent, before"]
