"""Health: is this daemon alive, and can it do its work."""

from __future__ import annotations

from orchestrator.api.exchange import Answer, Asked, Nothing, View
from orchestrator.domain.errors import Unavailable


class HealthView(View, frozen=True, kw_only=True):
    """A yes."""

    ok: bool


async def alive(asked: Asked[Nothing, Nothing]) -> Answer:
    """200 while the daemon's jobs run; 503 when it should be restarted. It waits for nothing, not even for a thread."""
    if not asked.services.is_healthy():
        raise Unavailable(
            "daemon_unhealthy", "the daemon's jobs do not run", remedy="Look at its log, then restart it."
        )
    return Answer(HealthView(ok=True))


def ready(asked: Asked[Nothing, Nothing]) -> Answer:
    """200 while the state database answers; 503 when requests would fail."""
    asked.services.board.events(schema=None, after=-1, limit=1)
    return Answer(HealthView(ok=True))
