"""Instances that joined in a managed database while no daemon answered: counted before anything moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.domain.errors import Conflict, Never, NotFound, OrchestratorError, Unavailable
from orchestrator.domain.fleets import InstanceState, Registration, hashed
from orchestrator.domain.ladder import Phase
from tests.services.site import API, SCHEMA, Process, Site

EPOCH = "of its own making"


def refusal_of(kind: type[OrchestratorError], act: Callable[[], object]) -> str:
    with pytest.raises(kind) as refused:
        act()
    return refused.value.code


def wrote_itself_down(
    site: Site, name: str = "late", *, release: str = "1", database: str = "two", **changes: object
) -> Registration:
    """An instance that found no daemon and joined in a database, as of the copy that is there now."""
    copy = site.managed.on[database].copy
    acked = next((each.stance.publication for each in copy.admits if each.release == release), 0) if copy else 0
    registration = Registration(
        API, name, hashed(EPOCH), hashed(f"nonce-{name}"), release, "rack7", InstanceState.ALIVE, acked, 1.0
    )
    registration = replace(registration, **changes)  # type: ignore[arg-type]
    site.managed.write_down(database, registration)
    return registration


def test_databases_know_at_rest_whom_they_admit(stored_site: Site) -> None:
    stored_site.daemon().cycle()
    for database in stored_site.managed.on.values():
        assert database.copy is not None
        assert [(each.release, each.joins) for each in database.copy.admits] == [("1", True)]
        assert (database.copy.ttl_seconds, database.copy.renew_seconds) == (60.0, 20.0)


def test_databases_are_told_when_only_the_manifest_changed(site: Site) -> None:
    site.nobody_runs().begin().rest_at(Phase.EXPANDED)
    held = site.managed.on["one"].copy
    assert held is not None
    assert [(each.release, each.joins) for each in held.admits] == [("1", True), ("2", True)]
    site.managed.on["one"].copy = replace(held, admits=held.admits[:1])
    site.daemon().cycle()
    assert site.managed.on["one"].copy == held


def test_whoever_joined_without_a_daemon_is_counted_before_anything_moves(stored_site: Site) -> None:
    site = stored_site.nobody_runs().begin().rest_at(Phase.EXPANDED)
    wrote_itself_down(site)
    site.go_on()
    site.daemon().cycle()
    assert site.phase() is Phase.EXPANDED
    assert site.codes == ["instance_unsupported"]
    assert site.culprits == ["late on rack7"]
    (instance,) = site.leases.list(SCHEMA)
    assert (instance.fleet, instance.id, instance.release) == (API, "late", "1")
    assert site.managed.on["two"].news == set()
    assert site.actions().count("instance.import") == 1


def test_its_acks_count_and_so_does_that_it_left(stored_site: Site) -> None:
    site = stored_site.nobody_runs().begin().rest_at(Phase.EXPANDED)
    joined = wrote_itself_down(site, release="2")
    site.daemon().cycle()
    site.go_on()
    site.daemon().cycle()
    assert site.phase() is Phase.BACKFILL
    assert "instance_not_acked" in site.codes
    wrote_itself_down(site, release="2", acked=site.upgrade.publication, renewed_at=2.0)
    site.daemon().cycle()
    (instance,) = site.leases.list(SCHEMA)
    assert instance.acked == site.upgrade.publication
    assert "instance_not_acked" not in site.codes
    site.managed.write_down("two", replace(joined, state=InstanceState.LEFT, renewed_at=3.0))
    site.daemon().cycle()
    assert site.leases.list(SCHEMA) == ()


@pytest.mark.parametrize("verb", ["renew", "leave"])
def test_a_renewal_that_comes_before_the_leader_looked_is_not_refused(stored_site: Site, verb: str) -> None:
    site = stored_site
    site.daemon().cycle()
    wrote_itself_down(site)
    if verb == "renew":
        lease = site.leases.renew(SCHEMA, API, "late", epoch=EPOCH, ack=0)
        assert lease.instance.tag == hashed(EPOCH)
        assert [each.id for each in site.leases.list(SCHEMA)] == ["late"]
    else:
        site.leases.leave(SCHEMA, API, "late", epoch=EPOCH)
        assert site.leases.list(SCHEMA) == ()
        site.daemon().cycle()
        assert site.leases.list(SCHEMA) == ()


def test_nobody_is_told_that_it_is_unknown_while_a_database_cannot_be_read(stored_site: Site) -> None:
    site = stored_site
    site.daemon().cycle()
    wrote_itself_down(site)
    site.managed.on["two"].error = "gone away"

    def renew() -> object:
        return site.leases.renew(SCHEMA, API, "late", epoch=EPOCH, ack=None)

    assert refusal_of(Unavailable, renew) == "instance_not_imported"
    site.managed.on["two"].error = None
    renew()
    assert (
        refusal_of(NotFound, lambda: site.leases.renew(SCHEMA, API, "other", epoch=EPOCH, ack=None))
        == "instance_unknown"
    )


def test_an_ack_of_something_never_published_says_nothing(site: Site) -> None:
    wrote_itself_down(site, acked=99)
    site.daemon().cycle()
    (instance,) = site.leases.list(SCHEMA)
    assert instance.acked == 0


def test_a_registration_whose_answer_was_lost_goes_by_the_epoch_that_its_process_knows(stored_site: Site) -> None:
    """The daemon admitted it, nobody heard that, and it joined in a database: one process, one instance."""
    site = stored_site
    lost = Process(site, "late", "1").lease
    wrote_itself_down(site)
    site.leases.renew(SCHEMA, API, "late", epoch=EPOCH, ack=None)
    assert len(site.leases.list(SCHEMA)) == 1
    repeated = lambda: site.leases.join(SCHEMA, API, instance_id="late", nonce="nonce-late", release="1")  # noqa: E731
    assert refusal_of(Conflict, repeated) == "instance_id_taken"
    assert (
        refusal_of(Conflict, lambda: site.leases.renew(SCHEMA, API, "late", epoch=lost.epoch, ack=None))
        == "epoch_foreign"
    )


def test_a_second_process_of_an_id_holds_everything_up_until_it_is_evicted(site: Site) -> None:
    site.nobody_runs().begin().rest_at(Phase.EXPANDED)
    Process(site, "late", "2")
    wrote_itself_down(site, release="2", nonce=hashed("another"))
    site.go_on()
    site.daemon().cycle()
    assert site.phase() is Phase.EXPANDED
    assert site.codes == ["instance_not_imported"]


@pytest.mark.parametrize("odd", [{"name": "x\n\x1b[2J"}, {"fleet": "api\x07"}, {"name": "i" * 256}, {"name": ""}])
def test_one_that_no_command_could_name_blocks_until_its_row_is_deleted(site: Site, odd: dict[str, str]) -> None:
    """Nobody could evict it, so it is not part of the state."""
    site.nobody_runs().begin().rest_at(Phase.EXPANDED)
    wrote_itself_down(site, **odd)
    site.go_on()
    site.daemon().cycle()
    assert site.phase() is Phase.EXPANDED
    assert site.codes == ["instance_not_imported"]
    assert site.leases.list(SCHEMA) == ()
    (blocker,) = site.board.plan(SCHEMA).status.blockers
    assert "delete its row from orchestrator_instances" in blocker.remedy
    assert "\x1b" not in blocker.sentence
    site.managed.on["two"].news.clear()
    site.daemon().cycle()
    assert site.phase() is Phase.BACKFILL


def test_an_evicted_instance_is_not_revived_by_what_it_wrote(site: Site) -> None:
    process = Process(site, "late", "1")
    site.leases.evict(SCHEMA, API, "late", actor="ann", reason="its host burned down", attested_dead=True)
    wrote_itself_down(site, tag=hashed(process.lease.epoch))
    site.daemon().cycle()
    assert site.leases.list(SCHEMA) == ()
    assert (
        refusal_of(Never, lambda: site.leases.renew(SCHEMA, API, "late", epoch=process.lease.epoch, ack=None))
        == "instance_evicted"
    )


@pytest.mark.parametrize("processes", [1, 3])
def test_what_was_proven_counts_no_more_when_code_wrote_that_may_not_run(site: Site, processes: int) -> None:
    """A database that was put back to an older state admits by it until the leader has looked."""
    site.nobody_runs().begin().rest_at(Phase.READ_NEW)
    for number in range(processes):
        wrote_itself_down(site, f"late-{number}", tag=hashed(f"{EPOCH} {number}"))
    site.daemon().cycle()
    assert len(site.leases.list(SCHEMA)) == processes
    assert site.upgrade.doubt is not None and "inventory-api" in site.upgrade.doubt


def test_who_was_forgotten_gets_no_lease_where_its_release_cannot_live_any_more(stored_site: Site) -> None:
    site = stored_site.nobody_runs().begin().rest_at(Phase.BACKFILL)
    forgotten = wrote_itself_down(site, acked=1)
    site.managed.on["two"].news.clear()
    with pytest.raises(NotFound, match="forgotten") as refused:
        site.leases.renew(SCHEMA, API, forgotten.id, epoch=EPOCH, ack=None)
    assert refused.value.code == "instance_unknown"
    assert site.leases.list(SCHEMA) == ()
    alive = wrote_itself_down(site, "young", release="2")
    site.managed.on["two"].news.clear()
    assert site.leases.renew(SCHEMA, API, alive.id, epoch=EPOCH, ack=None).instance.release == "2"
