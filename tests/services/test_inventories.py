"""Inventory sources in an upgrade: asked with each look, kept with the reading, counted before every move."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.inventories import GOOD_FOR_SECONDS, REMEMBERED_SECONDS, Inventory, Sighting
from orchestrator.domain.ladder import Phase
from orchestrator.ports import ManagedSchema
from orchestrator.services.context import latest_readings
from tests.fakes import Clock
from tests.services.conftest import MakeSite
from tests.services.site import API, SCHEMA, WORKER, Process, Site

SOURCE = f"[inventory:{SCHEMA}:{WORKER}]"


def lists(site: Site, *sightings: Sighting, database: str = "one", error: str | None = None) -> None:
    """From now on the source of that database lists these."""
    found = Inventory(WORKER, SOURCE, sightings, error=error, max_age_seconds=60.0)
    site.managed.on[database].inventories = (found,)


def asked(site: Site) -> int:
    """How often sources were asked."""
    return sum(call[0] == "inventories" for call in site.managed.calls)


def stored(site: Site) -> tuple[Inventory, ...]:
    """What the state keeps of the first database's sources."""
    managed: ManagedSchema = site.managed
    return site.store.read(lambda tx: latest_readings(tx, managed))[0].inventories


def sourced(make_site: MakeSite, *sightings: Sighting) -> Site:
    """A site whose workers are known by a source only, and of whose API nothing runs; its upgrade has begun."""
    site: Site = make_site(databases=("one", "two")).nobody_runs(API)
    lists(site, *sightings)
    return site.begin()


def test_what_was_listed_is_kept_with_the_time_of_the_state(make_stored_site: MakeSite, clock: Clock) -> None:
    site = sourced(make_stored_site, Sighting("w1", "1", 3.5), Sighting("w2", "2", None, is_down=True))
    daemon = site.daemon()
    daemon.cycle()
    (found,) = stored(site)
    assert found.observed_at == clock.now
    assert found.sightings == (Sighting("w1", "1", 3.5), Sighting("w2", "2", None, is_down=True))


def test_upgrade_goes_on_as_the_fleet_is_rolled(make_site: MakeSite, clock: Clock) -> None:
    site = sourced(make_site, Sighting("w1", "1", 1))
    daemon = site.daemon()
    daemon.work()
    assert site.phase() is Phase.EXPANDED
    assert (site.codes, site.culprits) == (["instance_seen_unsupported"], ["w1 in one"])

    lists(site, Sighting("w1", "2", 1))
    clock.advance(REMEMBERED_SECONDS)
    daemon.work()
    assert site.codes == ["lease_required"]

    process = Process(site, "w1", "2", fleet=WORKER)
    daemon.work()
    assert site.phase() is Phase.BACKFILL
    process.follow()
    daemon.work()
    assert site.phase() is Phase.READ_NEW


def test_nobody_is_known_by_a_source_that_lists_nobody(make_site: MakeSite) -> None:
    site = sourced(make_site)
    site.daemon().work()
    assert site.codes == ["fleet_unknown"]
    site.nobody_runs(WORKER)
    site.daemon().work()
    assert site.phase() > Phase.BASE


def test_source_that_cannot_be_read_stops_the_upgrade(make_site: MakeSite, clock: Clock) -> None:
    site = sourced(make_site, Sighting("w1", "1"))
    daemon = site.daemon()
    lists(site, Sighting("w1", "1"), error="no such table: services")
    daemon.work()
    assert (site.phase(), site.codes) == (Phase.BASE, ["inventory_unreadable"])
    lists(site, Sighting("w1", "1"))
    clock.advance(REMEMBERED_SECONDS)
    daemon.work()
    assert site.phase() is Phase.EXPANDED


def test_a_database_that_does_not_answer_is_named_and_not_its_fleet(make_site: MakeSite) -> None:
    site = sourced(make_site, Sighting("w1", "1"))
    site.managed.on["one"].error = "connection refused"
    site.daemon().work()
    assert site.codes == ["database_unreachable"]


