"""Whether a release of a fleet may start now: asked once, or waited for."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from urllib.parse import quote, urlencode

from orchestrator.client.clock import Clock, Pause, boottime, pause
from orchestrator.client.errors import NotYet, Unavailable, Unreachable
from orchestrator.client.patience import Patience
from orchestrator.client.registry import LONGEST_COPY_SECONDS, Copy, first_answer
from orchestrator.client.transport import Transport

LONGEST_QUESTION_SECONDS = 30.0
"""A daemon answers sooner if it can; proxies cut connections that are silent for longer."""


def ask_readiness(
    transport: Transport,
    *,
    schema: str,
    fleet: str,
    release: str,
    wait_seconds: float = 0.0,
    copy: Copy | None = None,
) -> None:
    """Return if that release may start now; the daemon may take `wait_seconds` to find that it may.

    Where no daemon answers, the copy does. Raises `NotYet` with `retry_after`, or `Conflict` if this release never may
    in the present state.
    """
    question = {"release": release, "fleet": fleet}
    if wait_seconds > 0:
        question["wait"] = f"{wait_seconds:g}"
    path = f"/v1/schemas/{quote(schema, safe='')}/readiness?{urlencode(question)}"

    def ask() -> None:
        transport.request("GET", path, timeout=wait_seconds + 10.0)

    first_answer(ask, lambda held: held.admits(schema, release), copy, LONGEST_COPY_SECONDS)


def wait_until_ready(
    transport: Transport,
    *,
    schema: str,
    fleet: str,
    release: str,
    wait_seconds: float,
    copy: Copy | None = None,
    clock: Clock = boottime,
    pause: Pause = pause,
    chance: Callable[[], float] = random,
) -> None:
    """Return once that release may start.

    Raises what the daemon said last (`NotYet`, `Unavailable`, `Unreachable`) when `wait_seconds` are over, and any
    other refusal at once.
    """
    patience = Patience(wait_seconds, clock=clock, pause=pause, chance=chance)
    while True:
        try:
            return ask_readiness(
                transport,
                schema=schema,
                fleet=fleet,
                release=release,
                wait_seconds=min(patience.remaining(), LONGEST_QUESTION_SECONDS),
                copy=copy,
            )
        except (NotYet, Unavailable, Unreachable) as error:
            patience.wait_after(error)
