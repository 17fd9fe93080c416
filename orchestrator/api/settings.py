"""The settings of the API, made by whoever puts the daemon together."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.api.auth import Tokens


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """How the API is served. Without `tokens` nobody is asked who they are, and only loopback names are answered.

    `fresh_seconds` is how old what is answered may be, 0 for not at all; `watch_interval_seconds` how soon those who
    wait hear of a change; `most_waiters` how many may wait; `gather_seconds` how long a join or renewal waits for
    others to be committed with; `turn_wait_seconds` how long a request waits for its turn to ask managed databases.
    """

    tokens: Tokens | None = None
    fresh_seconds: float = 0.25
    watch_interval_seconds: float = 0.25
    most_waiters: int = 5000
    gather_seconds: float = 0.025
    turn_wait_seconds: float = 10.0
