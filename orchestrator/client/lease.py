"""The lease of one instance: until when it holds, and when to renew it. Values only; the caller brings the time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.client.standing import Grant

DEADLINE_SHARE = 48 / 60
"""The share of the time to live after which the holder stops. The daemon waits for all of it, and some more."""

SPREAD = 0.25
"""Renewals come at their interval plus or minus this share, so that a fleet that started together spreads out."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to begin transactions. `deadline` and `renew_at` are readings of the instance's own clock."""

    epoch: str
    ttl_seconds: float
    renew_seconds: float
    deadline: float
    renew_at: float
    failures: int = 0

    @classmethod
    def granted(cls, grant: Grant, *, epoch: str, sent_at: float, chance: float) -> Lease:
        """The lease after a granted request that left after `sent_at`; `chance` is in [0, 1).

        The deadline counts from before the request left: the daemon cannot have begun to count earlier.
        """
        return cls(
            epoch=epoch,
            ttl_seconds=grant.ttl_seconds,
            renew_seconds=grant.renew_seconds,
            deadline=sent_at + grant.ttl_seconds * DEADLINE_SHARE,
            renew_at=sent_at + jittered(grant.renew_seconds, chance),
        )

    def is_live(self, now: float) -> bool:
        """True while transactions may begin."""
        return now < self.deadline

    def missed(self, now: float, *, chance: float, retry_after: float | None = None) -> Lease:
        """The lease after a renewal that failed: unchanged, to be tried again soon, then less and less often.

        A daemon's wish to be asked later is honoured up to one renewal interval.
        """
        backoff = min(self.renew_seconds / 20 * 2**self.failures, self.renew_seconds / 4)
        wish = min(retry_after or 0.0, self.renew_seconds)
        return replace(self, renew_at=now + max(jittered(backoff, chance), wish), failures=min(self.failures + 1, 8))

    def due(self, now: float) -> Lease:
        """The same lease, to be renewed at once: there is something to acknowledge."""
        return replace(self, renew_at=now)

    def request_timeout(self, now: float) -> float:
        """How long a renewal may take: a sixth of the time to live, and not far beyond the deadline.

        Up to four times as long after failures: a daemon that is slow would miss every one of many short chances.
        """
        longest = self.ttl_seconds / 6 * (1.0, 2.0, 4.0)[min(self.failures, 2)]
        if not self.is_live(now):
            return longest
        return min(longest, max(self.deadline - now, self.ttl_seconds / 60))


def jittered(seconds: float, chance: float) -> float:
    """`seconds` plus or minus `SPREAD`; `chance` is in [0, 1)."""
    return seconds * (1 + SPREAD * (2 * chance - 1))
