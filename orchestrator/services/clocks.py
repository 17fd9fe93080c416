"""The state database's clock: what this daemon sees of its jumps, and how the times in the state follow them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from orchestrator.domain.clocks import TOLERANCE_SECONDS, Reading, jump_between
from orchestrator.ports import Transaction
from orchestrator.services.context import event

SHOWN_SECONDS = 600.0
"""For how long `status` speaks of a jump."""


def own_clock() -> float:
    """Seconds on a clock of this machine that only grows, and runs while it is suspended where it can."""
    try:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    except (AttributeError, OSError):  # not Linux, or a sandbox that does not offer it
        return time.monotonic()


class ClockWatch:
    """Compares the database's clock with our own wherever it is read. For any number of threads.

    The state keeps by how much in all that clock is known to have jumped: its times are good for that. A jump that is
    not on record yet is taken out of the time that this daemon reads, so that no lease and no soak time ends early or
    late by it. Whoever leads puts it on record and moves the times, in one transaction.
    """

    def __init__(self, own: Callable[[], float] = own_clock) -> None:
        self._own = own
        self._lock = threading.Lock()
        self._last: Reading | None = None
        self._recorded: float | None = None
        self._seen = 0.0
        self._jump: tuple[float, float] | None = None

    def read(self, ask: Callable[[], float]) -> float:
        """Ask the database what time it is, and notice if its clock jumped since the last time."""
        before = self._own()
        reading = Reading(ask(), before, self._own())
        with self._lock:
            last = self._last
            if last is not None and reading.after < last.after:
                return reading.database
            self._last = reading
            jump = jump_between(last, reading) if last is not None else 0.0
            if jump:
                self._seen += jump
                self._jump = (jump, reading.after)
        return reading.database

    @property
    def has_news(self) -> bool:
        """Whether this daemon saw a jump that may not be on record."""
        return self._seen != 0.0

    def unrecorded(self, recorded: float) -> float:
        """By how much the clock jumped that is not on record, where so much is. What is on record is no news then."""
        with self._lock:
            missing = 0.0 if self._recorded is None else self._recorded + self._seen - recorded
            if self._seen == 0.0 or abs(missing) <= TOLERANCE_SECONDS:
                self._recorded, self._seen = recorded, 0.0
                return 0.0
            return missing

    def agree(self, recorded: float) -> None:
        """Take what is on record for all there was: a jump that the leading daemon did not see was our own clock's."""
        with self._lock:
            self._recorded, self._seen = recorded, 0.0

    def jumped_before(self, moment: float) -> bool:
        """Whether a jump is not on record that was noticed before that moment of our own clock."""
        jump = self._jump
        return self.has_news and jump is not None and jump[1] < moment

    def now(self) -> float:
        """Our own clock."""
        return self._own()

    @property
    def sentence(self) -> str | None:
        """What people should know of the last jump, for a while."""
        jump = self._jump
        if jump is None or self._own() - jump[1] > SHOWN_SECONDS:
            return None
        return f"the clock of the state database {said(jump[0])}; leases, soak times and pauses go on without the jump"


def said(jump: float) -> str:
    """The jump in words."""
    return f"jumped {'forward' if jump > 0 else 'back'} by {abs(jump):.0f} s"


def put_on_record(tx: Transaction, jump: float, *, actor: str, grant_seconds: float) -> None:
    """Move the times from which decisions measure along with the clock, and grant every lease so much more. Audited.

    The caller raises `clock_steps` of the leadership in the same transaction.
    """
    for state in tx.schemas():
        if state.upgrade_id is None and state.lost_until is None:
            continue
        locked = tx.lock_schema(state.name)
        if locked.lost_until is not None:
            tx.save_schema(replace(locked, lost_until=locked.lost_until + jump))
        upgrade = tx.upgrade(locked.upgrade_id) if locked.upgrade_id is not None else None
        if upgrade is not None:
            tx.save_upgrade(upgrade.with_times_moved(jump), expected_revision=upgrade.revision)
    tx.move_leases(jump, grant_seconds)
    event(
        tx, "clock.jump", f"the clock of the state database {said(jump)}; the times in the state follow it",
        actor=actor, schema=None,
    )  # fmt: skip
