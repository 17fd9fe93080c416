"""Inventory sources: what cannot be read closes every move, and whom a source lists is counted like everybody else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain import planner
from orchestrator.domain.fleets import Instance, InstanceState
from orchestrator.domain.guards import GUARDS
from orchestrator.domain.inventories import Inventory, Sighting
from orchestrator.domain.ladder import RUNGS, InStepBy, Phase
from orchestrator.domain.releases import Release
from orchestrator.domain.sightings import harm
from orchestrator.domain.upgrades import Upgrade
from orchestrator.domain.view import Blocker, View
from tests.domain.views import NEW, NOW, a_database, a_view, an_instance, an_upgrade

SOURCE = "[inventory:inventory:worker]"
BY_SERVICE = replace(NEW, in_step_by=InStepBy.SERVICE)


def an_inventory(*sightings: Sighting, **changes: object) -> Inventory:
    """What a source listed a moment ago."""
    found = Inventory("worker", SOURCE, sightings, max_age_seconds=60, observed_at=NOW - 1)
    return replace(found, **changes)  # type: ignore[arg-type]


def seeing(
    *inventories: Inventory,
    phase: Phase = Phase.EXPANDED,
    new: Release = NEW,
    instances: tuple[Instance, ...] = (),
    evicted: tuple[Instance, ...] = (),
    upgrade: Upgrade | None = None,
) -> View:
    """A view of an upgrade in that phase, with one database in which these were read."""
    found = upgrade or an_upgrade(phase, release=new)
    database = replace(a_database(upgrade=found), inventories=inventories)
    return replace(a_view(found, databases=(database,), new=new, instances=instances), evicted=evicted)


def blockers(view: View, target: Phase = Phase.BACKFILL) -> tuple[Blocker, ...]:
    """What the guard says."""
    return tuple(GUARDS["inventories_support"](view, target))


def codes(view: View, target: Phase = Phase.BACKFILL) -> list[str]:
    """The codes of what the guard says."""
    return [blocker.code for blocker in blockers(view, target)]


def evicted(name: str = "w1", *, release: str = "1", ended_at: float = NOW - 100, host: str | None = None) -> Instance:
    """An instance that was counted out."""
    found = an_instance(name, release, fleet="worker", host=host)
    return replace(found, state=InstanceState.EVICTED, ended_at=ended_at)


# -- sources -----------------------------------------------------------------------------------------------------------


def test_source_that_cannot_be_read_closes_every_move() -> None:
    for rung in RUNGS:
        view = seeing(an_inventory(error="no such table: services", remedy="Mend it."), phase=rung.phase)
        for target in (each.phase for each in RUNGS):
            (found,) = blockers(view, target)
            assert found.code == "inventory_unreadable"
            assert found.sentence == f"{SOURCE} does not tell what fleet worker runs: no such table: services"
            assert found.remedy == "Mend it."
            assert found.culprits == ("worker",)
            assert not found.policy


def test_guard_is_asked_before_every_move() -> None:
    view = seeing(an_inventory(error="it is gone"))
    for target in (Phase.BASE, Phase.BACKFILL):
        assert "inventory_unreadable" in [blocker.code for blocker in planner.blockers(view, target)]


def test_same_error_in_several_databases_is_one_blocker_that_names_them() -> None:
    view = seeing(an_inventory(error="it is gone"))
    other = replace(view.databases[0], name="cell02")
    (found,) = blockers(replace(view, databases=(*view.databases, other)))
    assert "in main, cell02:" in found.sentence


@pytest.mark.parametrize("observed_at", [NOW - 61, NOW + 61])
def test_facts_that_are_too_old_or_of_the_future_close_it(observed_at: float) -> None:
    assert codes(seeing(an_inventory(observed_at=observed_at))) == ["inventory_stale"]
    assert codes(seeing(an_inventory(observed_at=NOW - 59))) == []


def test_whom_a_source_lists_counts_also_while_a_row_of_it_is_not_understood() -> None:
    view = seeing(an_inventory(Sighting("w1", "1"), error="w2 holds version 99"))
    assert codes(view) == ["inventory_unreadable", "instance_seen_unsupported"]


# -- fleets ------------------------------------------------------------------------------------------------------------


def known(view: View) -> bool:
    return not tuple(GUARDS["fleets_known"](replace(view, known_fleets=frozenset({"api"})), Phase.BACKFILL))


def test_fleet_of_which_a_source_lists_anybody_is_known() -> None:
    assert known(seeing(an_inventory(Sighting("w1", "1"))))
    assert known(seeing(an_inventory(Sighting("w1", "1", is_down=True))))


def test_fleet_whose_source_cannot_be_read_is_named_once() -> None:
    assert known(seeing(an_inventory(error="it is gone")))


def test_source_that_lists_nobody_is_no_answer() -> None:
    assert not known(seeing(an_inventory()))
    assert not known(seeing())


# -- instances ---------------------------------------------------------------------------------------------------------


def test_old_instances_block_with_one_sentence_per_fleet_and_release() -> None:
    first = an_inventory(Sighting("w1", "1", 5), Sighting("w2", "1", 5))
    view = seeing(first)
    other = replace(view.databases[0], name="cell02", inventories=(an_inventory(Sighting("w3", "1", 5)),))
    (found,) = blockers(replace(view, databases=(*view.databases, other)))
    assert found.code == "instance_seen_unsupported"
    assert found.sentence == f"waiting for 3 instances of worker that still run 1, as {SOURCE} lists"
    assert found.culprits == ("w1 in main", "w2 in main", "w3 in cell02")
    assert found.remedy.startswith("Roll them to 2.")


def test_foreign_release_blocks_wherever_it_goes() -> None:
    view = seeing(an_inventory(Sighting("w1", "0")))
    assert codes(view) == codes(view, Phase.BASE) == ["instance_seen_unsupported"]


def test_old_instances_are_in_nobodys_way_where_they_can_live() -> None:
    view = seeing(an_inventory(Sighting("w1", "1")), phase=Phase.BASE)
    assert codes(view, Phase.EXPANDED) == []


def test_instance_without_a_sign_of_life_may_be_alive_all_the_same() -> None:
    (found,) = blockers(seeing(an_inventory(Sighting("w1", "1", 61))))
    assert found.code == "instance_silent"
    assert "gave no sign of life for up to 61 s" in found.sentence
    assert "may still be alive" in found.sentence


def test_only_somebodys_word_takes_an_instance_for_gone() -> None:
    assert codes(seeing(an_inventory(Sighting("w1", "1", 1, is_down=True)))) == []


def test_new_instance_needs_a_lease_where_it_switches_its_behaviour() -> None:
    view = seeing(an_inventory(Sighting("w1", "2", 1)))
    assert codes(view) == ["lease_required"]
    assert codes(replace(view, instances=(an_instance("w1", "2", fleet="worker"),))) == []
    assert codes(replace(view, instances=(an_instance("w1-77", "2", fleet="worker", host="w1"),))) == []
    assert codes(replace(view, instances=(an_instance("w1", "2", fleet="api"),))) == ["lease_required"]
    assert codes(replace(view, instances=(an_instance("w1", "1", fleet="worker"),))) == ["lease_required"]


def test_new_instance_needs_no_lease_where_the_service_vouches() -> None:
    assert codes(seeing(an_inventory(Sighting("w1", "2", 1)), new=BY_SERVICE)) == []


def test_instance_with_a_lease_is_not_counted_twice() -> None:
    view = seeing(an_inventory(Sighting("w1", "1")), instances=(an_instance("w1", "1", fleet="worker"),))
    assert codes(view) == []
    (found,) = GUARDS["instances_support"](view, Phase.BACKFILL)
    assert found.culprits == ("w1",)


def test_fleet_may_mix_old_ones_that_are_listed_with_new_ones_that_hold_leases() -> None:
    listed = an_inventory(Sighting("w1", "1", 1), Sighting("w2", "2", 1))
    view = seeing(listed, instances=(an_instance("w2", "2", fleet="worker"),))
    assert codes(view) == ["instance_seen_unsupported"]
    assert codes(view, Phase.EXPANDED) == []


# -- evicted ones ------------------------------------------------------------------------------------------------------


def test_evicted_instance_that_gives_a_sign_of_life_again_closes_it() -> None:
    view = seeing(an_inventory(Sighting("w1", "1", 1)), evicted=(evicted(),), phase=Phase.BASE)
    (found,) = blockers(view, Phase.EXPANDED)
    assert found.code == "instance_seen_again"
    assert found.culprits == ("w1",)


def test_evicted_instance_is_gone_until_it_gives_a_sign_of_life() -> None:
    assert codes(seeing(an_inventory(Sighting("w1", "1", 101)), evicted=(evicted(),))) == []
    # Clocks differ a little: its last sign of life may seem to come shortly after its eviction.
    assert codes(seeing(an_inventory(Sighting("w1", "1", 92)), evicted=(evicted(),))) == []


def test_source_that_knows_no_ages_lists_whom_it_takes_for_alive() -> None:
    assert codes(seeing(an_inventory(Sighting("w1", "1")), evicted=(evicted(),))) == ["instance_seen_again"]


def test_next_process_of_a_host_is_none_that_was_evicted() -> None:
    before = evicted("w1-33", host="w1", release="2")
    view = seeing(an_inventory(Sighting("w1", "2", 1)), evicted=(before,))
    assert codes(view) == ["instance_seen_again"]
    after = an_instance("w1-34", "2", fleet="worker", host="w1")
    assert codes(replace(view, instances=(after,))) == []


# -- harm --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("age", [1, 1000])
def test_old_instance_that_is_seen_while_rows_move_makes_the_proof_doubtful(age: float) -> None:
    view = seeing(an_inventory(Sighting("w1", "1", age)), phase=Phase.BACKFILL)
    found = planner.decide(view)
    assert found == planner.RecordDoubt("instance w1 of fleet worker was seen to run 1 in backfill")
    recorded = replace(view, upgrade=view.upgrade.with_doubt(found.doubt))
    assert not isinstance(planner.decide(recorded), planner.RecordDoubt)
    assert "proof_doubtful" in [blocker.code for blocker in planner.explain(view)]


def test_what_was_seen_before_the_phase_harmed_nothing() -> None:
    view = seeing(an_inventory(Sighting("w1", "1", 1)), phase=Phase.BACKFILL)
    later = replace(view, upgrade=replace(view.upgrade, phase_since=NOW))
    assert harm(view) is not None
    assert harm(later) is None


@pytest.mark.parametrize(
    "sighting", [Sighting("w1", "1", 1, is_down=True), Sighting("w1", "2", 1)], ids=["down", "new"]
)
def test_nobody_else_makes_it_doubtful(sighting: Sighting) -> None:
    assert harm(seeing(an_inventory(sighting), phase=Phase.BACKFILL)) is None


@pytest.mark.parametrize("phase", [Phase.BASE, Phase.EXPANDED, Phase.WRITE_NEW])
def test_it_is_doubtful_only_where_rows_can_be_moved_again(phase: Phase) -> None:
    assert harm(seeing(an_inventory(Sighting("w1", "1", 1)), phase=phase)) is None
