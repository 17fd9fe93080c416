"""Leadership: one lease, an epoch that only grows, and nothing written under one that is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dialects import Database
from orchestrator.domain.records import Leadership
from orchestrator.ports import Store, Transaction
from orchestrator.services.leadership import Elections
from orchestrator.store import tables
from orchestrator.store.memory import _MemoryRows
from orchestrator.store.sql import SqlStore
from orchestrator.store.transaction import StoreTransaction
from tests.fakes import Clock
from tests.services.conftest import NewStore

T = TypeVar("T")
TTL_SECONDS = 10.0


class Interrupted:
    """A store whose transactions are interrupted between what they read and what they write of the leadership."""

    def __init__(self, run: Callable[[Callable[[Transaction], T]], T]) -> None:
        self._run = run
        self.meanwhile: list[Callable[[], object]] = []

    def run(self, work: Callable[[Transaction], T]) -> T:
        return cast(T, self._run(lambda tx: work(cast(Transaction, _Interrupted(tx, self.meanwhile)))))  # type: ignore[arg-type,return-value]

    read = run


class _Interrupted:
    def __init__(self, tx: Transaction, meanwhile: list[Callable[[], object]]) -> None:
        self._tx, self._meanwhile = tx, meanwhile

    def save_leadership(self, leadership: Leadership, *, expected: Leadership | None) -> bool:
        while self._meanwhile:
            self._meanwhile.pop()()
        return self._tx.save_leadership(leadership, expected=expected)

    def __getattr__(self, name: str) -> object:
        return getattr(self._tx, name)


def test_one_daemon_leads_until_its_lease_runs_out(new_store: NewStore, clock: Clock) -> None:
    store: Store = new_store()
    first, second = (
        Elections(store, "first", ttl_seconds=TTL_SECONDS),
        Elections(store, "second", ttl_seconds=TTL_SECONDS),
    )
    assert first.campaign() == 1
    assert second.campaign() is None
    clock.advance(9)
    assert first.campaign() == 1, "renewed, and the same epoch"
    clock.advance(9)
    assert second.campaign() is None
    clock.advance(2)
    assert second.campaign() == 2
    assert first.campaign() is None
    clock.advance(11)
    assert first.campaign() == 3, "never an epoch twice"


def test_who_resigns_is_followed_at_once(new_store: NewStore) -> None:
    store = new_store()
    first, second = (
        Elections(store, "first", ttl_seconds=TTL_SECONDS),
        Elections(store, "second", ttl_seconds=TTL_SECONDS),
    )
    first.campaign()
    second.resign()
    assert second.campaign() is None, "only the leader can resign"
    first.resign()
    assert second.campaign() == 2


@pytest.mark.parametrize("kind", ["postgresql", pytest.param("mysql", id="mariadb")])
def test_lease_that_was_renewed_since_it_was_looked_at_is_not_taken(
    kind: str, request: pytest.FixtureRequest, open_database: Callable[[str, str], Database], clock: Clock
) -> None:
    """Databases that let two of them look at the same time. SQLite does not, nor does the memory."""
    new_url: Callable[[], str] = request.getfixturevalue(f"new_{kind}_url")
    database = open_database("state", new_url())
    tables.metadata.create_all(database.engine)
    store = SqlStore(database, clock)
    interrupted = Interrupted(store.run)
    first = Elections(store, "first", ttl_seconds=TTL_SECONDS)
    second = Elections(cast(Store, interrupted), "second", ttl_seconds=TTL_SECONDS)
    assert first.campaign() == 1
    clock.advance(TTL_SECONDS + 1)
    interrupted.meanwhile.append(first.campaign)
    assert second.campaign() is None
    assert first.campaign() == 1
    clock.advance(TTL_SECONDS + 1)
    assert second.campaign() == 2


@st.composite
def _rounds(draw: st.DrawFn) -> list[tuple[float, int, list[int]]]:
    who = st.integers(0, 2)
    return draw(st.lists(st.tuples(st.sampled_from([0.0, 4.0, 11.0]), who, st.lists(who, max_size=2)), max_size=12))


@given(_rounds())
def test_nobody_leads_while_the_lease_of_another_holds(rounds: list[tuple[float, int, list[int]]]) -> None:
    """Whoever campaigns in the midst of whose campaign: a renewed lease holds, and no epoch has two holders."""
    clock = Clock()
    held: dict[int, float] = {}
    contents: dict[type, dict[tuple[object, ...], object]] = {}
    store = Interrupted(lambda work: work(StoreTransaction(_MemoryRows(contents, clock))))
    daemons = [Elections(cast(Store, store), str(name), ttl_seconds=TTL_SECONDS) for name in range(3)]
    holders: dict[int, int] = {}

    def campaign(who: int) -> None:
        epoch = daemons[who].campaign()
        if epoch is None:
            return
        for other, until in held.items():
            assert other == who or until <= clock(), f"{who} leads while the lease of {other} holds"
        held[who] = clock() + TTL_SECONDS
        assert holders.setdefault(epoch, who) == who

    for seconds, who, meanwhile in rounds:
        clock.advance(seconds)
        store.meanwhile += [lambda other=other: campaign(other) for other in meanwhile]  # type: ignore[misc]
        campaign(who)
        store.meanwhile.clear()
