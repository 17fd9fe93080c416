"""Order: which data migration of a release waits for which others, in one database.

Without a word of its author one follows all that stand before it in the manifest, and may read what they wrote. With
`after` it follows those that it names, and what they follow. No two work on one table at a time, unless both say that
they may. None changes what another one has proven: each column is written by one, and read by those that follow it.
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
    """What is wrong with the order, None where nothing is.

    A name that the release does not have, a circle, or a column that would change after rows were proven by it.
    """
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
    return next(_unproven(links), None)


def in_the_way(links: Sequence[Link], states: States, name: str) -> str | None:
    """The one that this data migration waits for, None where it may begin, or go on.

    Of two on one table that are both under way, as after a retry, the earlier one of `_ranks` goes on.
    """
    for other in predecessors(links, name):
        if states.get(other) not in DONE:
            return other
    return next(iter(at_table(links, states, name)), None)


def at_table(links: Sequence[Link], states: States, name: str) -> Iterator[str]:
    """Those that keep this one from its table."""
    mine, ranks = next(link for link in links if link.name == name), _ranks(links)
    has_begun = states.get(name) in UNDER_WAY
    for other in links:
        is_earlier = ranks[other.name] < ranks[name] or not has_begun
        if is_earlier and states.get(other.name) in UNDER_WAY and collide(mine, other):
            yield other.name


def _ranks(links: Sequence[Link]) -> dict[str, int]:
    """A place for each: behind those that it follows, else in the manifest's order.

    Whoever is under way waits for none but those in lower places, so that no two wait for each other.
    """
    ranks: dict[str, int] = {}
    while len(ranks) < len(links):
        left = [link.name for link in links if link.name not in ranks]
        able = (name for name in left if ranks.keys() >= set(predecessors(links, name)))
        ranks[next(able, left[0])] = len(ranks)
    return ranks


def collide(one: Link, other: Link) -> bool:
    """Whether two may not work at the same time: they change one table, as far as their names tell."""
    if one.name == other.name or (one.shares_table and other.shares_table):
        return False
    return one.table is None or other.table is None or _is_one_table(one.table, other.table)


def unknown_to(links: Sequence[Link], name: str) -> tuple[str, ...]:
    """Those of which nobody can tell whether this one changes what they were proven by: one of both has no table.

    Of all others `fault_of` tells.
    """
    mine = next(link for link in links if link.name == name)
    return tuple(link.name for link in links if link.name != name and (mine.table is None or link.table is None))


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


def _unproven(links: Sequence[Link]) -> Iterator[Fault]:
    """Those that write, or read too early, a column that another one writes."""
    for position, link in enumerate(links):
        for other in links[:position]:
            both = link.writes & other.writes if _have_one_table(link, other) else frozenset()
            if both:
                yield Fault(
                    link.name,
                    f"writes {', '.join(sorted(both))}, which {other.name} writes too: what one of them has proven "
                    "would not hold any more",
                    "Let one of them compute each column.",
                )
        before = _all_before(links, link.name)
        for other in links:
            if other is link or other.name in before:
                continue
            if columns := sorted(_read_from(link, other)):
                is_before = link.name in _all_before(links, other.name)
                behind = f"et it stand behind {other.name} in the manifest"
                remedy = f"Name {other.name} in its `after`, or l{behind}."
                if is_before:
                    remedy = f"L{behind}, and do not let {other.name} follow it."
                yield Fault(
                    link.name,
                    f"reads {', '.join(columns)}, which {other.name} writes, and does not follow it: what it has "
                    "proven would not hold any more",
                    f"{remedy} If a column of another table is meant, put the name of that table before it, and its "
                    "schema where it has the same name.",
                )


def _read_from(link: Link, other: Link) -> frozenset[str]:
    """The columns that one reads and the other one writes."""
    if other.table is None:
        return frozenset()
    read = {column for table, column in link.reads if _is_one_table(table, other.table)}
    return other.writes if "*" in read else other.writes & read


def _have_one_table(one: Link, other: Link) -> bool:
    return one.table is not None and other.table is not None and _is_one_table(one.table, other.table)


def _is_one_table(one: str, other: str) -> bool:
    """Whether both are the same table, or may be, where one does not say in which schema."""
    (one_schema, _, one_table), (schema, _, table) = (each.casefold().rpartition(".") for each in (one, other))
    return one_table == table and (one_schema == schema or not one_schema or not schema)


def _all_before(links: Sequence[Link], name: str) -> set[str]:
    found: set[str] = set()
    left = [*predecessors(links, name)]
    while left:
        each = left.pop()
        if each not in found:
            found.add(each)
            left += predecessors(links, each)
    return found
