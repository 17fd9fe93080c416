"""Rows control: what operators want of data migrations is in force from the next batch on, beside what these do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest

from orchestrator.domain.errors import Conflict, Invalid, NotFound, NotYet, OrchestratorError, Unavailable
from orchestrator.domain.ladder import Phase
from orchestrator.domain.overlay import Option, Refused
from orchestrator.domain.releases import Link, Release, Releases
from orchestrator.domain.view import MigrationFacts, MigrationState
from orchestrator.services.data_migrations import LONGEST_LOOK_AWAY_SECONDS, DataMigrations
from orchestrator.services.rows_control import RowsControl
from tests.fakes import FLEETS
from tests.services.conftest import MakeSite
from tests.services.site import SCHEMA, Site

NAMES = ("a", "b", "c")
RELEASES = Releases(
    SCHEMA,
    (
        Release("1", "e001", fleets=FLEETS),
        Release("2", "e002", "c002", NAMES, fleets=FLEETS, old_shape=("customers.name",), has_contract=True),
    ),
)
FREE = {name: Link(name, name, after=()) for name in NAMES}
NICE = Option("nice_ratio", 0.0, 0.0, 100.0, is_whole=False, help="How nice.")
ROWS = Option("batch_rows", 20000.0, 1.0, None, is_whole=True, help="How many.")
LAG = Option(
    "max_replica_lag_seconds", -1.0, -1.0, None, is_whole=False, help="How far.", free=-1.0,
    refused=Refused("replicas_unnamed", "none is named", "Name them."),
)  # fmt: skip


class Desk:
    """An operator, and a daemon that moves rows in batches of 10 of 100."""

    def __init__(self, make_site: MakeSite, *databases: str, links: dict[str, Link] | None = None) -> None:
        self.site: Site = make_site(databases=databases or ("main",), releases=RELEASES)
        self.site.managed.linked.update(FREE if links is None else links)
        for each in self.site.managed.on.values():
            each.batch_rows, each.options = 10, (NICE, ROWS, LAG)
        daemon = self.site.nobody_runs().begin().daemon()
        while self.site.phase() is not Phase.BACKFILL:
            daemon.cycle()
        self.site.managed.calls.clear()
        self.control = RowsControl(self.site.context)
        self.rows = DataMigrations(self.site.context)

    def run(self, batches: int = 1000, database: str = "main", before: Callable[[int], None] = lambda n: None) -> None:
        """So many batches at the most; `before` each that number."""
        left = iter(range(batches))

        def may_go_on() -> bool:
            number = next(left, None)
            if number is not None:
                before(number)
            return number is not None

        self.rows.run(SCHEMA, database, may_go_on=may_go_on)

    def pause(self, name: str, database: str | None = None) -> None:
        self.control.pause(SCHEMA, name, database, actor="alice", reason="month-end")

    def cancel(self, name: str, database: str | None = None) -> None:
        self.control.cancel(SCHEMA, name, database, actor="alice", reason="wrong file")

    def resume(self, name: str, database: str | None = None) -> None:
        self.control.resume(SCHEMA, name, database, actor="bob", reason=None)

    def set(
        self, database: str | None = None, defaults: Sequence[str] = (), actor: str = "alice", **values: float
    ) -> None:
        self.control.set(SCHEMA, database, values, defaults, actor=actor, reason="busy")

    def switch_off(self, option: str, database: str | None = None) -> None:
        self.control.set(SCHEMA, database, {option: -1.0}, (), actor="alice", reason="busy")

    def facts(self, name: str, database: str = "main") -> MigrationFacts:
        return self.site.managed.on[database].migrations[name]

    def batches(self) -> list[str]:
        """Whose each batch was since the last time."""
        found = [call[2] for call in self.site.managed.calls if call[0] == "run_batch"]
        self.site.managed.calls.clear()
        return found

    def intentions(self, name: str) -> list[tuple[str, str, str] | None]:
        found = (each.intention for each in self.rows.show(SCHEMA, name))
        return [None if each is None else (each.wish.value, each.actor, each.reason) for each in found]

    def blockers(self) -> list[tuple[str, str, str]]:
        self.site.daemon("reader").cycle()
        found = self.site.board.plan(SCHEMA).status.blockers
        return [(each.code, each.sentence, each.remedy) for each in found]


def code_of(refused: pytest.ExceptionInfo[OrchestratorError]) -> str:
    return refused.value.code


# -- pausing -----------------------------------------------------------------------------------------------------------


def test_a_paused_one_begins_no_further_batch_on_any_daemon(make_stored_site: MakeSite) -> None:
    desk = Desk(make_stored_site, links={})
    desk.run(3, before=lambda number: desk.pause("a") if number == 2 else None)
    assert desk.batches() == ["a", "a", "a"], "the one that was about to begin when it was paused, and no other"
    desk.run()
    assert desk.batches() == []
    assert desk.facts("a").state is MigrationState.RUNNING, "what it does is what its ledger says"
    assert desk.intentions("a") == [("paused", "alice", "month-end")]
    desk.resume("a")
    assert desk.intentions("a") == [None]
    desk.run()
    assert [desk.facts(name).state for name in NAMES] == [MigrationState.COMPLETE] * 3


def test_those_that_do_not_follow_it_go_on(make_site: MakeSite) -> None:
    desk = Desk(make_site, links={**FREE, "c": Link("c", "c", after=("a",))})
    desk.pause("a")
    desk.run()
    assert set(desk.batches()) == {"b"}
    desk.resume("a")
    desk.run()
    assert desk.site.managed.on["main"].migrations["c"].state is MigrationState.COMPLETE


def test_those_that_do_not_follow_one_that_failed_go_on(make_site: MakeSite) -> None:
    desk = Desk(make_site, links={**FREE, "c": Link("c", "c", after=("a",))})
    desk.site.managed.on["main"].migrations["a"] = MigrationFacts("a", MigrationState.FAILED, error="it stopped")
    desk.run()
    assert set(desk.batches()) == {"b"}


def test_without_a_word_of_its_author_one_waits_for_one_that_failed_before_it(make_site: MakeSite) -> None:
    desk = Desk(make_site, links={})
    desk.site.managed.on["main"].migrations["a"] = MigrationFacts("a", MigrationState.FAILED, error="it stopped")
    desk.run()
    assert desk.batches() == []


def test_one_of_several_databases_is_paused_alone(make_stored_site: MakeSite) -> None:
    desk = Desk(make_stored_site, "one", "two")
    desk.pause("a", "two")
    for database in ("one", "two"):
        desk.run(database=database)
    assert desk.facts("a", "one").state is MigrationState.COMPLETE
    assert desk.facts("a", "two").state is MigrationState.PENDING
    assert desk.intentions("a") == [None, ("paused", "alice", "month-end")]
    desk.pause("a")
    desk.resume("a", "one")
    assert desk.intentions("a") == [None, ("paused", "alice", "month-end")]


def test_the_upgrade_waits_for_it_and_says_who_paused_it_and_how_it_goes_on(make_site: MakeSite) -> None:
    desk = Desk(make_site)
    desk.pause("a")
    desk.run()
    assert desk.blockers() == [
        (
            "data_migration_paused",
            "data migration a is paused in main, by alice: month-end",
            f"orchestrator data-migration resume {SCHEMA} a --database main --reason ...",
        )
    ]
    upgrade = desk.site.board.schema(SCHEMA).upgrade
    assert upgrade is not None
    assert upgrade.sentence == "moving rows: 67%; data migration a is paused in main, by alice: month-end"


def test_one_that_failed_and_is_paused_says_both(make_site: MakeSite) -> None:
    desk = Desk(make_site)
    desk.site.managed.on["main"].migrations["a"] = MigrationFacts("a", MigrationState.FAILED, error="it stopped")
    desk.pause("a")
    desk.run()
    assert [code for code, _, _ in desk.blockers()] == ["data_migration_failed", "data_migration_paused"]


def test_one_may_be_paused_before_its_upgrade_begins(make_site: MakeSite) -> None:
    site = make_site(databases=("main",), releases=RELEASES)
    RowsControl(site.context).pause(SCHEMA, "a", None, actor="alice", reason="later")
    site.nobody_runs().begin()
    site.daemon().work()
    assert site.phase() is Phase.BACKFILL
    assert site.managed.on["main"].migrations["a"].state is MigrationState.PENDING


def test_what_is_wanted_is_in_the_audit_log(make_stored_site: MakeSite) -> None:
    desk = Desk(make_stored_site)
    desk.pause("a")
    desk.resume("a")
    desk.resume("a")
    desk.cancel("b")
    desk.control.prioritise(SCHEMA, "c", 5, actor="alice", reason="first")
    desk.set(nice_ratio=2)
    found = desk.site.board.events(schema=SCHEMA, after=0, limit=1000)
    assert [(each.action, each.actor, each.sentence, each.reason) for each in found if "data_mig" in each.action] == [
        ("data_migration.pause", "alice", "alice paused a in main", "month-end"),
        ("data_migration.resume", "bob", "bob resumed a in main", None),
        ("data_migration.cancel", "alice", "alice cancelled b in main", "wrong file"),
        ("data_migration.set", "alice", "alice gave c the priority 5", "first"),
        ("data_migration.set", "alice", f"alice set nice_ratio to 2 in all of {SCHEMA}", "busy"),
    ]


def test_names_that_nobody_has_and_no_reason_are_refused(make_site: MakeSite) -> None:
    desk = Desk(make_site)
    for name, database, code in (("z", None, "data_migration_unknown"), ("a", "z", "database_unknown")):
        for verb in (desk.pause, desk.cancel, desk.resume):
            with pytest.raises(NotFound) as refused:
                verb(name, database)
            assert code_of(refused) == code
    with pytest.raises(Invalid) as without:
        desk.control.pause(SCHEMA, "a", None, actor="alice", reason=" ")
    assert code_of(without) == "reason_required"


# -- cancelling --------------------------------------------------------------------------------------------------------


def test_a_cancelled_one_goes_back_to_its_start_and_stays_there(make_stored_site: MakeSite) -> None:
    desk = Desk(make_stored_site)
    desk.run(3)
    assert desk.facts("a").rows_done == 30
    desk.cancel("a")
    assert (desk.facts("a").state, desk.facts("a").rows_done) == (MigrationState.PENDING, 0)
    desk.batches()
    desk.run()
    assert "a" not in desk.batches()
    assert desk.intentions("a") == [("cancelled", "alice", "wrong file")]
    desk.resume("a")
    desk.run()
    assert desk.facts("a").state is MigrationState.COMPLETE


@pytest.mark.parametrize(
    "why",
    [
        Unavailable("database_unreachable", "it is away", remedy="Start it."),
        Conflict("batch_claimed", "another worker is at it", remedy="Wait."),
    ],
)
def test_one_that_could_not_go_back_at_once_does_later(make_site: MakeSite, why: OrchestratorError) -> None:
    desk = Desk(make_site)
    desk.run(3)
    main = desk.site.managed.on["main"]
    main.give_up_fails = why
    desk.cancel("a")
    assert desk.facts("a").rows_done == 30
    with pytest.raises(NotYet) as refused:
        desk.resume("a")
    assert code_of(refused) == "data_migration_not_at_start"
    assert desk.intentions("a") == [("cancelled", "alice", "wrong file")]
    main.give_up_fails = None
    desk.run()
    assert (desk.facts("a").state, desk.facts("a").rows_done) == (MigrationState.PENDING, 0)
    desk.resume("a")
    assert desk.intentions("a") == [None]


def test_a_daemon_in_the_middle_of_others_sends_a_cancelled_one_back(make_site: MakeSite) -> None:
    desk = Desk(make_site)
    main = desk.site.managed.on["main"]

    def meanwhile(number: int) -> None:
        if number == 3:
            main.give_up_fails = Conflict("batch_claimed", "another worker is at it", remedy="Wait.")
            desk.cancel("a")
            main.give_up_fails = None

    desk.run(6, before=meanwhile)
    assert (desk.facts("a").state, desk.facts("a").rows_done) == (MigrationState.PENDING, 0)
    assert desk.facts("b").rows_done > 0


def test_pausing_a_cancelled_one_does_not_take_that_back(make_site: MakeSite) -> None:
    desk = Desk(make_site)
    desk.cancel("a")
    desk.pause("a")
    assert desk.intentions("a") == [("cancelled", "alice", "wrong file")]


def test_one_that_is_complete_cannot_be_cancelled(make_site: MakeSite) -> None:
    desk = Desk(make_site, "one", "two")
    desk.run(database="one")
    desk.site.daemon("reader").cycle()
    with pytest.raises(NotFound) as refused:
        desk.cancel("a", "one")
    assert code_of(refused) == "nothing_to_cancel"
    desk.cancel("a")
    assert desk.intentions("a") == [None, ("cancelled", "alice", "wrong file")]
    assert desk.facts("a", "one").state is MigrationState.COMPLETE


# -- priorities --------------------------------------------------------------------------------------------------------


def test_priority_decides_whose_turn_it_is_from_the_next_batch_on(make_stored_site: MakeSite) -> None:
    desk = Desk(make_stored_site)

    def meanwhile(number: int) -> None:
        if number == 1:
            desk.control.prioritise(SCHEMA, "c", 5, actor="alice", reason=None)

    desk.run(4, before=meanwhile)
    assert desk.batches() == ["a", "a", "c", "c"]
    desk.control.prioritise(SCHEMA, "c", None, actor="alice", reason=None)
    desk.run(1)
    assert desk.batches() == ["a"]
    assert [each.priority for each in desk.rows.show(SCHEMA, "c")] == [0]


def test_priority_passes_over_nobody_that_it_follows(make_site: MakeSite) -> None:
    desk = Desk(make_site, links={})
    desk.control.prioritise(SCHEMA, "c", 1000, actor="alice", reason=None)
    desk.run(2)
    assert desk.batches() == ["a", "a"]


def test_a_priority_out_of_range_is_refused(make_site: MakeSite) -> None:
    desk = Desk(make_site)
    with pytest.raises(Invalid) as refused:
        desk.control.prioritise(SCHEMA, "a", 1001, actor="alice", reason=None)
    assert "between -1000 and 1000" in refused.value.message


def test_one_that_another_worker_is_at_is_passed_over_for_the_others(make_site: MakeSite) -> None:
    desk = Desk(make_site)
    managed, was = desk.site.managed, desk.site.managed.run_batch

    def run_batch(database: str, migration: str, *args: int, **options: bool) -> MigrationFacts:
        if migration == "a":
            managed.calls.append(("claimed", database, migration))
            raise Conflict("batch_claimed", "another worker is at it", remedy="Wait.")
        return was(database, migration, *args, **options)  # type: ignore[arg-type]

    managed.run_batch = run_batch  # type: ignore[assignment,method-assign]
    desk.run()
    assert [desk.facts(name).state for name in NAMES] == [MigrationState.PENDING, *[MigrationState.COMPLETE] * 2]


# -- the pace ----------------------------------------------------------------------------------------------------------


def test_what_is_set_is_in_force_from_the_next_batch_on(make_stored_site: MakeSite) -> None:
    desk = Desk(make_stored_site, "main", "two")
    main = desk.site.managed.on["main"]
    desk.run(1)
    assert main.over.value("nice_ratio", 0.0) == 0.0
    desk.set(nice_ratio=2, batch_rows=500)
    desk.set("main", nice_ratio=7)
    desk.run(1)
    assert (main.over.value("nice_ratio", 0.0), main.over.value("batch_rows", 1.0)) == (7, 500)
    desk.run(1, "two")
    assert desk.site.managed.on["two"].over.value("nice_ratio", 0.0) == 2
    desk.set("main", defaults=("nice_ratio",))
    desk.run(1)
    assert main.over.value("nice_ratio", 0.0) == 2
    desk.set(defaults=("nice_ratio",))
    desk.run(1)
    assert main.over.value("nice_ratio", 0.0) == 0.0


def test_what_is_set_is_shown_beside_what_is_configured(make_site: MakeSite) -> None:
    desk = Desk(make_site)
    desk.set(nice_ratio=2)
    found = {each.name: each for each in desk.control.options(SCHEMA)}
    assert set(found) == {"nice_ratio", "batch_rows"}, "what cannot be set there is not offered"
    nice, rows = found["nice_ratio"], found["batch_rows"]
    assert nice.option is not None
    assert nice.setting is not None
    assert (nice.option.configured, nice.in_force, nice.setting.actor, nice.setting.reason) == (0.0, 2, "alice", "busy")
    assert (rows.in_force, rows.setting) == (20000.0, None)


def test_what_the_configuration_knows_no_more_is_shown_and_can_be_cleared(make_site: MakeSite) -> None:
    desk = Desk(make_site)
    desk.set(nice_ratio=2)
    desk.site.managed.on["main"].options = (ROWS,)
    (_, gone) = desk.control.options(SCHEMA)
    assert (gone.name, gone.option, gone.in_force) == ("nice_ratio", None, None)
    desk.set(defaults=("nice_ratio",))
    assert len(desk.control.options(SCHEMA)) == 1


@pytest.mark.parametrize(
    ("values", "code", "said"),
    [
        ({"nice_ratio": 101.0}, "option_value_invalid", "Should be less than or equal to 100"),
        ({"nice_ratio": math.nan}, "option_value_invalid", "no finite number"),
        ({"batch_rows": 1.5}, "option_value_invalid", "whole number"),
        ({"max_replica_lag_seconds": 4.0}, "replicas_unnamed", "none is named"),
        ({"nise_ratio": 1.0}, "option_unknown", "nise_ratio"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_of_it_is_set(
    make_site: MakeSite, values: dict[str, float], code: str, said: str
) -> None:
    desk = Desk(make_site)
    with pytest.raises(Invalid) as refused:
        desk.control.set(SCHEMA, None, {"batch_rows": 5.0, **values}, (), actor="alice", reason=None)
    assert (code_of(refused), said in refused.value.message) == (code, True)
    assert all(each.setting is None for each in desk.control.options(SCHEMA))


JOBS = Option("throttle:jobs", 10.0, 0.0, None, is_whole=False, help="How many.", free=-1.0)


def test_what_one_database_alone_knows_is_refused_for_all_with_the_word_that_is_missing(make_site: MakeSite) -> None:
    desk = Desk(make_site, "main", "two", "three")
    for each in ("two", "three"):
        desk.site.managed.on[each].options = (NICE, JOBS)
    with pytest.raises(Invalid) as refused:
        desk.switch_off("throttle:jobs")
    assert code_of(refused) == "option_unknown"
    assert refused.value.message == "throttle:jobs can be set in two, three, and not in main"
    assert refused.value.remedy == "Set it there alone: --database two; --database three."
    desk.switch_off("throttle:jobs", "two")
    with pytest.raises(Invalid) as misspelled:
        desk.switch_off("throttle:job", "main")
    assert misspelled.value.message == "nothing of that name can be set in main: throttle:job"
    assert misspelled.value.remedy == (
        "Known: nice_ratio, batch_rows, max_replica_lag_seconds. In other databases also: throttle:jobs."
    )


def test_a_limit_that_cannot_be_read_there_can_be_lifted(make_site: MakeSite) -> None:
    desk = Desk(make_site)
    desk.set(max_replica_lag_seconds=-1)
    (*_, line) = desk.site.store.read(lambda tx: tx.events(schema=SCHEMA, after=-1, limit=100))
    assert line.sentence == f"alice set max_replica_lag_seconds to off in all of {SCHEMA}"
    assert [each.in_force for each in desk.control.options(SCHEMA) if each.name == LAG.name] == [-1]


def test_what_was_not_set_cannot_be_cleared(make_site: MakeSite) -> None:
    desk = Desk(make_site)
    desk.set("main", nice_ratio=1)
    with pytest.raises(NotFound) as refused:
        desk.set(defaults=("nice_ratio",))
    assert code_of(refused) == "nothing_set"


def test_rows_rest_no_longer_than_that_before_somebody_looks_whether_they_are_paused(make_site: MakeSite) -> None:
    desk = Desk(make_site)
    main, rests = desk.site.managed.on["main"], []
    main.batch_fails = Conflict("batch_too_soon", "too soon", remedy="Wait.", wait_seconds=600.0)

    def rest(seconds: float) -> None:
        rests.append(seconds)
        for name in NAMES:
            desk.pause(name)

    desk.rows.run(SCHEMA, "main", may_go_on=lambda: True, rest=rest)
    assert rests == [LONGEST_LOOK_AWAY_SECONDS]
