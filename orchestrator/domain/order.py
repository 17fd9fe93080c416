"""Order: which data migration of a release waits for which others, in one database.

Without a word of its author one follows all that stand before it in the manifest, and may read what they wrote. With
`after` it follows those that it names, and what they follow. No two work on one table at a time, unless both say that
they may.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.domain.releases import Link
from orchestrator.domain.view import MigrationState

UNDER_WAY = (MigrationState.RUNNING, MigrationState.VERIFYING)
DONE = (MigrationState.COMPLETE, MigrationState.ASSUMED)
TO_DO = (MigrationState.PENDING, *UNDER_WAY)

States = Mapping[str, MigrationState]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an order is none: `name` is the data migration whose author can mend it, `why` follows its name."""

    name: str
    why: str
    remedy: str


def in_manifest_order(names: Sequence[str]) -> tuple[Link, ...]:
    """The links of data migrations of whose files nothing is known: each follows all before it."""
    return tuple(Link(name) for name in names)


def predecessors(links: Sequence[Link], name: str) -> tuple[str, ...]:
    """Those that are complete before this one begins, without what these follow themselves."""
    names = [link.name for link in links]
    position = names.index(name)
    after = links[position].after
    return tuple(names[:position]) if after is None else after


def followers(links: Sequence[Link], name: str) -> tuple[str, ...]:
    """Those that follow this one, directly or through others, in the manifest's order."""
    found = {name}
    while True:
        more = {link.name for link in links if found.intersection(predecessors(links, link.name))} - found
        if not more:
            return tuple(link.name for link in links if link.name in found and link.name != name)
        found |= more


def fault_of(links: Sequence[Link]) -> Fault | None:
    """What is wrong with the order, None where nothing is: a name that the release does not have, or a circle."""
    names = [link.name for link in links]
    for link in links:
        for other in link.after or ():
            if other not in names:
                known = ", ".join(each for each in names if each != link.name) or "none"
                return Fault(
                    link.name,
                    f"is to run after {other!r}, which its release does not list beside it",
                    f"Name others of its release, or take it out: those of earlier releases have run by then. "
                    f"Others: {known}.",
                )
    for link in links:
        if link.after is not None and link.name in _all_before(links, link.name):
            return Fault(
                link.name,
                f"is to run after {', '.join(link.after)}, and follows itself through that",
                "Without `after` a data migration follows all that stand before it in the manifest: give it "
                "`after = ()`, or change the order in the manifest.",
            )
    return None


def in_the_way(links: Sequence[Link], states: States, name: str) -> str | None:
    """The one that this data migration waits for, None where it may begin, or go on.

    Of two on one table that are both under way, as after a retry, the first of the manifest goes on.
    """
    for other in predecessors(links, name):
        if states.get(other) not in DONE:
            return other
    return next(iter(at_table(links, states, name)), None)


def at_table(links: Sequence[Link], states: States, name: str) -> Iterator[str]:
    """Those that keep this one from its table."""
    names = [link.name for link in links]
    mine = names.index(name)
    has_begun = states.get(name) in UNDER_WAY
    for position, other in enumerate(links):
        if states.get(other.name) in UNDER_WAY and collide(links[mine], other) and (position < mine or not has_begun):
            yield other.name


def collide(one: Link, other: Link) -> bool:
    """Whether two may not work at the same time: they change one table, as far as their names tell."""
    if one.name == other.name or (one.shares_table and other.shares_table):
        return False
    if one.table is None or other.table is None:
        return True
    (one_schema, _, one_table), (schema, _, table) = (
        each.casefold().rpartition(".") for each in (one.table, other.table)
    )
    return one_table == table and (one_schema == schema or not one_schema or not schema)


def next_of(
    links: Sequence[Link], states: States, priorities: Mapping[str, int], *, without: Collection[str] = ()
) -> str | None:
    """Whose turn it is: of those that may begin or go on the one of the highest priority, else of the manifest's order.

    `without` are those that are paused, or in somebody else's hands.
    """
    able = [
        link.name
        for link in links
        if states.get(link.name) in TO_DO and link.name not in without and in_the_way(links, states, link.name) is None
    ]
    return max(able, key=lambda name: priorities.get(name, 0), default=None)


def _all_before(links: Sequence[Link], name: str) -> set[str]:
    found: set[str] = set()
    left = [*predecessors(links, name)]
    while left:
        each = left.pop()
        if each not in found:
            found.add(each)
            left += predecessors(links, each)
    return found
