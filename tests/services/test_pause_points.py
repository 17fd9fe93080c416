"""At every pause point between two writes: who may join, what a death leaves behind, what a second daemon does.

The store and the managed schema are wrapped; production code knows nothing of pauses. The first run counts the
points, then each of them is crossed with something happening there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest

from orchestrator.domain.errors import Conflict, Never, NotYet, OrchestratorError
from orchestrator.domain.ladder import Phase
from orchestrator.domain.upgrades import Status
from orchestrator.domain.view import MigrationState
from tests.services.conftest import MakeSite
from tests.services.site import SCHEMA, Daemon, Pauses, Process, Site, is_over


class Killed(BaseException):
    """The daemon dies here. Nothing in the program catches it."""


Stage = tuple[Site, Daemon]


def stopped_at(
    point: int, prepare: Callable[[Callable[[int], None]], Stage], act: Callable[[Site, Daemon], None]
) -> Stage:
    """A prepared site whose daemon lets `act` happen when it crosses that point."""
    stage: list[Stage] = []

    def hook(number: int) -> None:
        if number == point:
            act(*stage[0])

    stage.append(prepare(hook))
    return stage[0]


def die(site: Site, daemon: Daemon) -> None:
    """The daemon's last action."""
    raise Killed


# -- joins -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Try:
    """What a process that tried to join at a pause point saw: where the upgrade stood, and the answer."""

    point: str
    phase: Phase
    fence: Phase
    answer: str


def tries(make_site: MakeSite, release: str, way: Callable[[Site, Daemon], None], rest: Phase) -> list[Try]:
    """Let a process of `release` try to join once at every pause point on a way, each time on a site of its own."""

    def prepare(hook: Callable[[int], None] = lambda number: None) -> Stage:
        site = make_site(databases=("one", "two")).nobody_runs().begin().rest_at(rest)
        return site, site.daemon("first", hook)

    site, daemon = prepare()
    way(site, daemon)
    points = list(daemon.pauses.crossed)
    assert len(points) > 4, points
    found: list[Try] = []

    def try_to_join(site: Site, daemon: Daemon) -> None:
        point, upgrade = daemon.pauses.crossed[-1], site.upgrade
        found.append(Try(point, upgrade.phase, upgrade.fence, join(site, f"p{len(found)}", release)))

    for point in range(len(points)):
        site, daemon = stopped_at(point, prepare, try_to_join)
        way(site, daemon)
        assert_consistent(site)
    assert [each.point for each in found] == points
    return found


def join(site: Site, name: str, release: str, *, stays: bool = True) -> str:
    """The answer to a process that wants to join: what it is refused with, or that it joined."""
    try:
        process = Process(site, name, release)
    except (NotYet, Never) as refusal:
        assert site.store.read(lambda tx: tx.instance(SCHEMA, "inventory-api", name)) is None
        assert refusal.remedy
        return refusal.code
    if not stays:
        process.leave()
    return "joined"


def assert_consistent(site: Site) -> None:
    """Nobody possibly alive is outside its support range."""
    upgrade = site.upgrade
    for instance in site.leases.list(SCHEMA):
        side = upgrade.side_of(instance.release)
        assert side is not None
        assert upgrade.phase in upgrade.profile.support(side)


def into_backfill(site: Site, daemon: Daemon) -> None:
    site.go_on()
    daemon.cycle()


def back_to_base(site: Site, daemon: Daemon) -> None:
    site.upgrades.cancel(SCHEMA, actor="test", reason="no")
    daemon.work()


def test_the_old_release_is_refused_at_every_point_after_the_fence_to_backfill(make_site: MakeSite) -> None:
    found = tries(make_site, "1", into_backfill, Phase.EXPANDED)
    check_the_old_release(found)


def test_that_holds_on_every_store(make_stored_site: MakeSite) -> None:
    """On one site: whoever may join leaves again at once."""
    found: list[Try] = []

    def hook(number: int) -> None:
        upgrade = site.upgrade
        answer = join(site, f"p{number}", "1", stays=False)
        found.append(Try(daemon.pauses.crossed[number], upgrade.phase, upgrade.fence, answer))

    site = make_stored_site(databases=("one", "two")).nobody_runs().begin().rest_at(Phase.EXPANDED)
    daemon = site.daemon("first", hook)
    into_backfill(site, daemon)
    assert site.phase() is Phase.BACKFILL
    check_the_old_release(found)


