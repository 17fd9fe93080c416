"""Waiting: asking until the answer is yes, the time is over, or the answer can never be yes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import random

from orchestrator.client.clock import Clock, Pause, boottime, pause
from orchestrator.client.errors import NotYet, Unavailable, Unreachable
from orchestrator.client.patience import Patience
from orchestrator.client.readiness import LONGEST_QUESTION_SECONDS
from orchestrator.domain.errors import Kind


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long, and on which clock. Tests bring their own, so that nothing sleeps."""

    seconds: float
    clock: Clock = boottime
    pause: Pause = pause
    chance: Callable[[], float] = random

    def until_yes(self, ask: Callable[[float], str], tell: Callable[[str], None]) -> str:
        """The sentence of the yes. `ask` is given the seconds that an answer may take, and raises `NotYet` for a no.

        A daemon that does not answer is asked again too. `tell` hears each new reason to wait, once. Raises the last
        error when the time is over, and any other one at once.
        """
        patience = Patience(self.seconds, clock=self.clock, pause=self.pause, chance=self.chance)
        told = ""
        while True:
            try:
                return ask(min(patience.remaining(), LONGEST_QUESTION_SECONDS))
            except (NotYet, Unavailable, Unreachable) as error:
                if error.message != told:
                    told = error.message
                    tell(f"waiting: {told}")
                patience.wait_after(error)


def not_yet(code: str, sentence: str, remedy: str) -> NotYet:
    """A no that may become a yes, where it was answered with a status of 200."""
    return NotYet(code, sentence, remedy=remedy, status=200, problem={"kind": Kind.NOT_YET.value})
