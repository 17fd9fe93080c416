"""Desks: what arrives within a moment is done together, so that many joins or renewals are one commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import Generic, TypeVar

from orchestrator.domain.errors import Kind, OrchestratorError
from orchestrator.ports import Transaction
from orchestrator.services.leases import Lease, Leases
from orchestrator.services.renewing import Outcome, Renewal, Renewing

Q = TypeVar("Q")
A = TypeVar("A")

log = logging.getLogger(__name__)

COME_AGAIN = (Kind.NOT_YET, Kind.UNAVAILABLE)
"""What fails for these reasons fails for each of a bundle alike."""

MOST_AT_ONCE = 2000
"""So many requests are done together at the most; the others come next."""

ODD_AT_ONCE = 20
"""Of the renewals of one request that are not plain, so many wait for their turn at a time: others come in between."""


class Desk(Generic[Q, A]):
    """One bundle is under way at a time, in a thread of its own; who comes meanwhile is in the next one.

    `do` answers each question of a bundle, in their order, or says why not. Where it fails for what one of them may
    bring about, each is done alone. Belongs to one event loop.
    """

    def __init__(self, do: Callable[[Sequence[Q]], Sequence[A | OrchestratorError]], *, gather_seconds: float) -> None:
        self._do = do
        self._gather_seconds = gather_seconds
        self._thread = ThreadPoolExecutor(1, "desk")  # those of other requests may all be taken
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._clerk: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """The answer to this one. Raises why there is none."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._clerk is None or self._clerk.done():
            self._clerk = asyncio.create_task(self._work(), name="desk")
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._gather_seconds)
            bundle, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            questions = [question for question, _ in bundle]
            outcomes = await asyncio.get_running_loop().run_in_executor(self._thread, self._outcomes, questions)
            for (_, answer), outcome in zip(bundle, outcomes, strict=True):
                if answer.done():  # nobody waits for it any more
                    continue
                if isinstance(outcome, BaseException):
                    answer.set_exception(outcome)
                else:
                    answer.set_result(outcome)

    def _outcomes(self, questions: Sequence[Q]) -> Sequence[A | BaseException]:
        try:
            return self._do(questions)
        except Exception as error:  # the edge of the desk: whoever asked says what went wrong
            is_for_all = isinstance(error, OrchestratorError) and error.kind in COME_AGAIN
            if is_for_all or len(questions) == 1:
                return [error] * len(questions)
            log.warning("what was asked together is done one by one", exc_info=error, extra={"action": "desk.alone"})
        return [outcome for question in questions for outcome in self._outcomes([question])]


class LeaseDesks:
    """Where joins and renewals of all requests meet. `nudge` is told the schemas in which something may go on now."""

    def __init__(
        self, leases: Leases, renewing: Renewing, nudge: Callable[[str], None], *, gather_seconds: float
    ) -> None:
        self._renewing = renewing
        self._nudge = nudge
        self._joins: Desk[Callable[[Transaction], Lease], Lease] = Desk(
            leases.run_together, gather_seconds=gather_seconds
        )
        self._renewals: Desk[Sequence[Renewal], Sequence[Lease | None]] = Desk(
            self._together, gather_seconds=gather_seconds
        )
        self._odd: Desk[Sequence[Renewal], Sequence[Outcome]] = Desk(self._each_alone, gather_seconds=0)

    async def join(self, work: Callable[[Transaction], Lease]) -> Lease:
        """Register, as `Leases.joining` has it. Raises what refuses it."""
        return await self._joins.ask(work)

    async def renew(self, renewal: Renewal) -> Lease:
        """Renew one lease. Raises what refuses it."""
        (outcome,) = await self.renew_all((renewal,))
        if isinstance(outcome, OrchestratorError):
            raise outcome
        return outcome

    async def renew_all(self, renewals: Sequence[Renewal]) -> Sequence[Outcome]:
        """Renew these; a refusal is an outcome. Those that are plain wait for nobody's that are not."""
        outcomes: list[Outcome | None] = list(await self._renewals.ask(renewals))
        odd = [number for number, outcome in enumerate(outcomes) if outcome is None]
        for first in range(0, len(odd), ODD_AT_ONCE):
            numbers = odd[first : first + ODD_AT_ONCE]
            found = await self._odd.ask([renewals[number] for number in numbers])
            for number, outcome in zip(numbers, found, strict=True):
                outcomes[number] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    def _together(self, requests: Sequence[Sequence[Renewal]]) -> Sequence[Sequence[Lease | None]]:
        renewals = tuple(chain.from_iterable(requests))
        leases = self._renewing.together(renewals)
        self._nudge_for(renewals, leases)
        left = iter(leases)
        return [tuple(islice(left, len(request))) for request in requests]

    def _each_alone(self, requests: Sequence[Sequence[Renewal]]) -> Sequence[Sequence[Outcome]]:
        found = [[self._renewing.alone(renewal) for renewal in request] for request in requests]
        for request, outcomes in zip(requests, found, strict=True):
            self._nudge_for(request, outcomes)
        return found

    def _nudge_for(self, renewals: Sequence[Renewal], outcomes: Sequence[Outcome | None]) -> None:
        acked = {
            renewal.schema
            for renewal, outcome in zip(renewals, outcomes, strict=True)
            if renewal.ack is not None and isinstance(outcome, Lease) and outcome.stance.upgrade_id is not None
        }
        for schema in acked:  # one may have been the ack that the next move waits for
            self._nudge(schema)
