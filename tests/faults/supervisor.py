"""A supervisor that kills: SIGKILLs by a seeded schedule, over whatever it keeps running."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

TICK_SECONDS = 0.02


class Victim(Protocol):
    """A process that may be killed now."""

    @property
    def name(self) -> str: ...

    def kill(self) -> None:
        """SIGKILL, and return when it is gone."""
        ...


class Ward(Protocol):
    """Processes of one kind, kept running."""

    def victims(self) -> Sequence[Victim]:
        """Those that may be killed now, the most interesting one first; none where a kill must wait."""
        ...

    def mend(self) -> None:
        """Start again what has ended, and tell whoever has to know. Called again and again."""
        ...


@dataclass(frozen=True)
class Kill:
    """One kill: how long after the one before (of the longest pause at that time, 0 to 1), of which ward, and whom."""

    pause: float
    ward: str
    first: bool
    which: float


def schedule(seed: int, kills: int, wards: Mapping[str, float], *, first: float = 0.6) -> tuple[Kill, ...]:
    """That many kills. `wards` has the weight of each; the most interesting victim is meant with chance `first`."""
    chance = random.Random(seed)
    names, weights = list(wards), list(wards.values())
    return tuple(
        Kill(chance.random(), chance.choices(names, weights)[0], chance.random() < first, chance.random())
        for _ in range(kills)
    )


@dataclass(frozen=True)
class Stage:
    """What is going on, with the longest pause between two kills then, and how many there may be in it."""

    name: str
    longest_pause_seconds: float
    kills: int


class Supervisor:
    """Runs in a thread between `start` and `stop`. What goes wrong in it is raised by `check`, and by `stop`.

    Kills that a stage did not last long enough for come in the next one.
    """

    def __init__(self, wards: Mapping[str, Ward], kills: Sequence[Kill]) -> None:
        self._wards = wards
        self._left = list(kills)
        self._stage = Stage("at rest", 1.0, 0)
        self._allowed = 0
        self._due = 0.0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._wrong: BaseException | None = None
        self.done: list[tuple[str, str]] = []

    def start(self) -> None:
        """Keep everything running."""
        self._thread.start()

    def enter(self, stage: Stage) -> None:
        """Another stage begins."""
        with self._lock:
            self._stage = stage
            self._allowed += stage.kills
            self._plan()

    @property
    def kills_left_of_stage(self) -> int:
        """How many kills are still to come of this stage and those before."""
        with self._lock:
            return min(self._allowed, len(self._left))

    def tally(self) -> Mapping[str, Mapping[str, int]]:
        """How many kills fell in each stage, by whom they met."""
        found: dict[str, Counter[str]] = {}
        for stage, victim in self.done:
            found.setdefault(stage, Counter())[victim] += 1
        return found

    def check(self) -> None:
        """Raise what went wrong."""
        if self._wrong is not None:
            raise self._wrong

    def stop(self) -> None:
        """Leave everything as it is from now on."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self.check()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(TICK_SECONDS):
                self._kill_when_due()
                for ward in self._wards.values():
                    ward.mend()
        except BaseException as error:
            self._wrong = error

    def _kill_when_due(self) -> None:
        with self._lock:
            if not self._left or not self._allowed or time.monotonic() < self._due:
                return
            kill, stage = self._left[0], self._stage.name
        victims = self._wards[kill.ward].victims()
        if not victims:
            return  # as soon as there is one
        victim = victims[0] if kill.first else victims[int(kill.which * len(victims))]
        victim.kill()
        with self._lock:
            del self._left[0]
            self._allowed -= 1
            self.done.append((stage, f"{kill.ward}: {victim.name}"))
            self._plan()

    def _plan(self) -> None:
        if self._left:
            self._due = time.monotonic() + self._left[0].pause * self._stage.longest_pause_seconds