def check_the_old_release(found: list[Try]) -> None:
    early = [each for each in found if each.fence is Phase.EXPANDED]
    between = [each for each in found if each.phase is Phase.EXPANDED and each.fence is Phase.BACKFILL]
    late = [each for each in found if each.phase is Phase.BACKFILL]
    assert [each.point for each in between] == [
        "go on from the state", "write the copy of one", "go on from the copy of one", "write the copy of two",
        "go on from the copy of two", "write the state", "go on from the state", "write the state",
    ]  # fmt: skip
    assert {each.answer for each in early} == {"joined"}, early
    assert {each.answer for each in between} == {"not_yet_admitted"}, between
    assert {each.answer for each in late} == {"release_too_old"}, late
    assert len(early) + len(between) + len(late) == len(found)


def test_the_new_release_may_join_at_every_point_on_the_way_to_backfill(make_site: MakeSite) -> None:
    found = tries(make_site, "2", into_backfill, Phase.EXPANDED)
    assert {each.answer for each in found} == {"joined"}


def test_the_new_release_is_refused_at_every_point_after_the_fence_to_base(make_site: MakeSite) -> None:
    found = tries(make_site, "2", back_to_base, Phase.EXPANDED)
    fenced = [each for each in found if each.fence is Phase.BASE]
    assert len(fenced) > 4
    assert "joined" not in {each.answer for each in fenced}
    assert {each.answer for each in found if each.fence is not Phase.BASE} == {"joined"}


def test_an_old_instance_that_joins_a_moment_before_the_fence_keeps_the_old_phase(make_site: MakeSite) -> None:
    """It joined between the dry run and the fence: the fence's own transaction sees it."""
    site = make_site(databases=("one",)).nobody_runs().begin().rest_at(Phase.EXPANDED).go_on()

    def join_at_first_write(number: int) -> None:
        if daemon.pauses.crossed[number] == "write the state" and site.upgrade.fence is Phase.EXPANDED:
            join(site, f"p{number}", "1")

    daemon = site.daemon("first", join_at_first_write)
    daemon.work()
    assert (site.phase(), site.upgrade.fence) == (Phase.EXPANDED, Phase.EXPANDED)
    assert site.codes == ["instance_unsupported"]


# -- deaths ----------------------------------------------------------------------------------------------------------


def ended(site: Site) -> tuple[object, ...]:
    """Where a site has come to, but for how many revisions it took."""
    databases = site.managed.on.values()
    return (
        site.release,
        site.upgrade.status,
        site.phase(),
        [(database.expanded_to, database.contracted_to) for database in databases],
        [database.migrations["split_name"] for database in databases],
        [(phase, fence, revision == site.upgrade.revision) for phase, fence, revision in site.copies()],
    )


def start(make_site: MakeSite, hook: Callable[[int], None] = lambda number: None) -> Stage:
    site = make_site(databases=("one", "two")).nobody_runs().begin()
    return site, site.daemon("first", hook)


def whole_upgrade(make_site: MakeSite) -> tuple[Site, list[str]]:
    site, daemon = start(make_site)
    daemon.work()
    assert is_over(site)
    return site, daemon.pauses.crossed


def assert_goes_on_after_a_death_at(point: int, make_site: MakeSite, expected: tuple[object, ...]) -> None:
    site, daemon = stopped_at(point, partial(start, make_site), die)
    with pytest.raises(Killed):
        daemon.work()
    before = site.upgrade
    second = site.daemon("second")
    assert second.epoch > daemon.epoch
    second.work()
    assert ended(site) == expected
    assert site.upgrade.revision >= before.revision
    assert site.actions().count("upgrade.completed") == 1
    assert site.actions().count("phase.publish") == 6
    with pytest.raises(Conflict) as refusal:
        site.begin("3")
        daemon.pauses.hook = lambda number: None
        daemon.work()
    assert refusal.value.code == "not_leader"


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.kill)], ids=["few", "all"])
def test_a_daemon_killed_at_any_point_is_continued_to_the_same_end(make_site: MakeSite, step: int) -> None:
    site, points = whole_upgrade(make_site)
    expected = ended(site)
    assert len(points) > 60
    for point in range(0, len(points), step):
        assert_goes_on_after_a_death_at(point, make_site, expected)


