"""Last words: on a cluster, how long the last statement of an owner that was passed may still come.

There a session's lock is known to one member only. An owner that was passed can claim nothing any more, and so intend
nothing; but what it intended before, it may still send. So it sends soon after its intent, or claims again. Its
server ends its session if it does nothing for some seconds in between. Who finds such an intent waits for as long
as both take, by its own clock and from after its own claim: no time passes between machines, and no member has to be
reached.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

import sqlalchemy as sa

from orchestrator.dialects import Dialect

LOG = logging.getLogger(__name__)

SEND_SECONDS = 3.0
"""A statement is sent so soon after its intent began to be written, or its owner claims its row again."""

IDLE_SECONDS = 5
"""The server ends a session that has sent nothing for so long after an intent."""

MARGIN_SECONDS = 4.0
"""For clocks that run differently, and for what a server has received and not yet begun."""


class LastWords:
    """Of one run of one revision, whose owner has claimed its row. Does nothing where a session's lock is enough."""

    def __init__(
        self,
        connection: sa.Connection,
        dialect: Dialect,
        *,
        sleep: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.member = dialect.cluster_member(connection)
        self._connection = connection
        self._dialect = dialect
        self._sleep = sleep
        self._clock = clock
        self._intended_at = clock()
        self._is_limited = False

    def intend(self) -> None:
        """Before an intent is written. From now on the server ends the session if it is silent."""
        if self.member is None:
            return
        if not self._is_limited:
            self._dialect.end_when_idle(self._connection, IDLE_SECONDS)
            self._is_limited = True
        self._intended_at = self._clock()

    @property
    def is_late(self) -> bool:
        """Whether what was intended may not be sent without another claim."""
        return self.member is not None and self._clock() - self._intended_at > SEND_SECONDS

    def end(self) -> None:
        """What was intended has been sent and has ended: the session may be silent again."""
        if self._is_limited:
            self._is_limited = False
            self._dialect.end_when_idle(self._connection, None)

    def outlast(self, members: Iterable[str | None]) -> bool:
        """Wait until nothing of what was intended on other members can still come. Returns whether that took time.

        Of an intent of this member, the lock of the schema tells that the session of its sender has ended.
        """
        if self.member is None or all(member == self.member for member in members):
            return False
        seconds = SEND_SECONDS + IDLE_SECONDS + MARGIN_SECONDS
        LOG.info(
            "waits %(seconds)d s for what an owner on another member may still send",
            {"action": "revision.outlast", "seconds": seconds},
        )
        self._sleep(seconds)
        return True
