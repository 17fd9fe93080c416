"""Guard: every inventory source can be read, and nobody whom one lists is in the way of the phase."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from orchestrator.domain.guards.culprits import instances_of
from orchestrator.domain.guards.instances_support import supports
from orchestrator.domain.inventories import GOOD_FOR_SECONDS, Inventory
from orchestrator.domain.ladder import InStepBy, Phase, Side
from orchestrator.domain.sightings import Seen, seen
from orchestrator.domain.view import Blocker, View

_MARK_AS_DOWN = (
    "When you know that the process is gone: mark it in the service's own records, so that column down of the "
    "source's query is true."
)


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed for each source that cannot be read, tells too old a tale, or lists what cannot be understood.

    Also for each fleet with instances that are seen and hold no lease: they cannot live in `target`, they have to hold
    one because their release switches its behaviour, or they were evicted and live on.
    """
    yield from _unreadable(view)
    for (fleet, release), group in sorted(_grouped(seen(view)).items()):
        evicted = [each for each in group if each.is_evicted]
        others = [each for each in group if not each.is_evicted]
        if evicted:
            yield _seen_again(fleet, release, evicted)
        if not others:
            continue
        side = view.upgrade.side_of(release)
        if side is Side.NEW and view.upgrade.profile.in_step_by is InStepBy.CLIENT:
            yield from _split(others, _without_lease, view, fleet, release)
        elif not supports(view, release, target):
            wanted = view.upgrade.to_release if target > view.upgrade.phase else view.upgrade.from_release
            yield from _split(others, _unsupported, view, fleet, release, wanted)


def _grouped(found: Iterator[Seen]) -> dict[tuple[str, str], list[Seen]]:
    groups: dict[tuple[str, str], list[Seen]] = defaultdict(list)
    for each in found:
        groups[each.inventory.fleet, each.sighting.release].append(each)
    return groups


def _unreadable(view: View) -> Iterator[Blocker]:
    """One blocker for each source and reason, whatever the number of databases in which it is the same."""
    places: dict[tuple[str, str, str, str, str], list[str]] = defaultdict(list)
    for facts in view.databases:
        for inventory in facts.inventories:
            reason = _reason(inventory, view.now)
            if reason is not None:
                places[*reason, inventory.source, inventory.fleet].append(facts.name)
    for (code, sentence, remedy, source, fleet), databases in places.items():
        where = f" in {', '.join(databases)}" if len(view.databases) > 1 else ""
        yield Blocker(code, f"{source} does not tell what fleet {fleet} runs{where}: {sentence}", remedy, (fleet,))


def _reason(inventory: Inventory, now: float) -> tuple[str, str, str] | None:
    """Code, sentence and remedy."""
    if inventory.error is not None:
        return "inventory_unreadable", inventory.error, inventory.remedy or "It is asked again by itself."
    if not inventory.is_fresh(now):
        return (
            "inventory_stale",
            f"it was last read more than {GOOD_FOR_SECONDS:.0f} s ago",
            "The leading daemon asks it again by itself; `orchestrator status` says who leads.",
        )
    return None


def _split(group: Sequence[Seen], blocker: Callable[..., Blocker], view: View, *arguments: str) -> Iterator[Blocker]:
    """One blocker for those who live, another for the silent ones."""
    live = [each for each in group if not each.is_silent]
    silent = [each for each in group if each.is_silent]
    if live:
        yield blocker(view, live, *arguments)
    if silent:
        yield _silent(silent, *arguments[:2])


def _unsupported(view: View, group: Sequence[Seen], fleet: str, release: str, wanted: str) -> Blocker:
    return Blocker(
        "instance_seen_unsupported",
        f"waiting for {instances_of(len(group), fleet)} that still run{'s' if len(group) == 1 else ''} {release}, as "
        f"{_sources(group)} lists",
        f"Roll them to {wanted}. {_MARK_AS_DOWN}",
        _labels(group),
    )


def _without_lease(view: View, group: Sequence[Seen], fleet: str, release: str) -> Blocker:
    return Blocker(
        "lease_required",
        f"{instances_of(len(group), fleet)} run{'s' if len(group) == 1 else ''} {release}, as {_sources(group)} lists, "
        "without a lease; it switches its behaviour with the phase, so each has to hold one",
        "Let each register under the id, or from the host, by which the source lists it. " + _MARK_AS_DOWN,
        _labels(group),
    )


def _silent(group: Sequence[Seen], fleet: str, release: str) -> Blocker:
    longest = max(each.sighting.age_seconds or 0.0 for each in group)
    return Blocker(
        "instance_silent",
        f"{instances_of(len(group), fleet)} with release {release} gave no sign of life for up to {longest:.0f} s, as "
        f"{_sources(group)} lists, and may still be alive",
        _MARK_AS_DOWN,
        _labels(group),
    )


def _seen_again(fleet: str, release: str, group: Sequence[Seen]) -> Blocker:
    return Blocker(
        "instance_seen_again",
        f"{instances_of(len(group), fleet)} with release {release} {'was' if len(group) == 1 else 'were'} evicted, and "
        f"{'gives' if len(group) == 1 else 'give'} signs of life since, as {_sources(group)} lists",
        f"It works without a lease: stop it. {_MARK_AS_DOWN}",
        _labels(group),
    )


def _labels(group: Sequence[Seen]) -> tuple[str, ...]:
    return tuple(each.label for each in group)


def _sources(group: Sequence[Seen]) -> str:
    return ", ".join(dict.fromkeys(each.inventory.source for each in group))
