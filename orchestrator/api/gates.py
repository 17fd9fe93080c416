"""Gates: what deployment tooling asks, answered the way each kind of tool understands."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from orchestrator.api.exchange import Answer, Asked, Nothing, Question, View, Wait
from orchestrator.api.faults import problem
from orchestrator.api.upgrades import BlockerView, blocker_view
from orchestrator.domain.errors import Kind
from orchestrator.domain.gates import GateAnswer, GateStatus, answer, parse
from orchestrator.services.status import UpgradeStatus

NEVER = 410
RETRY_AFTER_SECONDS = "5"


class GateView(View, frozen=True, kw_only=True):
    """The answer to a gate. Status is RUNNING (closed, may open), SUCCEEDED (open) or TERMINAL (closed for good).

    `blocked_by` is empty when it is open; its first entry is the gate's own reason. `phase` and `revision` are those
    of the newest upgrade, null and 0 before the first.
    """

    gate: str
    open: bool
    status: str
    blocked_by: tuple[BlockerView, ...]
    phase: str | None
    eta_seconds: float | None
    revision: int
    code: str
    sentence: str
    remedy: str


class GateQuestion(Question, frozen=True, kw_only=True):
    """How long the answer may wait for a yes."""

    wait: Wait = 0.0


class CheckQuestion(GateQuestion, frozen=True, kw_only=True):
    """`blocked` is the status for a closed gate, for tools that want another one than 409."""

    blocked: Literal[403, 409, 423, 429, 503] = 409


async def show(asked: Asked[GateQuestion, Nothing]) -> Answer:
    """The answer, always with 200: some tools take every other status for a failure of the question.

    With `wait` it comes as soon as the gate is open, or closed for good.
    """
    return Answer(await _read(asked, asked.query.wait))


async def check(asked: Asked[CheckQuestion, Nothing]) -> Answer:
    """200 when open, 409 (or what was asked for) when closed, 410 when closed for good. A body is not looked at."""
    view = await _read(asked, asked.query.wait)
    if view.open:
        return Answer(view)
    is_final = view.status == GateStatus.TERMINAL
    status, kind = (NEVER, Kind.NEVER) if is_final else (asked.query.blocked, Kind.NOT_YET)
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if status in (429, 503) else {}
    fields = {
        "gate": view.gate,
        "open": False,
        "gate_status": view.status,
        "blocked_by": view.blocked_by,
        "phase": view.phase,
        "eta_seconds": view.eta_seconds,
        "revision": view.revision,
    }
    return problem(status, kind, view.code, view.sentence, view.remedy, headers=headers, fields=fields)


async def _read(asked: Asked[Any, Nothing], wait: float) -> GateView:
    """The answer at one moment, with the revision of that moment."""
    gate = parse(asked.path["gate"])
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + wait
    seen = await asked.watch.look(asked.schema)
    found = answer(gate, seen.standing, seen.newest)
    while found.status is GateStatus.RUNNING:
        changed = await asked.watch.after(seen, give_up_at - loop.time(), gone=asked.gone)
        if changed is None:
            break
        seen, found = changed, answer(gate, changed.standing, changed.newest)
    newest = None
    if not found.is_open and seen.newest is not None:
        document = await asked.watch.newest(asked.schema, revision=seen.revision)
        newest = document.status.upgrade if document.revision == seen.revision else None
    return GateView(
        gate=asked.path["gate"],
        open=found.is_open,
        status=found.status.value,
        blocked_by=_blocked_by(found, newest),
        phase=seen.newest.phase.word if seen.newest is not None else None,
        eta_seconds=newest.eta_seconds if newest is not None else None,
        revision=seen.revision,
        code=found.code,
        sentence=found.sentence,
        remedy=found.remedy,
    )


def _blocked_by(answer: GateAnswer, newest: UpgradeStatus | None) -> tuple[BlockerView, ...]:
    """The gate's own reason; where it waits for a later phase, also what keeps the upgrade from going on."""
    if answer.is_open:
        return ()
    own = BlockerView(code=answer.code, sentence=answer.sentence, culprits=(), remedy=answer.remedy, policy=False)
    if newest is None or answer.code != "phase_not_reached":
        return (own,)
    return (own, *(blocker_view(blocker) for blocker in newest.blockers))
