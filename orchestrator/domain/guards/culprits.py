"""How blockers speak of groups of instances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.domain.fleets import Instance, InstanceState, Sessions
from orchestrator.domain.view import Blocker
from orchestrator.domain.visible import typed


def instances_of(count: int, fleet: str) -> str:
    """`3 instances of nova-compute`, with the right number."""
    return f"{count} instance{'' if count == 1 else 's'} of {fleet}"


def those_that_answer(group: Sequence[Instance], now: float) -> tuple[Instance, ...]:
    """The instances of which an answer can be expected."""
    return tuple(each for each in group if each.state is InstanceState.ALIVE and not each.is_expired(now))


def silent_blockers(schema: str, fleet: str, release: str, group: Sequence[Instance], now: float) -> Iterator[Blocker]:
    """Blockers for instances that are in the way and will not answer any more: possibly alive until evicted."""
    expired = [each for each in group if each.is_expired(now)]
    if expired:
        yield _expired(schema, fleet, release, expired, now)
    for instance in group:
        if instance.state is InstanceState.EVICTING:
            yield _evicting(instance)


def _evicting(instance: Instance) -> Blocker:
    attest = (
        "when you know that the process is gone: orchestrator instance evict "
        f"{instance.schema} {typed(instance.fleet, instance.id)} --attest-dead --reason ..."
    )
    who = f"{instance.fleet} {instance.label} with release {instance.release} is being evicted"
    if instance.unproven is None:
        return Blocker(
            "instance_evicting", f"{who}: its sessions are being ended", "It goes on by itself.", (instance.label,)
        )
    return Blocker(
        "instance_evicting",
        f"{who} and may still be alive: {instance.unproven}",
        f"{instance.remedy or 'It is tried again by itself.'} Or, {attest}",
        (instance.label,),
    )


def _expired(schema: str, fleet: str, release: str, expired: Sequence[Instance], now: float) -> Blocker:
    longest = max(now - instance.expires_at for instance in expired)
    first = expired[0]
    if first.sessions is Sessions.TAGGED:
        remedy = f"To end its sessions and count it out: orchestrator instance evict {schema} {typed(fleet, first.id)}"
    else:
        remedy = (
            "When you know that the process is gone: "
            f"orchestrator instance evict {schema} {typed(fleet, first.id)} --attest-dead"
        )
    return Blocker(
        "instance_expired",
        f"{instances_of(len(expired), fleet)} with release {release} stopped renewing (up to {longest:.0f} s ago) and "
        "may still be alive",
        f"{remedy} --reason ...",
        tuple(instance.label for instance in expired),
    )
