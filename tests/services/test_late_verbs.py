"""Steering: what a verb does that comes late, twice, or beside another one."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import Conflict, Invalid
from orchestrator.domain.ladder import Phase
from orchestrator.domain.upgrades import Upgrade
from orchestrator.domain.view import Policy
from tests.api.world import World


def upgrade_of(world: World) -> Upgrade:
    status = world.board.schema("inventory").upgrade
    assert status is not None
    return status.upgrade


def codes(world: World) -> list[str]:
    status = world.board.schema("inventory").upgrade
    assert status is not None
    return [blocker.code for blocker in status.blockers]


def test_an_initialisation_that_ends_late_does_not_turn_the_schema_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two operators initialise; the slower one's databases answer when an upgrade has ended already."""
    world = World()

    def slowly(database: str, release: object) -> str:
        monkeypatch.undo()
        world.at_rest().upgrades.begin("inventory", "2", actor="test")
        world.cycle()
        world.move_rows()
        world.cycle()
        world.upgrades.approve("inventory", phase=None, actor="test", reason="yes")
        world.cycle()
        return "it was there already"

    monkeypatch.setattr(world.managed, "initialise", slowly)
    with pytest.raises(Conflict, match="is at release 2"):
        world.upgrades.initialise("inventory", "1", actor="test")
    assert world.board.schema("inventory").release == "2"


def test_resuming_from_a_pause_does_not_turn_an_upgrade_round_that_goes_back() -> None:
    world = World().begun()
    world.cycle()
    new = world.join("new-1", release="2")
    assert world.phase() is Phase.BACKFILL
    world.upgrades.rollback("inventory", Phase.BASE, actor="test", reason="it leaks memory")
    world.upgrades.pause("inventory", actor="test", reason="lunch")
    world.upgrades.resume("inventory", actor="test", reason=None)
    assert upgrade_of(world).goal is Phase.BASE
    world.leases.leave("inventory", "inventory-api", "new-1", epoch=new)
    world.cycle()
    assert world.phase() is Phase.BASE
    world.upgrades.resume("inventory", actor="test", reason=None)
    assert upgrade_of(world).goal is Phase.CONTRACTED


def test_a_pause_that_is_repeated_changes_nothing() -> None:
    world = World().begun()
    paused = world.upgrades.pause("inventory", actor="test", reason="lunch")
    again = world.upgrades.pause("inventory", actor="test", reason="lunch", if_revision=paused.revision)
    assert again == paused
    assert world.upgrades.pause("inventory", actor="test", reason="dinner").revision > paused.revision


def test_an_approval_that_is_repeated_approves_nothing_else() -> None:
    """The same command twice: the second one would have found that the next phase to approve is another one."""
    world = World(policy=Policy(approve=(Phase.WRITE_NEW, Phase.CONTRACTED))).begun()
    world.cycle()
    world.move_rows()
    world.cycle()
    assert world.phase() is Phase.READ_NEW
    with pytest.raises(Invalid) as refused:
        world.upgrades.approve("inventory", phase=None, actor="test", reason="yes")
    assert refused.value.code == "phase_ambiguous"
    world.upgrades.approve("inventory", phase=Phase.WRITE_NEW, actor="test", reason="yes")
    world.cycle()
    with pytest.raises(Invalid):
        world.upgrades.approve("inventory", phase=None, actor="test", reason="yes")
    world.cycle()
    assert world.phase() is Phase.SEALED


@pytest.mark.parametrize("verb", ["rollback", "cancel"])
def test_going_back_withdraws_the_approvals_of_what_lies_ahead(verb: str) -> None:
    world = World(policy=Policy(approve=(Phase.CONTRACTED,), soak_seconds=3600)).begun()
    world.upgrades.approve(
        "inventory", phase=Phase.CONTRACTED, actor="test", reason="it looks good", force=("soaked",)
    )  # fmt: skip
    world.cycle()
    if verb == "cancel":
        world.upgrades.cancel("inventory", actor="test", reason="it does not")
    world.upgrades.rollback("inventory", Phase.EXPANDED, actor="test", reason="it does not")
    world.cycle()
    world.upgrades.resume("inventory", actor="test", reason="try again")
    world.cycle()
    world.move_rows()
    world.cycle()
    assert world.phase() is Phase.SEALED
    assert codes(world) == ["soaking", "approval_required"]