def test_sources_are_remembered_for_a_while(make_site: MakeSite, clock: Clock) -> None:
    site = sourced(make_site, Sighting("w1", "1"))
    daemon = site.daemon()
    daemon.work()
    before = asked(site)
    daemon.cycle()
    clock.advance(REMEMBERED_SECONDS / 2)
    daemon.cycle()
    assert asked(site) == before
    clock.advance(REMEMBERED_SECONDS / 2)
    daemon.cycle()
    assert asked(site) == before + len(site.managed.databases)


def test_sources_are_asked_again_after_the_clock_was_set_back(make_site: MakeSite, clock: Clock) -> None:
    site = sourced(make_site, Sighting("w1", "1"))
    daemon = site.daemon()
    daemon.work()
    before = asked(site)
    clock.advance(-1)
    daemon.cycle()
    assert asked(site) > before


def test_a_move_is_validated_with_what_sources_list_then(make_site: MakeSite) -> None:
    """An old process starts after the look that lets the fence be set."""
    site = sourced(make_site, Sighting("w1", "1", is_down=True)).rest_at(Phase.EXPANDED).go_on()

    def start_old_one(number: int) -> None:
        if site.upgrade.fence is Phase.BACKFILL:
            lists(site, Sighting("w1", "1", 0.1))

    site.daemon("second", start_old_one).work()
    assert site.phase() is Phase.EXPANDED
    assert site.codes == ["instance_seen_unsupported"]


def test_old_instance_seen_while_rows_move_makes_the_proof_doubtful_once(
    make_stored_site: MakeSite, clock: Clock
) -> None:
    site = sourced(make_stored_site, Sighting("w1", "1", is_down=True)).rest_at(Phase.BACKFILL)
    clock.advance(REMEMBERED_SECONDS)
    lists(site, Sighting("w1", "1", 1))
    daemon = site.daemon()
    daemon.work()
    assert site.upgrade.doubt == f"instance w1 in one of fleet {WORKER} was seen to run 1 in backfill"
    assert site.actions().count("upgrade.doubt") == 1
    lists(site, Sighting("w1", "1", is_down=True))
    clock.advance(REMEMBERED_SECONDS)
    site.go_on()
    daemon.work()
    assert (site.phase(), site.codes) == (Phase.BACKFILL, ["proof_doubtful"])
    assert site.actions().count("upgrade.doubt") == 1
    site.upgrades.rollback(SCHEMA, Phase.EXPANDED, actor="test", reason="it wrote")
    daemon.work()
    site.upgrades.resume(SCHEMA, actor="test", reason=None)
    daemon.work()
    assert site.phase() is Phase.CONTRACTED


def test_facts_that_nobody_renews_tell_nothing_any_more(make_site: MakeSite, clock: Clock) -> None:
    site = sourced(make_site, Sighting("w1", "1"))
    site.daemon().work()
    assert site.codes == ["instance_seen_unsupported"]
    clock.advance(GOOD_FOR_SECONDS + 1)
    assert "inventory_stale" in site.codes


def test_evicted_instance_that_is_seen_again_stops_the_upgrade(make_site: MakeSite, clock: Clock) -> None:
    site = sourced(make_site, Sighting("w1", "1", 1))
    process = Process(site, "w1", "1", fleet=WORKER)
    site.leases.evict(SCHEMA, WORKER, "w1", actor="alice", reason="host burnt down", attested_dead=True)
    assert not process.instance.is_possibly_alive
    lists(site, Sighting("w1", "1", 120))
    daemon = site.daemon()
    clock.advance(60)
    daemon.work()
    assert (site.phase(), site.codes) == (Phase.CONTRACTED, [])


def test_it_closes_the_way_until_it_is_marked_as_down(make_site: MakeSite, clock: Clock) -> None:
    site = sourced(make_site, Sighting("w1", "1", 1))
    Process(site, "w1", "1", fleet=WORKER)
    site.leases.evict(SCHEMA, WORKER, "w1", actor="alice", reason="host burnt down", attested_dead=True)
    clock.advance(60)
    daemon = site.daemon()
    daemon.work()
    assert (site.phase(), site.codes, site.culprits) == (Phase.BASE, ["instance_seen_again"], ["w1 in one"])
    lists(site, replace(Sighting("w1", "1", 1), is_down=True))
    clock.advance(REMEMBERED_SECONDS)
    daemon.work()
    assert site.phase() is Phase.CONTRACTED
