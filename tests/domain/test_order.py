"""Order: which data migration of a release waits for which, and whose turn it is."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import pytest

from orchestrator.domain.order import (
    fault_of,
    followers,
    in_manifest_order,
    in_the_way,
    next_of,
    predecessors,
    unknown_to,
)
from orchestrator.domain.releases import Link, Release, Releases
from orchestrator.domain.view import MigrationState

PENDING, RUNNING, VERIFYING = MigrationState.PENDING, MigrationState.RUNNING, MigrationState.VERIFYING
COMPLETE, FAILED = MigrationState.COMPLETE, MigrationState.FAILED

SILENT = in_manifest_order(("a", "b", "c"))
FREE = (Link("a", "one"), Link("b", "two", after=()), Link("c", "three", after=("b",)))


def states(**given: MigrationState) -> Mapping[str, MigrationState]:
    return {"a": PENDING, "b": PENDING, "c": PENDING, **given}


def test_without_a_word_one_follows_all_that_stand_before_it() -> None:
    assert [predecessors(SILENT, name) for name in "abc"] == [(), ("a",), ("a", "b")]
    assert followers(SILENT, "a") == ("b", "c")


def test_with_a_word_it_follows_only_those_named_and_what_they_follow() -> None:
    assert [predecessors(FREE, name) for name in "abc"] == [(), (), ("b",)]
    assert [followers(FREE, name) for name in "abc"] == [(), ("c",), ()]
    chain = (Link("a", "one", after=("c",)), Link("b", "two", after=()), Link("c", "three", after=("b",)))
    assert followers(chain, "b") == ("a", "c")


@pytest.mark.parametrize(
    ("links", "said"),
    [
        ((Link("a"), Link("b", after=("z",))), ("b", "'z'")),
        ((Link("a", after=("a",)),), ("a", "follows itself")),
        ((Link("a", after=("b",)), Link("b", after=("a",))), ("a", "follows itself")),
        ((Link("a", after=("b",)), Link("b")), ("a", "follows itself")),  # b says nothing, so it follows a
    ],
)
def test_unknown_names_and_circles_are_faults(links: tuple[Link, ...], said: tuple[str, str]) -> None:
    fault = fault_of(links)
    assert fault is not None
    assert fault.name == said[0]
    assert said[1] in fault.why


A = Link("a", "items", reads=frozenset({("items", "old")}), writes=frozenset({"new"}))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (Link("b", "Items", writes=frozenset({"new", "more"})), ("b", "writes new, which a writes too")),
        (Link("b", "s.items", writes=frozenset({"new"})), ("b", "writes new, which a writes too")),
        (Link("b", "items", writes=frozenset({"old"})), ("a", "reads old, which b writes")),
        (Link("b", "items", after=(), reads=frozenset({("items", "new")})), ("b", "reads new, which a writes")),
        (Link("b", "others", after=(), reads=frozenset({("items", "new")})), ("b", "reads new, which a writes")),
        (Link("b", "others", after=(), reads=frozenset({("items", "*")})), ("b", "reads new, which a writes")),
    ],
)
def test_what_one_has_proven_is_not_changed_by_another(other: Link, said: tuple[str, str]) -> None:
    fault = fault_of((A, other))
    assert fault is not None
    assert fault.name == said[0]
    assert said[1] in fault.why


@pytest.mark.parametrize(
    "links",
    [
        (A, Link("b", "items", reads=frozenset({("items", "new"), ("items", "old")}), writes=frozenset({"more"}))),
        (A, Link("b", "others", writes=frozenset({"new", "old"}))),
        (Link("b", "items", writes=frozenset({"old"})), A),
        (Link("a", "t", after=("c",), reads=frozenset({("t", "x")})), Link("b", "t", after=(), writes=frozenset({"x"})),
         Link("c", "t", after=("b",), writes=frozenset({"y"}))),
        (A, Link("b", None)),
    ],
)  # fmt: skip
def test_one_that_follows_may_read_what_was_written(links: tuple[Link, ...]) -> None:
    assert fault_of(links) is None


AFTERS = (None, (), ("a",), ("b",), ("c",), ("a", "b"), ("b", "c"))
TABLES = ("one", "one", "two", None)


@pytest.mark.parametrize("done", [(), ("a",), ("b",), ("c",)])
def test_those_that_are_under_way_never_all_wait_for_each_other(done: tuple[str, ...]) -> None:
    """As after all were doubted: whoever is complete is not in the way, and one of the others goes on."""
    under_way = {name: COMPLETE if name in done else VERIFYING for name in "abc"}
    orders = 0
    for afters in product(AFTERS, repeat=3):
        for tables in product(TABLES, repeat=3):
            links = tuple(Link(name, table, after) for name, table, after in zip("abc", tables, afters, strict=True))
            if fault_of(links) is None:
                orders += 1
                assert next_of(links, under_way, {}) is not None, links
    assert orders > 1000


def test_only_a_function_may_change_what_nobody_knows_of() -> None:
    links = (A, Link("b", "items"), Link("f"))
    assert [unknown_to(links, link.name) for link in links] == [("f",), ("f",), ("a", "b")]


def test_an_order_against_the_manifest_is_one() -> None:
    assert fault_of((Link("a", after=("b",)), Link("b", after=()))) is None
    assert fault_of(FREE) is None


def test_one_that_failed_holds_up_those_that_follow_it_alone() -> None:
    failed = states(a=FAILED)
    assert next_of(SILENT, failed, {}) is None
    assert next_of(FREE, failed, {}) == "b"
    assert next_of(FREE, states(a=FAILED, b=COMPLETE), {}) == "c"


def test_one_that_is_paused_holds_up_those_that_follow_it_alone() -> None:
    assert next_of(SILENT, states(), {}, without={"a"}) is None
    assert next_of(FREE, states(), {}, without={"a"}) == "b"
    assert next_of(FREE, states(), {}, without={"b"}) == "a"


def test_priority_decides_among_those_that_may_run() -> None:
    assert next_of(FREE, states(), {}) == "a"
    assert next_of(FREE, states(), {"b": 5}) == "b"
    assert next_of(FREE, states(), {"c": 5}) == "a", "c waits for b all the same"
    assert next_of(FREE, states(), {"a": -1}) == "b"
    assert next_of(FREE, states(a=RUNNING), {"b": 1}) == "b", "at its next batch"


def test_two_on_one_table_wait_for_each_other() -> None:
    links = (Link("a", "items"), Link("b", "public.Items", after=()), Link("c", "other", after=()))
    assert in_the_way(links, states(a=RUNNING), "b") == "a"
    assert in_the_way(links, states(b=VERIFYING), "a") == "b"
    assert in_the_way(links, states(a=FAILED), "b") is None
    assert in_the_way(links, states(a=RUNNING), "c") is None


def test_of_two_that_are_under_way_on_one_table_the_first_goes_on() -> None:
    links = (Link("a", "items"), Link("b", "items", after=()))
    both = states(a=RUNNING, b=RUNNING)
    assert (in_the_way(links, both, "a"), in_the_way(links, both, "b")) == (None, "a")


def test_two_that_both_say_that_they_share_their_table_do() -> None:
    one, other = Link("a", "items", shares_table=True), Link("b", "items", after=(), shares_table=True)
    assert in_the_way((one, other), states(a=RUNNING), "b") is None
    alone = Link("b", "items", after=())
    assert in_the_way((one, alone), states(a=RUNNING), "b") == "a"


def test_tables_of_two_schemas_of_the_database_are_two() -> None:
    links = (Link("a", "one.items"), Link("b", "two.items", after=()))
    assert in_the_way(links, states(a=RUNNING), "b") is None


def test_beside_are_those_of_the_same_release_and_direction() -> None:
    releases = Releases("s", (Release("1"), Release("2", data_migrations=("a", "b"), reverse_data_migrations=("c",))))
    assert (releases.beside("b"), releases.beside("c"), releases.beside("z")) == (("a", "b"), ("c",), ())