def test_a_daemon_killed_at_some_points_is_continued_on_every_store(make_stored_site: MakeSite) -> None:
    site, points = whole_upgrade(make_stored_site)
    for point in range(len(points) // 4, len(points), len(points) // 2):
        assert_goes_on_after_a_death_at(point, make_stored_site, ended(site))


def test_a_cancelled_upgrade_ends_at_base_after_a_death_at_any_point(make_site: MakeSite) -> None:
    def prepare(hook: Callable[[int], None] = lambda number: None) -> Stage:
        site = make_site(databases=("one", "two")).nobody_runs().begin().rest_at(Phase.READ_NEW).go_on()
        site.upgrades.cancel(SCHEMA, actor="test", reason="no")
        return site, site.daemon("first", hook)

    site, daemon = prepare()
    daemon.work()
    assert site.upgrade.status is Status.CANCELLED
    expected, points = ended(site), len(daemon.pauses.crossed)
    assert site.managed.on["one"].migrations["split_name"].state is MigrationState.PENDING
    for point in range(points):
        site, daemon = stopped_at(point, prepare, die)
        with pytest.raises(Killed):
            daemon.work()
        site.daemon("second").work()
        assert ended(site) == expected


# -- two daemons -----------------------------------------------------------------------------------------------------


def recorded(site: Site) -> tuple[object, ...]:
    """Everything on record that a daemon writes."""
    return (
        site.upgrade,
        site.actions(),
        site.store.read(lambda tx: tx.readings(SCHEMA)),
        [database.copy for database in site.managed.on.values()],
    )


@pytest.mark.kill
def test_a_daemon_that_sleeps_at_any_point_writes_nothing_once_another_leads(make_site: MakeSite) -> None:
    """While it sleeps, the other one completes the upgrade, and begins the next."""
    _, points = whole_upgrade(make_site)
    at_last: list[tuple[object, ...]] = []

    def overtake(site: Site, daemon: Daemon) -> None:
        second = site.daemon("second")
        second.work()
        Process(site, "new", "2")  # at rest: its ack belongs to no upgrade
        site.begin("3")
        second.work()
        at_last.append(recorded(site))
        daemon.pauses.hook = lambda number: look_at(site, daemon)

    def look_at(site: Site, daemon: Daemon) -> None:
        """Right after each write, before a later one could make up for it."""
        assert recorded(site) == at_last[-1], daemon.pauses.crossed[-2:]

    for point in range(len(points)):
        site, daemon = stopped_at(point, partial(start, make_site), overtake)
        try:
            daemon.work()
        except Conflict as refusal:
            assert refusal.code == "not_leader"
        look_at(site, daemon)
    assert len(at_last) == len(points)


@pytest.mark.kill
def test_two_daemons_that_take_turns_at_every_write_make_one_upgrade(make_site: MakeSite) -> None:
    """The second one has the same epoch: as if it had died and come back while its old self still ran."""
    site, points = whole_upgrade(make_site)

    def act_twice(twice: Site, daemon: Daemon) -> None:
        twin = Daemon(twice, "first", Pauses())
        assert twin.epoch == daemon.epoch
        twin.cycle()
        twin.move_rows()

    for point in range(len(points)):
        twice, daemon = stopped_at(point, partial(start, make_site), act_twice)
        finish(twice, daemon)
        assert ended(twice) == ended(site)
        assert twice.actions().count("phase.publish") == 6
        assert twice.actions().count("upgrade.completed") == 1


def finish(site: Site, daemon: Daemon) -> None:
    """A daemon whose writes lose against another's tries again at its next turn."""
    for _ in range(3):
        try:
            daemon.work()
        except OrchestratorError as error:
            assert error.code in {"stale_revision", "not_leader"}, error
    assert is_over(site)


def test_a_copy_never_goes_backwards(make_site: MakeSite) -> None:
    """A daemon that read the upgrade long ago finds the copy ahead of it, and says so instead of writing."""
    site = make_site(databases=("one",)).nobody_runs().begin().rest_at(Phase.EXPANDED).go_on()
    held = site.managed.on["one"].copy
    assert held is not None
    site.daemon().work()
    with pytest.raises(Conflict) as refusal:
        site.managed.write_copy("one", held)
    assert refusal.value.code == "copy_ahead"
