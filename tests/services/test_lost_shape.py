"""The new shape is dropped by hand and made anew: rows that had been moved into it are moved and proven once more."""

from __future__ import annotations

import pytest

from orchestrator.domain.ladder import Phase
from tests.fakes import FLEETS
from tests.services.conftest import MakeSite
from tests.services.site import SCHEMA, Site


def begun(make_site: MakeSite) -> Site:
    """A site of whose fleets nothing runs; its upgrade has begun."""
    return make_site(databases=("main", "cell")).nobody_runs(*FLEETS).begin()


@pytest.mark.parametrize("phase", [Phase.BACKFILL, Phase.READ_NEW])
def test_the_proof_is_withdrawn_once_and_counts_no_more(make_stored_site: MakeSite, phase: Phase) -> None:
    site = begun(make_stored_site).rest_at(phase)
    daemon = site.daemon()
    daemon.work()
    main = site.managed.on["main"]
    main.expanded_to = None
    daemon.work()
    daemon.work()
    assert site.actions().count("upgrade.doubt") == 1
    assert "database main lacked" in (site.upgrade.doubt or "")

    main.expanded_to = "2"
    site.go_on()
    daemon.work()
    assert (site.phase(), site.codes) == (phase, ["proof_doubtful"])

    site.upgrades.rollback(SCHEMA, Phase.EXPANDED, actor="test", reason="the shape was lost")
    daemon.work()
    assert (site.phase(), site.upgrade.doubt) == (Phase.EXPANDED, None)
    site.upgrades.resume(SCHEMA, actor="test", reason=None)
    daemon.work()
    assert site.phase() is Phase.CONTRACTED
    assert site.actions().count("upgrade.doubt") == 1


def test_a_database_that_is_away_withdraws_nothing(make_stored_site: MakeSite) -> None:
    site = begun(make_stored_site).rest_at(Phase.BACKFILL)
    daemon = site.daemon()
    daemon.work()
    main = site.managed.on["main"]
    main.error, main.expanded_to = "it is away", None
    daemon.cycle()
    main.error, main.expanded_to = None, "2"
    daemon.work()
    assert "upgrade.doubt" not in site.actions()


def test_on_the_way_to_where_rows_are_moved_again_nothing_is_withdrawn(make_stored_site: MakeSite) -> None:
    site = begun(make_stored_site).rest_at(Phase.BACKFILL)
    daemon = site.daemon()
    daemon.work()
    site.upgrades.rollback(SCHEMA, Phase.BASE, actor="test", reason="no more")
    site.managed.on["main"].expanded_to = None
    daemon.work()
    assert site.phase() is Phase.BASE
    assert "upgrade.doubt" not in site.actions()
