"""What an instance is told when an upgrade ends: it can tell an end from a state that lost its last commits."""

from __future__ import annotations

from orchestrator.client.membership import Membership
from orchestrator.client.standing import Behaviour, Grant, Standing
from orchestrator.domain.ladder import Phase
from orchestrator.services.leases import Lease
from tests.api.world import World


def granted(lease: Lease) -> Grant:
    """The lease as the client reads it."""
    told = lease.stance
    behaviour = Behaviour(told.behaviour.reads, told.behaviour.writes)  # type: ignore[arg-type]
    return Grant(60.0, 20.0, Standing(told.publication, behaviour, told.upgrade_id, told.phase.word), None)


class Process:
    """One instance whose client book-keeping is the real one."""

    def __init__(self, world: World, name: str, release: str) -> None:
        self._world, self._name = world, name
        self.book = Membership("inventory-api", lambda: 0.5)
        lease = world.leases.join("inventory", "inventory-api", instance_id=name, nonce="n", release=release)
        self._epoch = lease.epoch
        self.book.admit(granted(lease), epoch=self._epoch, sent_at=0.0)

    def renew(self) -> None:
        """Twice: to hear, and to ack."""
        for _ in range(2):
            ack = self.book.ack()
            lease = self._world.leases.renew("inventory", "inventory-api", self._name, epoch=self._epoch, ack=ack)
            heard = self.book.renewed(granted(lease), sent_at=0.0, ack=ack, now=0.0)
            assert heard is not None and not heard.is_behind, "nothing was lost"

    @property
    def behaviour(self) -> str:
        assert self.book.period is not None
        return str(self.book.period.standing.behaviour)


def at_release_2() -> World:
    """The next upgrade is one that removes nothing."""
    world = World()
    world.upgrades.initialise("inventory", "2", actor="test")
    world.leases.report("inventory", "inventory-worker", release="2", instances=0, actor="test", reason=None)
    return world


def test_an_upgrade_that_ends_as_write_new_is_published_switches_its_instances() -> None:
    world = at_release_2()
    world.upgrades.begin("inventory", "3", actor="test")
    old = Process(world, "old", "2")
    old.renew()
    world.cycle()
    assert world.phase() is Phase.EXPANDED
    old.renew()
    new = Process(world, "new", "3")
    world.leases.leave("inventory", "inventory-api", "old", epoch=old._epoch)
    seen = []
    for _ in range(6):
        world.cycle()
        new.renew()
        seen.append(new.behaviour)
    assert world.board.schema("inventory").release == "3"
    assert seen[-1] == "reads new, writes new", seen
