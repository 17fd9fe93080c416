"""How blockers speak of groups of instances."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.fleets import Instance
from orchestrator.domain.view import Blocker


def instances_of(count: int, fleet: str) -> str:
    """`3 instances of nova-compute`, with the right number."""
    return f"{count} instance{'' if count == 1 else 's'} of {fleet}"


def expired_blocker(schema: str, fleet: str, release: str, expired: Sequence[Instance], now: float) -> Blocker:
    """The blocker for instances that are in the way and whose lease ran out: possibly alive until evicted."""
    longest = max(now - instance.expires_at for instance in expired)
    return Blocker(
        "instance_expired",
        f"{instances_of(len(expired), fleet)} with release {release} stopped renewing (up to {longest:.0f} s ago) and "
        "may still be alive",
        "When you know that the process is gone: "
        f"orchestrator instance evict {schema} {fleet} {expired[0].id} --attest-dead --reason ...",
        tuple(instance.label for instance in expired),
    )
