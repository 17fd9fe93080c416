"""How far the replicas of a database are behind it.

Servers measure this in their own ways, each of which is wrong at times: a replica of an idle server last replayed
something long ago, and one that is stuck reports what it reported before. So where positions in the log can be
compared they decide: what the server had written at the last reading was replayed meanwhile, or it was not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.dialects import Database
from orchestrator.dialects.load import Replica
from orchestrator.domain.errors import OrchestratorError
from orchestrator.throttles import Sample
from orchestrator.throttles.asking import asking


@dataclass(frozen=True, slots=True)
class _Mark:
    """What the server had written at that time, and the replica had not replayed before."""

    position: int
    at: float


class ReplicaLag:
    """Implements `orchestrator.throttles.Signal`.

    Asks the `replicas` that are named; without any, the server who is connected to it. `clock` is monotonic.
    """

    name = "replica lag"
    unit = "s"

    def __init__(
        self, database: Database, replicas: Sequence[Database], timeout_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._replicas = tuple(replicas)
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._marks: dict[str, _Mark] = {}

    def read(self) -> tuple[Sample, ...]:
        now, load = self._clock(), self._database.dialect.load
        with asking(self._database, self._timeout_seconds) as connection:
            written = load.written(connection)
            found = () if self._replicas else load.replicas(connection)
        if self._replicas:
            return tuple(self._ask(replica, written, now) for replica in self._replicas)
        if not found:
            return (Sample(error="no replica is connected to it; replicas may be named in the option replicas"),)
        return tuple(self._sample(replica, written, now) for replica in found)

    def _ask(self, replica: Database, written: int | None, now: float) -> Sample:
        try:
            with asking(replica, self._timeout_seconds) as connection:
                found = replica.dialect.load.replica(connection, replica.name)
        except OrchestratorError as error:
            return Sample(of=_named(replica.name), error=error.message, remedy=error.remedy)
        return self._sample(found, written, now)

    def _sample(self, replica: Replica, written: int | None, now: float) -> Sample:
        lag = self._lag(replica, written, now)
        if lag is None:
            return Sample(of=_named(replica.name), error="it is behind, and it is not known yet how far")
        return Sample(lag, _named(replica.name))

    def _lag(self, replica: Replica, written: int | None, now: float) -> float | None:
        """In seconds; None where nobody knows."""
        if replica.position is None or written is None:
            return replica.lag_seconds
        mark = self._marks.get(replica.name)
        if mark is None or replica.position >= mark.position:
            self._marks[replica.name] = _Mark(written, now)
        if replica.position >= written:
            return 0.0
        if mark is None:
            return replica.lag_seconds
        if replica.position >= mark.position:
            bound = now - mark.at
            return bound if replica.lag_seconds is None else min(replica.lag_seconds, bound)
        return max(replica.lag_seconds or 0.0, now - mark.at)


def _named(name: str) -> str:
    return f"replica {name}"
