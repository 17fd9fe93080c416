"""The protocol as it is: no interleaving breaks an invariant, every phase is reached, and no state is a dead end."""

from __future__ import annotations

import pytest

from orchestrator.domain.ladder import InStepBy, Phase
from orchestrator.domain.upgrades import Status
from tests.protocol.explorer import Explorer
from tests.protocol.world import Up, World

wide = pytest.mark.protocol
"""Of larger bounds than those that every run of the tests explores."""

ALL_ENDS = {Status.RUNNING, Status.COMPLETED, Status.CANCELLED}


class FailingDatabases(World):
    """Databases that cannot be written now and then."""

    databases_fail = True


class ExpiringLeases(World):
    """Leases that run out while their holders live, and renewals that come after that."""

    leases_expire = True


class SilentFleet(World):
    """An old process runs of which nothing was ever reported."""

    has_silent_process = True


class LongBatches(World):
    """Batches that look at the copy long before they write, and rely on their cursor."""

    batches_are_atomic = False


class DecisionsApart(World):
    """Deciding and recording are two transactions, held together by the compare-and-set alone."""

    decisions_are_atomic = False


def explored(world: World, *, processes: int, daemons: int) -> Explorer:
    """The world, explored and found sound, with every phase of its ladder reached."""
    explorer = Explorer(world, processes=processes, daemons=daemons)
    found = explorer.explore()
    print(f"{found.states} states, {found.transitions} transitions")
    assert found.counterexample is None, str(found.counterexample)
    assert found.published == set(world.profile.phases())
    assert found.ends == ALL_ENDS
    return explorer


@pytest.mark.parametrize("in_step_by", [InStepBy.CLIENT, pytest.param(InStepBy.SERVICE, marks=wide)])
def test_two_processes_and_two_daemons_never_break_an_invariant(in_step_by: InStepBy) -> None:
    explored(World(in_step_by), processes=2, daemons=2)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=wide)])
@pytest.mark.parametrize(("has_data_migrations", "has_contract"), [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize("in_step_by", [InStepBy.CLIENT, InStepBy.SERVICE])
def test_shorter_ladders_are_sound_too(
    in_step_by: InStepBy, has_data_migrations: bool, has_contract: bool, processes: int
) -> None:
    world = World(in_step_by, has_data_migrations=has_data_migrations, has_contract=has_contract)
    phases = set(world.profile.phases())
    assert (Phase.CONTRACTED in phases) == has_contract
    explored(world, processes=processes, daemons=1)


@pytest.mark.parametrize("daemons", [1, pytest.param(2, marks=wide)])
@pytest.mark.parametrize("kind", [FailingDatabases, ExpiringLeases, SilentFleet, LongBatches, DecisionsApart])
def test_a_rougher_world_breaks_no_invariant(kind: type[World], daemons: int) -> None:
    explored(kind(), processes=1, daemons=daemons)


@wide
@pytest.mark.parametrize("kind", [ExpiringLeases, SilentFleet])
def test_neighbours_in_a_rougher_world_break_no_invariant(kind: type[World]) -> None:
    explored(kind(steers_to=(Phase.BASE, Phase.EXPANDED)), processes=2, daemons=1)


@pytest.mark.parametrize("in_step_by", [InStepBy.CLIENT, InStepBy.SERVICE])
@pytest.mark.parametrize(
    ("processes", "daemons"), [(1, 1), pytest.param(1, 2, marks=wide), pytest.param(2, 1, marks=wide)]
)
def test_completion_and_cancellation_stay_reachable(in_step_by: InStepBy, processes: int, daemons: int) -> None:
    explorer = explored(World(in_step_by), processes=processes, daemons=daemons)
    assert explorer.unreachable(Status.COMPLETED, among=lambda up: not up.cancelling) is None
    assert explorer.unreachable(Status.CANCELLED, among=_may_be_cancelled) is None


def _may_be_cancelled(up: Up) -> bool:
    """Before the point of no return, which is write_new here: there is no reverse data migration."""
    return up.old_valid and not up.is_past_return
