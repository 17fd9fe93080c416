"""Contract is refused while one row, one instance or one fleet is not accounted for, and the plan names it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import MigrationFacts, MigrationState
from tests.services.conftest import MakeSite
from tests.services.site import API, SCHEMA, Process, Site


def before_contract(make_site: MakeSite) -> tuple[Site, Process]:
    """At write_new, with one instance that follows and one that is about to go stale."""
    site: Site = make_site(databases=("one", "two")).nobody_runs().begin().rest_at(Phase.WRITE_NEW)
    process = Process(site, "web-1", "2")
    site.go_on()
    return site, process


def to_the_end(site: Site, process: Process) -> None:
    """Sealed, drained into that, contracted."""
    daemon = site.daemon()
    daemon.work()
    assert site.phase() is Phase.SEALED
    process.follow()
    daemon.work()
    assert site.release == "2"


def assert_refused(site: Site, code: str, culprit: str) -> None:
    """Refused, named by the plan, and nothing was removed anywhere."""
    site.daemon("elevator").work()
    assert (site.phase(), site.upgrade.fence) == (Phase.WRITE_NEW, Phase.WRITE_NEW)
    blockers = site.board.plan(SCHEMA).status.blockers
    assert [(each.code, each.culprits) for each in blockers] == [(code, (culprit,))]
    assert blockers[0].remedy
    assert [database.contracted_to for database in site.managed.on.values()] == ["1", "1"]


def test_with_everything_accounted_for_it_goes_through(make_stored_site: MakeSite) -> None:
    site, process = before_contract(make_stored_site)
    to_the_end(site, process)


@pytest.mark.parametrize("state", [MigrationState.RUNNING, MigrationState.VERIFYING])
def test_one_unmigrated_row(make_stored_site: MakeSite, state: MigrationState) -> None:
    site, process = before_contract(make_stored_site)
    proven = site.managed.on["two"].migrations["split_name"]
    unmigrated = MigrationFacts("split_name", state, rows_done=99, rows_total=100)
    site.managed.on["two"].migrations["split_name"] = unmigrated
    assert_refused(site, "data_migration_running", "two/split_name")
    site.managed.on["two"].migrations["split_name"] = proven
    to_the_end(site, process)


def test_one_instance_that_stopped_answering(make_stored_site: MakeSite) -> None:
    """It joined at write_new, so it acked that; a publication later it is stale."""
    site = make_stored_site(databases=("one", "two")).nobody_runs().begin().rest_at(Phase.READ_NEW)
    Process(site, "web-1", "2")
    site.go_on().daemon().work()
    assert site.phase() is Phase.WRITE_NEW
    assert_refused(site, "instance_not_acked", "web-1")
    site.clock.advance(3600)
    assert_refused(site, "instance_expired", "web-1")
    site.leases.evict(SCHEMA, API, "web-1", actor="alice", reason="the host burnt", attested_dead=True)
    site.daemon().work()
    assert site.release == "2"


def test_one_fleet_of_which_nothing_was_reported(make_site: MakeSite) -> None:
    """It is in the manifest from the start, so already backfill is not entered; here somebody's table lost it."""
    site, process = before_contract(make_site)
    first, second, third = site.managed.releases.ordered
    known = site.managed.releases
    site.managed._releases = replace(known, ordered=(first, replace(second, fleets=(*second.fleets, "mailer")), third))
    upgrade = site.upgrade
    recorded = replace(upgrade, manifest=site.managed.releases["2"].recorded(), revision=upgrade.revision + 1)
    site.store.run(lambda tx: tx.save_upgrade(recorded, expected_revision=upgrade.revision))
    assert_refused(site, "fleet_unknown", "mailer")
    site.leases.report(SCHEMA, "mailer", release="2", instances=0, actor="test", reason=None)
    to_the_end(site, process)
