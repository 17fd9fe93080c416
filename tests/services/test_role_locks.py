"""Roles as witnesses: nobody is connected under that of the old release wherever it cannot live, and nobody can be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.domain.errors import Conflict, Forbidden
from orchestrator.domain.ladder import Phase
from orchestrator.domain.roles import Role, RoleSession
from tests.fakes import FLEETS
from tests.services.conftest import MakeSite
from tests.services.site import SCHEMA, Site

OLD, NEW = "stock_1", "stock_2"


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """A site of two databases with a role for each release, of whose fleets nothing was ever reported."""
    return with_roles(make_site(databases=("one", "two")))


def with_roles(site: Site) -> Site:
    for database in site.managed.on.values():
        database.roles = {OLD: Role(OLD, "1"), NEW: Role(NEW, "2")}
    return site


def connect(site: Site, role: str, *, database: str = "two", count: int = 1) -> None:
    """Sessions begin under that role, or end."""
    roles = site.managed.on[database].roles
    known = roles[role]
    sessions = tuple(RoleSession(800 + number, "10.0.0.7", site.clock() - 90) for number in range(count))
    roles[role] = Role(known.name, known.release, known.is_locked, known.is_ours, sessions, count)


def locked(site: Site, role: str = OLD) -> list[bool]:
    return [database.roles[role].is_locked for database in site.managed.on.values()]


def changes(site: Site) -> list[tuple[str, ...]]:
    return [call for call in site.managed.calls if call[0] == "settle_roles"]


def test_old_role_is_locked_with_the_fence_to_backfill_and_the_new_one_never_is(site: Site) -> None:
    site.begin().rest_at(Phase.EXPANDED)
    assert locked(site) == [False, False]
    site.go_on()
    daemon = site.daemon()

    def hook(number: int) -> None:
        if daemon.pauses.crossed[number].startswith("settle the roles"):
            assert (site.phase(), site.upgrade.fence) == (Phase.EXPANDED, Phase.BACKFILL)

    daemon.pauses.hook = hook
    daemon.work()
    assert site.phase() > Phase.EXPANDED
    assert locked(site) == [True, True]
    assert locked(site, NEW) == [False, False]
    assert len(changes(site)) == 2
    assert site.actions().count("role.lock") == 2


def test_fleet_that_never_said_anything_is_known_by_the_old_role(site: Site) -> None:
    site.begin().daemon().work()
    assert site.release == "2"


def test_without_a_role_of_the_old_release_silence_is_still_nobody(site: Site) -> None:
    del site.managed.on["two"].roles[OLD]
    site.begin().daemon().work()
    assert site.codes == ["fleet_unknown"] * len(FLEETS)


def test_somebody_under_the_old_role_keeps_the_upgrade_where_it_is(site: Site) -> None:
    connect(site, OLD, count=2)
    site.begin().daemon().work()
    assert site.phase() is Phase.EXPANDED
    (blocker,) = site.board.plan(SCHEMA).status.blockers
    assert blocker.code == "role_in_use"
    assert blocker.sentence == (
        "2 sessions are connected to database two under role stock_1, which release 1 works under"
    )
    assert blocker.culprits[0].startswith("session 800 from 10.0.0.7, connected for ")
    assert "Roll what runs there to 2" in blocker.remedy
    assert locked(site) == [False, False], "who is let in is not locked out: the fence is not set"
    connect(site, OLD, count=0)
    site.daemon("second").work()
    assert site.release == "2"


def test_who_slips_in_before_the_lock_is_seen_after_it_and_the_fence_is_lifted(site: Site) -> None:
    site.begin().rest_at(Phase.EXPANDED).go_on()
    slipped: list[int] = []

    def slip_in(number: int) -> None:
        if daemon.pauses.crossed[number] == "settle the roles in two" and not slipped:
            slipped.append(number)
            connect(site, OLD)

    daemon = site.daemon("first", slip_in)
    daemon.work()
    assert (site.phase(), site.upgrade.fence) == (Phase.EXPANDED, Phase.EXPANDED)
    assert site.codes == ["role_in_use"]
    assert locked(site) == [False, False], "a fence that is lifted locks nobody out"
    assert site.actions().count("role.unlock") == 2


def test_going_back_unlocks_once_the_old_release_may_live_again(site: Site) -> None:
    site.begin().rest_at(Phase.BACKFILL)
    assert locked(site) == [True, True]
    site.upgrades.rollback(SCHEMA, Phase.EXPANDED, actor="test", reason="no")
    daemon = site.daemon()

    def hook(number: int) -> None:
        if daemon.pauses.crossed[number].startswith("settle the roles"):
            assert site.phase() is Phase.EXPANDED

    daemon.pauses.hook = hook
    daemon.work()
    assert locked(site) == [False, False]
    assert {database.roles[OLD].is_ours for database in site.managed.on.values()} == {False}


def test_role_that_somebody_else_locked_stays_locked(site: Site) -> None:
    site.managed.on["one"].roles[OLD] = Role(OLD, "1", is_locked=True)
    site.begin().rest_at(Phase.BACKFILL)
    site.upgrades.cancel(SCHEMA, actor="test", reason="no")
    site.daemon().work()
    assert locked(site) == [True, False]


def test_old_role_stays_locked_after_the_upgrade(site: Site) -> None:
    site.begin().daemon().work()
    assert site.release == "2"
    site.clock.advance(100)
    site.daemon("second").work()
    assert locked(site) == [True, True]


def test_new_role_in_use_keeps_the_upgrade_from_going_back_to_base(site: Site) -> None:
    site.begin().rest_at(Phase.EXPANDED)
    connect(site, NEW)
    site.upgrades.cancel(SCHEMA, actor="test", reason="no")
    site.daemon().work()
    assert site.codes == ["role_in_use"]
    connect(site, NEW, count=0)
    site.daemon("second").work()
    assert site.phase() is Phase.BASE


def test_what_is_missing_is_said_from_the_beginning(site: Site) -> None:
    for database in site.managed.on.values():
        database.roles[OLD] = Role(OLD, "1", problem="role x may not lock it", remedy="ALTER ROLE x CREATEROLE;")
    site.nobody_runs().begin().daemon().work()
    assert site.phase() is Phase.EXPANDED
    assert site.codes == ["role_unlockable", "role_unlockable"]
    notes = site.board.plan(SCHEMA).status.notes
    assert (
        "backfill: role stock_1 is locked in one before; it cannot be: role x may not lock it. ALTER ROLE x"
        in (notes[0])
    )
    assert changes(site) == []


def test_plan_announces_the_lock(site: Site) -> None:
    site.begin().rest_at(Phase.EXPANDED).go_on()
    assert site.board.plan(SCHEMA).status.notes[:2] == (
        "backfill: role stock_1 is locked in one before",
        "backfill: role stock_1 is locked in two before",
    )


@pytest.mark.parametrize(
    "failure",
    [
        Forbidden("x", "it refuses", remedy="Mend it."),
        Conflict("lock_busy", "somebody else is at it", remedy="Wait."),
    ],
)
def test_lock_that_is_not_had_lifts_the_fence_once_and_is_tried_again_later(
    site: Site, failure: Forbidden | Conflict
) -> None:
    site.nobody_runs().begin().rest_at(Phase.EXPANDED).go_on()
    site.managed.on["two"].settle_fails = failure
    daemon, revision = site.daemon(), site.upgrade.revision
    for _ in range(3):
        daemon.cycle()
        (blocker,) = site.board.plan(SCHEMA).status.blockers
        assert (blocker.code, blocker.remedy) == ("role_unlockable", failure.remedy)
        assert failure.message in blocker.sentence
    assert (site.phase(), site.upgrade.fence) == (Phase.EXPANDED, Phase.EXPANDED)
    assert site.upgrade.revision == revision + 2
    site.managed.on["two"].settle_fails = None
    site.daemon("second").work()
    assert site.release == "2"


class Died(Exception):
    pass


def test_a_daemon_that_dies_at_any_point_of_it_leaves_a_lock_that_the_next_one_settles(make_site: MakeSite) -> None:
    def dying_at(last: int) -> Callable[[int], None]:
        def die(number: int) -> None:
            if number == last:
                raise Died

        return die

    def fenced() -> Site:
        return with_roles(make_site(databases=("one", "two"))).begin().rest_at(Phase.EXPANDED).go_on()

    undisturbed = fenced().daemon()
    undisturbed.cycle()
    points = len(undisturbed.pauses.crossed)
    for last in range(points):
        site = fenced()
        with pytest.raises(Died):
            site.daemon("first", dying_at(last)).cycle()
        if site.phase() > Phase.EXPANDED:
            assert locked(site) == [True, True]
        site.upgrades.cancel(SCHEMA, actor="test", reason="no")
        site.daemon("second").work()
        assert site.phase() is Phase.BASE
        assert locked(site) == [False, False]
