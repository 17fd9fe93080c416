"""Daemons hold leases: nothing that one of them may still use is taken from our own tables."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.domain.daemons import Daemon, DaemonState, OwnTree
from orchestrator.domain.errors import Invalid, Never, NotFound
from orchestrator.ports import Store
from orchestrator.services.daemons import REMEMBERED_SECONDS, Daemons
from orchestrator.services.leadership import Elections
from tests.fakes import Clock
from tests.identities import identity
from tests.services.conftest import NewStore

TTL_SECONDS = 10.0
TREES = tuple(OwnTree)


@pytest.fixture
def store(new_store: NewStore) -> Store:
    return new_store()


def daemon(store: Store, name: str, *, knows: int = 1, host: str = "host", address: str = "") -> Daemons:
    return Daemons(store, identity(name, knows=knows, host=host, address=address), ttl_seconds=TTL_SECONDS)


def joined(store: Store, name: str, *, knows: int = 1, host: str = "host", address: str = "") -> Daemons:
    found = daemon(store, name, knows=knows, host=host, address=address)
    found.join()
    return found


def row(store: Store, name: str) -> Daemon:
    found = store.read(lambda tx: tx.daemon(name))
    assert found is not None
    return found


@pytest.mark.parametrize("tree", TREES)
def test_contract_waits_for_the_daemon_that_knows_no_more_than_the_release_before(store: Store, tree: OwnTree) -> None:
    old, new = joined(store, "old"), joined(store, "new", knows=2)
    assert not new.may_contract(tree, "2")
    (wait,) = new.waiting()
    assert wait.daemon.id == "old"
    assert "what release 2 of the state tables and release 2 of the bookkeeping tables removes is kept" in wait.sentence
    old.leave()
    assert new.may_contract(tree, "2")
    assert new.may_contract(tree, "2"), "repeatable"
    assert new.waiting() == ()
    events = store.read(lambda tx: tx.events(schema=None, after=-1, limit=10))
    assert [(event.action, event.subject) for event in events] == [("tables.contract", f"{tree.value}/2")]


def test_release_that_the_daemon_itself_does_not_know_is_no_reason_to_wait(store: Store) -> None:
    joined(store, "newest", knows=3)
    assert joined(store, "new", knows=2).may_contract(OwnTree.STATE, "2")


@pytest.mark.parametrize("tree", TREES)
def test_older_daemon_does_not_join_once_the_contract_may_run(store: Store, tree: OwnTree) -> None:
    new = joined(store, "new", knows=2)
    assert new.may_contract(tree, "2")
    late = daemon(store, "late")
    with pytest.raises(Never, match=r"release 2, which has removed what this version \(0\.1\.0\) uses") as refusal:
        late.join()
    assert refusal.value.code == "daemon_too_old"
    assert store.read(lambda tx: tx.daemon("late")) is None
    joined(store, "newer", knows=3)
    joined(store, "same", knows=2)


def test_contract_of_an_earlier_release_may_run_when_that_of_a_later_one_may(store: Store) -> None:
    newest = joined(store, "newest", knows=3)
    assert newest.may_contract(OwnTree.STATE, "3")
    assert newest.may_contract(OwnTree.STATE, "2")
    assert daemon(store, "same", knows=3).may_contract(OwnTree.STATE, "3"), "whoever asks"


def test_release_is_relied_on_when_every_daemon_knows_it_and_no_older_one_joins_then(store: Store) -> None:
    old, new = joined(store, "old"), joined(store, "new", knows=2)
    assert not new.may_rely_on(OwnTree.BOOKKEEPING, "2")
    old.leave()
    assert new.may_rely_on(OwnTree.BOOKKEEPING, "2")
    with pytest.raises(Never) as refusal:
        daemon(store, "late").join()
    assert refusal.value.code == "daemon_too_old"
    assert new.may_rely_on(OwnTree.BOOKKEEPING, "2")
    events = store.read(lambda tx: tx.events(schema=None, after=-1, limit=10))
    assert [(event.action, event.subject) for event in events] == [("tables.rely_on", "bookkeeping/2")]


def test_expiry_proves_nothing_and_eviction_does(store: Store, clock: Clock) -> None:
    joined(store, "old", host="burnt")
    new = joined(store, "new", knows=2)
    clock.advance(1000)
    new.renew()
    assert not new.may_contract(OwnTree.STATE, "2")
    (wait,) = new.waiting()
    assert wait.is_expired
    assert "stopped renewing 1000 s ago and may still be alive" in wait.sentence
    assert "orchestrator daemon evict old --attest-dead" in wait.remedy
    with pytest.raises(Invalid, match="vouches"):
        new.evict("old", actor="ada", reason="burnt", attested_dead=False)
    with pytest.raises(Invalid, match="reason"):
        new.evict("old", actor="ada", reason=" ", attested_dead=True)
    with pytest.raises(NotFound):
        new.evict("nobody", actor="ada", reason="burnt", attested_dead=True)
    assert new.evict("old", actor="ada", reason="burnt", attested_dead=True).state is DaemonState.EVICTED
    new.evict("old", actor="ada", reason="burnt", attested_dead=True)
    assert new.may_contract(OwnTree.STATE, "2")
    events = store.read(lambda tx: tx.events(schema=None, after=-1, limit=10))
    assert [(each.action, each.actor, each.reason) for each in events if each.action == "daemon.evict"] == [
        ("daemon.evict", "ada", "burnt")
    ]


def test_daemon_that_was_evicted_renews_no_more(store: Store) -> None:
    old = joined(store, "old")
    old.evict("old", actor="ada", reason="gone", attested_dead=True)
    with pytest.raises(Never, match="counted out by ada: gone") as refusal:
        old.renew()
    assert refusal.value.code == "daemon_evicted"
    with pytest.raises(Never):
        old.join()
    old.leave()
    assert row(store, "old").state is DaemonState.EVICTED


def test_leadership_ends_with_the_eviction_of_who_holds_it(store: Store) -> None:
    new = joined(store, "new")
    joined(store, "old")
    assert Elections(store, "old", ttl_seconds=TTL_SECONDS).campaign() == 1
    assert [(each.daemon.id, each.leads) for each in new.list()] == [("new", False), ("old", True)]
    new.evict("old", actor="ada", reason="gone", attested_dead=True)
    assert Elections(store, "new", ttl_seconds=TTL_SECONDS).campaign() == 2


def test_list_says_who_leads_and_since_when(store: Store, clock: Clock) -> None:
    first = joined(store, "first")
    clock.advance(1)
    joined(store, "second")
    elections = Elections(store, "first", ttl_seconds=TTL_SECONDS)
    elections.campaign()
    since = clock()
    clock.advance(3)
    elections.campaign()
    one, two = first.list()
    assert (one.daemon.id, one.leads, one.leads_since) == ("first", True, since)
    assert (two.daemon.id, two.leads, two.leads_since, two.is_expired) == ("second", False, None, False)
    clock.advance(100)
    assert [(each.leads, each.is_expired) for each in first.list()] == [(False, True), (False, True)]


def test_successor_at_the_same_place_proves_that_its_predecessor_ended(store: Store, clock: Clock) -> None:
    def at(name: str, place: str | None, *, knows: int = 1) -> Daemons:
        found = Daemons(
            store, identity(name, knows=knows, address="127.0.0.1:8776", place=place), ttl_seconds=TTL_SECONDS
        )
        found.join()
        return found

    at("killed", "place")
    at("container", "another place")
    at("no place", None)
    successor, nowhere = at("restarted", "place", knows=2), at("nowhere", None)
    assert row(store, "killed").is_possibly_alive, "two kernels may give equal names, and it renews"
    clock.advance(TTL_SECONDS + 11)
    nowhere.renew()
    assert row(store, "killed").is_possibly_alive
    successor.renew()
    ended = {name for name in ("killed", "container", "no place") if not row(store, name).is_possibly_alive}
    assert ended == {"killed"}, "equal hosts and addresses prove nothing"
    assert "daemon restarted is at its place" in (row(store, "killed").end_reason or "")


def test_lost_row_is_written_anew_unless_the_tables_were_contracted(store: Store) -> None:
    old = joined(store, "old")
    store.run(lambda tx: tx.forget_daemon("old"))
    old.renew()
    assert row(store, "old").is_possibly_alive
    store.run(lambda tx: tx.forget_daemon("old"))
    assert joined(store, "new", knows=2).may_contract(OwnTree.BOOKKEEPING, "2")
    with pytest.raises(Never):
        old.renew()


def test_lease_that_ran_out_is_extended_while_nobody_acted_on_it(store: Store, clock: Clock) -> None:
    old = joined(store, "old")
    clock.advance(1000)
    assert row(store, "old").is_expired(clock())
    old.renew()
    assert not row(store, "old").is_expired(clock())


def test_daemons_that_ended_long_ago_are_forgotten(store: Store, clock: Clock) -> None:
    joined(store, "old").leave()
    newer = joined(store, "newer")
    assert [each.daemon.id for each in newer.list()] == ["newer"]
    assert [each.daemon.id for each in newer.list(all_states=True)] == ["newer", "old"]
    clock.advance(REMEMBERED_SECONDS + 1)
    newest = joined(store, "newest")
    assert [each.daemon.id for each in newest.list(all_states=True)] == ["newer", "newest"]


def test_old_daemon_that_joins_while_a_contract_is_decided_comes_before_or_not_at_all(store: Store) -> None:
    """In whichever order the two come, an old daemon and the contract that it would not live with never go together."""
    for number in range(2, 14):
        new, old = joined(store, f"new-{number}", knows=number), daemon(store, f"old-{number}", knows=number - 1)
        together = threading.Barrier(2)

        def join(old: Daemons = old, together: threading.Barrier = together) -> bool:
            together.wait()
            try:
                old.join()
            except Never:
                return False
            return True

        with ThreadPoolExecutor(1) as pool:
            joining = pool.submit(join)
            together.wait()
            contracts = new.may_contract(OwnTree.STATE, str(number))
        assert joining.result() is not contracts
        old.leave()
        assert new.may_contract(OwnTree.STATE, str(number))
        new.leave()
