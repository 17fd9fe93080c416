"""A window that opens at even intervals, for tests that need no calendar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from orchestrator.domain.windows import Opening


@dataclass(frozen=True)
class Every:
    """Opens every `period` seconds, from `first` on, for so long."""

    period: float
    seconds: float
    first: float = 0.0
    name: str = "night"

    def openings(self, since: float) -> Iterator[Opening]:
        for number in count(max(0, int((since - self.first - self.seconds) // self.period))):
            opens_at = self.first + number * self.period
            if opens_at + self.seconds > since:
                yield Opening(opens_at, opens_at + self.seconds)

    def told(self, moment: float) -> str:
        return f"second {moment:g}"
