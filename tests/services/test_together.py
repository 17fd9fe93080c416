"""Several joins in one commit: each is answered as if it were alone."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.domain.errors import OrchestratorError
from orchestrator.ports import Transaction
from orchestrator.services.leases import Lease
from orchestrator.services.together import run_together
from tests.services.conftest import MakeSite
from tests.services.site import API, SCHEMA, Site


def joining(site: Site, name: str, release: str = "1", nonce: str = "nonce") -> Callable[[Transaction], Lease]:
    return site.leases.joining(SCHEMA, API, instance_id=name, nonce=nonce, release=release)


def said(outcome: Lease | OrchestratorError) -> str:
    return outcome.code if isinstance(outcome, OrchestratorError) else outcome.instance.id


def test_all_join(make_stored_site: MakeSite) -> None:
    site = make_stored_site()
    outcomes = run_together(site.store, [joining(site, f"a{number}") for number in range(20)])
    assert [said(each) for each in outcomes] == [f"a{number}" for number in range(20)]
    assert len(site.leases.list(SCHEMA, API)) == 20


def test_one_that_is_refused_changes_nothing_for_the_others(make_stored_site: MakeSite) -> None:
    site = make_stored_site()
    works = [joining(site, "a1"), joining(site, "a2", "3"), joining(site, "a3"), joining(site, "a4", "9")]
    outcomes = run_together(site.store, works)
    assert [said(each) for each in outcomes] == ["a1", "release_too_new", "a3", "release_unknown"]
    assert [each.id for each in site.leases.list(SCHEMA, API)] == ["a1", "a3"]


def test_what_a_refused_one_had_written_is_not_committed(make_stored_site: MakeSite) -> None:
    site = make_stored_site()

    def writes_first(tx: Transaction) -> Lease:
        joining(site, "never")(tx)
        return joining(site, "a2", "3")(tx)

    outcomes = run_together(site.store, [writes_first, joining(site, "a1")])
    assert [said(each) for each in outcomes] == ["release_too_new", "a1"]
    assert [each.id for each in site.leases.list(SCHEMA, API)] == ["a1"]


def test_an_id_used_twice_at_once_is_one_process(site: Site) -> None:
    outcomes = run_together(site.store, [joining(site, "a1"), joining(site, "a1"), joining(site, "a1", nonce="other")])
    assert sorted(said(each) for each in outcomes) == ["a1", "a1", "instance_id_taken"]


def test_nothing_to_do_is_no_transaction(site: Site) -> None:
    assert run_together(site.store, []) == ()
