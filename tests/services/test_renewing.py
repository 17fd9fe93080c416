"""Many renewals at once: each is answered as if it were alone, and what is plain takes one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.admission import Standing
from orchestrator.domain.errors import OrchestratorError, Unavailable
from orchestrator.domain.fleets import EXPIRY_MARGIN_SECONDS, Instance
from orchestrator.domain.losses import Follows
from orchestrator.ports import Transaction
from orchestrator.services.context import Context
from orchestrator.services.leases import Lease, Leases
from orchestrator.services.renewing import Outcome, Renewal, Renewing
from tests.fakes import Clock
from tests.services.conftest import MakeSite
from tests.services.site import API, SCHEMA, WORKER, Process, Site


class Counting:
    """A store that counts transactions that write."""

    def __init__(self, site: Site) -> None:
        self._store, self.runs = site.store, 0

    def run(self, work: Callable[[Transaction], object]) -> object:
        self.runs += 1
        return self._store.run(work)

    def read(self, work: Callable[[Transaction], object]) -> object:
        return self._store.read(work)


def renewing(site: Site, store: object | None = None) -> Renewing:
    context = site.context if store is None else replace(site.context, store=store)  # type: ignore[arg-type]
    return Renewing(context, Leases(context))


def all_renewed(desk: Renewing, asked: Sequence[Renewal]) -> tuple[Outcome, ...]:
    """As a daemon does it: together, and then alone whoever is left."""
    leases = desk.together(asked)
    return tuple(desk.alone(each) if lease is None else lease for each, lease in zip(asked, leases, strict=True))


def ask(process: Process, ack: int | None = None, **changes: object) -> Renewal:
    lease = process.lease
    asked = Renewal(SCHEMA, process.fleet, process.name, lease.epoch, ack)
    return replace(asked, **changes)  # type: ignore[arg-type]


def processes(site: Site, *names: str, release: str = "1") -> list[Process]:
    return [Process(site, name, release, fleet=WORKER if name.startswith("w") else API) for name in names]


def code(outcome: Outcome) -> str:
    return outcome.code if isinstance(outcome, OrchestratorError) else "ok"


def test_all_are_extended_and_told_the_same_as_alone(make_stored_site: MakeSite, clock: Clock) -> None:
    site = make_stored_site()
    members = processes(site, "a1", "a2", "w1")
    begun = site.begin().upgrade.publication
    clock.advance(20)
    found = all_renewed(renewing(site), [ask(each, begun) for each in members])
    for process, outcome in zip(members, found, strict=True):
        assert isinstance(outcome, Lease)
        stored = process.instance
        assert outcome.instance == stored
        assert (stored.acked, stored.renewed_at, stored.expires_at) == (begun, clock.now, clock.now + 60)
        assert outcome.stance == process.hear().stance
        assert outcome.epoch == process.lease.epoch


def test_they_take_one_transaction(site: Site) -> None:
    members = processes(site, *(f"a{number}" for number in range(50)), *(f"w{number}" for number in range(50)))
    store = Counting(site)
    found = all_renewed(renewing(site, store), [ask(each) for each in members])
    assert {code(each) for each in found} == {"ok"}
    assert store.runs == 1


def test_one_that_is_refused_changes_nothing_for_the_others(make_stored_site: MakeSite, clock: Clock) -> None:
    site = make_stored_site()
    good, foreign, evicted, left, ahead = processes(site, "good", "foreign", "evicted", "left", "ahead")
    site.leases.evict(SCHEMA, API, "evicted", actor="alice", reason="gone", attested_dead=True)
    left.leave()
    clock.advance(20)
    found = all_renewed(
        renewing(site),
        [
            ask(foreign, epoch="another"),
            ask(evicted),
            ask(left),
            ask(ahead, 10**6),
            ask(good, instance_id="nobody"),
            ask(good, schema="nothing"),
            ask(good),
        ],
    )
    assert [code(each) for each in found] == [
        "epoch_foreign", "instance_evicted", "instance_left", "ack_unpublished", "instance_unknown", "schema_unknown",
        "ok",
    ]  # fmt: skip
    assert good.instance.renewed_at == clock.now
    assert foreign.instance.renewed_at < clock.now
    assert ahead.instance.acked < 10**6


def test_the_same_lease_twice_is_answered_twice(site: Site) -> None:
    (process,) = processes(site, "a1")
    assert [code(each) for each in all_renewed(renewing(site), [ask(process), ask(process)])] == ["ok", "ok"]


def test_a_lease_that_ran_out_is_extended(make_stored_site: MakeSite, clock: Clock) -> None:
    site = make_stored_site()
    (process,) = processes(site, "a1")
    clock.advance(60 + EXPIRY_MARGIN_SECONDS + 1)
    (outcome,) = all_renewed(renewing(site), [ask(process)])
    assert isinstance(outcome, Lease)
    assert not process.instance.is_expired(clock.now)


def test_a_renewal_that_tells_of_lost_commits_freezes_the_upgrade(site: Site) -> None:
    (process,) = processes(site, "a1")
    upgrade = site.begin().upgrade
    follows = Follows(upgrade.id, upgrade.publication + 5, upgrade.phase)
    (outcome,) = all_renewed(renewing(site), [ask(process, follows=follows)])
    assert code(outcome) == "ok"
    assert site.upgrade.frozen is not None


def test_no_renewals_are_nothing_to_do(site: Site) -> None:
    assert all_renewed(renewing(site), []) == ()


class Mistaken(Leases):
    """Makes a mistake with one instance, of which nobody thought."""

    def __init__(self, context: Context, name: str, *, alone_too: bool) -> None:
        super().__init__(context)
        self._name, self._alone_too, self.together = name, alone_too, True

    def renew(self, schema: str, fleet: str, instance_id: str, **asked: Any) -> Lease:
        self.together = False
        return super().renew(schema, fleet, instance_id, **asked)

    def extended(self, tx: Transaction, standing: Standing, instance: Instance, **asked: Any) -> Lease:
        if instance.id == self._name and (self.together or self._alone_too):
            raise RuntimeError("a mistake of ours")
        return super().extended(tx, standing, instance, **asked)


@pytest.mark.parametrize(("alone_too", "codes"), [(False, ["ok", "ok", "ok"]), (True, ["ok", "renewal_failed", "ok"])])
def test_what_is_wrong_with_one_ends_no_lease_of_the_others(
    make_stored_site: MakeSite, clock: Clock, alone_too: bool, codes: list[str]
) -> None:
    site = make_stored_site()
    members = processes(site, "a1", "odd", "a2")
    clock.advance(20)
    mistaken = Mistaken(site.context, "odd", alone_too=alone_too)
    found = all_renewed(Renewing(site.context, mistaken), [ask(each) for each in members])
    assert [code(each) for each in found] == codes
    renewed = [each.instance.renewed_at == clock.now for each in members]
    assert renewed == [each == "ok" for each in codes]


def test_a_state_database_that_is_away_is_asked_once(site: Site) -> None:
    members = processes(site, "a1", "a2", "a3")

    class Away(Counting):
        def run(self, work: Callable[[Transaction], object]) -> object:
            self.runs += 1
            raise Unavailable("state_database_unavailable", "it is away", remedy="Start it.")

    away = Away(site)
    with pytest.raises(Unavailable):
        all_renewed(renewing(site, away), [ask(each) for each in members])
    assert away.runs == 1
