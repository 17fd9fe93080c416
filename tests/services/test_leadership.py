"""Leadership: one lease, an epoch that only grows, and nothing written under one that is over."""

from __future__ import annotations

from orchestrator.ports import Store
from orchestrator.services.leadership import Elections
from tests.fakes import Clock
from tests.services.conftest import NewStore

TTL_SECONDS = 10.0


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
