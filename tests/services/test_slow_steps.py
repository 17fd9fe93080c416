"""A step that takes long in one database, or hangs there, does not keep the others from trying again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from orchestrator.domain.errors import Conflict
from orchestrator.domain.ladder import Phase, Step
from orchestrator.domain.releases import Release
from orchestrator.domain.view import StepState
from orchestrator.ports import StepWatch
from orchestrator.services.advancing import Advancing
from orchestrator.services.context import Context
from orchestrator.services.leadership import Elections
from orchestrator.services.leases import Leases
from orchestrator.services.status import StatusBoard
from orchestrator.services.upgrades import Upgrades
from orchestrator.store.memory import MemoryStore
from tests.fakes import FLEETS, Clock, FakeSchema

SCHEMA = "inventory"
BUSY = Conflict("lock_busy", "session 812 holds the table", remedy="It goes on by itself.")


class Slow(FakeSchema):
    """A schema in whose database `slow` the step ends when it is let go."""

    def __init__(self) -> None:
        super().__init__(databases=("canary", "slow", "busy"))
        self.is_slow = threading.Event()
        self.let_go = threading.Event()
        self.tries: list[str] = []

    def run_step(
        self,
        database: str,
        release: Release,
        step: Step,
        *,
        upgrade_id: int,
        owner_epoch: int,
        watch: StepWatch | None = None,
    ) -> tuple[str, ...]:
        self.tries.append(database)
        if database == "slow":
            self.is_slow.set()
            assert self.let_go.wait(100)
        return super().run_step(database, release, step, upgrade_id=upgrade_id, owner_epoch=owner_epoch, watch=watch)

    def free(self, database: str) -> None:
        """Nothing fails there any more."""
        with self._lock:
            self.on[database].fails.clear()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_step_that_waits_is_tried_again_while_another_one_takes_long() -> None:
    store, schema = MemoryStore(Clock()), Slow()
    schema.on["busy"].fails[Step.EXPAND] = BUSY
    context = Context(store, {SCHEMA: schema})
    context.register_schemas()
    upgrades = Upgrades(context)
    upgrades.initialise(SCHEMA, "1", actor="test")
    for fleet in FLEETS:
        Leases(context).report(SCHEMA, fleet, release="1", instances=0, actor="test", reason=None)
    upgrade = upgrades.begin(SCHEMA, "2", actor="test")
    epoch = Elections(store, "test", ttl_seconds=1e9).campaign()
    assert epoch is not None
    advancing = Advancing(context, patience_seconds=1.0)

    def states() -> dict[str, StepState]:
        return {record.database: record.state for record in store.read(lambda tx: tx.steps(upgrade.id, Phase.EXPANDED))}

    def advance() -> None:
        while not schema.is_slow.is_set():
            advancing.advance(SCHEMA, leader_epoch=epoch)

    cycle = threading.Thread(target=advance)
    cycle.start()
    try:
        assert schema.is_slow.wait(100)
        until(lambda: schema.tries.count("busy") > 2)
        schema.free("busy")
        until(lambda: states()["busy"] is StepState.DONE)
        assert states()["slow"] is StepState.RUNNING
        shown = StatusBoard(context).schema(SCHEMA).upgrade
        assert shown is not None
        assert shown.sentence == "running the expand step in slow"
    finally:
        schema.let_go.set()
        cycle.join()
    assert schema.tries.count("slow") == 1, "never twice at the same time"
    assert set(states().values()) == {StepState.DONE}
