"""Two daemons that both believe to lead: what the later one did is not overwritten by the earlier one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, StepFailed
from orchestrator.domain.ladder import Phase, Step
from orchestrator.domain.releases import Release
from orchestrator.domain.view import StepState
from orchestrator.ports import StepWatch
from orchestrator.services.advancing import Advancing
from orchestrator.services.context import Context
from orchestrator.services.leadership import Elections, outgrow
from orchestrator.services.leases import Leases
from orchestrator.services.upgrades import Upgrades
from orchestrator.store import tables
from orchestrator.store.sql import SqlStore
from tests.fakes import FLEETS, Clock, FakeSchema
from tests.services.conftest import MakeSite
from tests.services.site import Daemon, Pauses, Site


class HookedSchema(FakeSchema):
    """A step that lets others act while it runs."""

    during_step: Callable[[], None] | None = None

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
        hook, self.during_step = self.during_step, None
        if hook is not None:
            hook()
        return super().run_step(database, release, step, upgrade_id=upgrade_id, owner_epoch=owner_epoch, watch=watch)


def test_an_attempt_that_was_taken_over_does_not_say_how_the_step_ended(
    open_database: Callable[[str, str], Database], postgresql_url: str
) -> None:
    """The first daemon has just seen that it leads, when the second takes the lease over and does the step."""
    clock = Clock()
    database = open_database("state", postgresql_url)
    tables.metadata.create_all(database.engine)
    store, other_store = (SqlStore(each, clock) for each in (database, open_database("again", postgresql_url)))
    managed = HookedSchema()
    context, others = Context(store, {"inventory": managed}), Context(other_store, {"inventory": managed})
    context.register_schemas()
    upgrades, leases = Upgrades(context), Leases(context)
    upgrades.initialise("inventory", "1", actor="test")
    for fleet in FLEETS:
        leases.report("inventory", fleet, release="1", instances=0, actor="test", reason=None)
    upgrades.begin("inventory", "2", actor="test")
    first = Elections(store, "first", ttl_seconds=10).campaign()
    assert first is not None

    def take_over(*_: Any) -> None:
        clock.advance(60)
        second = Elections(other_store, "second", ttl_seconds=10).campaign()
        assert second == first + 1
        upgrades.pause("inventory", actor="test", reason="look")
        upgrades.resume("inventory", actor="test", reason=None)
        Advancing(others).advance("inventory", leader_epoch=second)

    def fail() -> None:
        raise StepFailed("lock_timeout", "the first daemon did not get its locks", remedy="")

    done: list[bool] = []

    def before_end(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith("UPDATE steps") and "failed" in str(parameters) and not done:
            done.append(True)
            take_over()

    managed.during_step = fail
    sa.event.listen(database.engine, "before_cursor_execute", before_end)
    with pytest.raises(Conflict) as refused:
        Advancing(context).advance("inventory", leader_epoch=first)
    assert refused.value.code == "not_leader"
    assert done
    upgrade = store.read(lambda tx: tx.upgrades("inventory", limit=1))[0]
    records = store.read(lambda tx: tx.steps(upgrade.id, Phase.EXPANDED))
    assert [(record.state, record.owner_epoch) for record in records] == [(StepState.DONE, first + 1)]


def test_a_leader_whose_epoch_was_given_before_gets_a_higher_one(make_stored_site: MakeSite) -> None:
    """The state was restored to before several changes of leader, and the journal of a database knows of them."""
    site = make_stored_site(databases=("one",)).nobody_runs().begin()
    one = site.managed.on["one"]
    daemon = site.daemon()
    one.fails[Step.EXPAND] = Conflict(
        "owner_epoch_passed", "epoch 1 was passed", remedy="Nothing to do.", newest_epoch=daemon.epoch + 6
    )
    daemon.cycle()
    with pytest.raises(Conflict) as refused:
        daemon.cycle()
    assert refused.value.code == "not_leader", "it learns of its epoch when it renews"
    (record,) = site.store.read(lambda tx: tx.steps(site.upgrade.id, Phase.EXPANDED))
    assert record.state is StepState.PENDING, "nobody has to retry anything"
    one.fails.clear()
    renewed = Daemon(site, "first", Pauses())
    assert renewed.epoch == daemon.epoch + 7
    assert site.actions().count("leader.outgrow") == 0, "it concerns no schema alone"
    assert "leader.outgrow" in [each.action for each in site.board.events(schema=None, after=0, limit=100)]
    renewed.work()
    assert site.phase() is Phase.CONTRACTED


def test_an_epoch_that_was_given_to_another_leader_meanwhile_stays(site: Site) -> None:
    daemon = site.daemon("first")
    later = site.daemon("second")
    for passed in (daemon.epoch, later.epoch + 5):
        site.store.run(lambda tx, passed=passed: outgrow(tx, daemon.epoch, passed))  # type: ignore[misc]
    found = site.store.read(lambda tx: tx.leadership())
    assert found is not None and found.epoch == later.epoch
