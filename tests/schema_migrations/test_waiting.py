"""Waiting for locks: who is in the way is told while it lasts, and ended only where the site asks for it."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, OrchestratorError, StepFailed
from orchestrator.schema_migrations import waiting
from orchestrator.schema_migrations.waiting import Patience, Waiting
from tests.waiting_rooms import Room, waiting_room

SHORT = Patience(lock_seconds=1, attempts=2, first_pause_seconds=0.01)


@pytest.fixture(params=["postgresql", pytest.param("mysql", id="mariadb")])
def room(request: pytest.FixtureRequest, open_database: Callable[[str, str], Database]) -> Iterator[Room]:
    """A table t on a server, and another user who may use it."""
    ours = open_database("main", request.getfixturevalue(f"{request.param}_url"))
    url = ours.engine.url
    others = open_database("main", url.set(username=f"other_{url.database}").render_as_string(hide_password=False))
    with waiting_room(ours, others) as made:
        yield made


@dataclass
class Watch:
    """Keeps what it is told, and lets a test act on it."""

    told: list[OrchestratorError] = field(default_factory=list)
    done: list[tuple[str, str]] = field(default_factory=list)
    when_waiting: Callable[[], None] = lambda: None
    refuses: bool = False

    def waits(self, why: OrchestratorError) -> None:
        self.told.append(why)
        self.when_waiting()

    def interferes(self, action: str, sentence: str) -> None:
        if self.refuses:
            raise Conflict("not_leader", "another daemon leads by now", remedy="")
        self.done.append((action, sentence))


def alter(room: Room, watch: Watch, patience: Patience = SHORT) -> None:
    """What a revision does: it waits for its table, and gives up after a while."""

    def failure(error: Exception) -> OrchestratorError:
        raise error

    def work() -> None:
        with connection.begin():
            room.ours.dialect.lock_timeout(connection, patience.lock_seconds)
            connection.exec_driver_sql("ALTER TABLE t ADD COLUMN more INTEGER")

    with room.ours.dialect.schema_connection(room.ours.engine) as connection:
        if room.ours.dialect.name == "sqlite":  # where beginning is what waits
            connection.connection.cursor().execute("PRAGMA busy_timeout = 10")
        Waiting(patience, sleep=lambda seconds: None, chance=random.random).persevere(
            work,
            database=room.ours,
            connection=connection,
            revision="e2",
            tables=lambda: ["t"],
            failure=failure,
            watch=watch,
        )


def is_altered(room: Room) -> bool:
    return "more" in {column["name"] for column in sa.inspect(room.ours.engine).get_columns("t")}


def test_who_is_in_the_way_is_told_before_the_step_gives_up(room: Room) -> None:
    watch = Watch()
    with room.idle_session() as session:
        watch.when_waiting = session.rollback
        alter(room, watch, Patience(lock_seconds=60, attempts=1))
    assert is_altered(room)
    (told,) = watch.told
    assert told.code == "lock_wait"
    assert told.message.startswith(
        f"revision e2 waits for its locks: session {session.number} idle in transaction for "
    )
    assert told.remedy == f"To end it, in database main: {room.end(session.number)} It tries again by itself."
    assert watch.done == []


def test_who_was_in_the_way_is_told_when_it_gives_up(room: Room) -> None:
    with room.idle_session() as session, pytest.raises(StepFailed) as failed:
        alter(room, Watch())
    assert failed.value.code == "lock_timeout"
    assert failed.value.message.startswith(
        f"lock timeout in revision e2, in 2 attempts: session {session.number} idle in transaction for "
    )
    assert failed.value.remedy == f"To end it, in database main: {room.end(session.number)} Or wait for a quieter time."


def test_same_is_not_told_again_and_again(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.01)
    watch = Watch()
    with room.idle_session(), pytest.raises(StepFailed):
        alter(room, watch)
    assert len(watch.told) == 1


def test_idle_blocker_is_ended_where_the_site_asks_for_it_and_put_on_record_first(room: Room) -> None:
    watch = Watch()
    with room.idle_session() as session:
        alter(room, watch, Patience(lock_seconds=60, end_idle_blockers_after_seconds=0))
    assert is_altered(room)
    ((action, sentence),) = watch.done
    assert action == "session.end"
    assert sentence.startswith(f"main: ends session {session.number} idle in transaction for ")
    assert sentence.endswith(", which keeps revision e2 waiting")


def test_blocker_that_has_not_idled_for_long_enough_stays(room: Room) -> None:
    watch = Watch()
    with room.idle_session() as session:
        with pytest.raises(StepFailed):
            alter(room, watch, Patience(lock_seconds=1, attempts=1, end_idle_blockers_after_seconds=3600))
        assert session.is_alive()
    assert watch.done == []


def test_own_session_is_never_ended(room: Room) -> None:
    watch = Watch()
    with room.idle_session(room.ours) as session:
        with pytest.raises(StepFailed):
            alter(room, watch, Patience(lock_seconds=1, attempts=1, end_idle_blockers_after_seconds=0))
        assert session.is_alive()
    assert watch.done == []


def test_session_that_works_is_never_ended(room: Room) -> None:
    watch = Watch()
    done: list[list[tuple[str, str]]] = []
    with room.busy_session() as session:

        def finish() -> None:
            done.append(watch.done[:])  # once its statement has ended it idles, until it lets go
            session.finish()

        watch.when_waiting = finish
        alter(room, watch, Patience(lock_seconds=60, end_idle_blockers_after_seconds=0))
    assert "running a statement" in watch.told[0].message
    assert done[0] == []


def test_daemon_that_leads_no_more_ends_nobody(room: Room) -> None:
    with room.idle_session() as session:
        with pytest.raises(StepFailed):
            alter(room, Watch(refuses=True), Patience(lock_seconds=1, attempts=1, end_idle_blockers_after_seconds=0))
        assert session.is_alive()


def test_missing_privilege_is_told(room: Room) -> None:
    """The table is another user's too, who may look and not end."""
    watch = Watch()
    watcher = Room(ours=room.others_who_may_look(), others=room.ours)
    with watcher.idle_session(room.ours) as session:
        with pytest.raises(StepFailed) as failed:
            alter(watcher, watch, Patience(lock_seconds=1, attempts=1, end_idle_blockers_after_seconds=0))
        assert session.is_alive()
    assert [action for action, _ in watch.done] == ["session.end", "session.stays"]
    assert "which stays: " in failed.value.message
    assert "may not end it" in failed.value.message
    assert "To let it: GRANT " in failed.value.remedy


def test_sqlite_cannot_tell_who(sqlite_url: str, open_database: Callable[[str, str], Database]) -> None:
    database = open_database("main", sqlite_url)
    with database.writing() as connection:
        connection.execute(sa.text("CREATE TABLE t (id INTEGER PRIMARY KEY)"))
    room, watch = Room(ours=database, others=database), Watch()
    with database.writing() as writer, pytest.raises(StepFailed) as failed:
        writer.execute(sa.text("INSERT INTO t VALUES (1)"))
        alter(room, watch, Patience(lock_seconds=0.01, attempts=2, end_idle_blockers_after_seconds=0))
    file = database.engine.url.database
    assert (
        f"another process has the file {file} open and writes in it; SQLite cannot tell which" in failed.value.message
    )
    assert f"fuser -v {file}" in failed.value.remedy
    assert len(watch.told) == 1
    assert watch.done == []
