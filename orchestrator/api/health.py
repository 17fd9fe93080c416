"""Health: is this daemon alive, and can it do its work."""

from __future__ import annotations

from orchestrator.api.exchange import Answer, Asked, Nothing, View
from orchestrator.domain.errors import OrchestratorError, Unavailable


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
    """200 while the state database answers; 503 when requests would fail. Strangers are not told where it is."""
    try:
        asked.services.board.events(schema=None, after=-1, limit=1)
    except OrchestratorError as error:
        raise Unavailable(
            "state_database_unavailable", "the state database does not do its work", remedy="The daemon's log says why."
        ) from error
    return Answer(HealthView(ok=True))
