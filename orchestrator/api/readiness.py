"""Readiness: may code of a release start now; and waiting until it may."""

from __future__ import annotations

import asyncio

from orchestrator.api.exchange import Answer, Asked, Name, Nothing, Question, View, Wait
from orchestrator.api.faults import RETRY_AFTER_SECONDS, STATUS_OF, problem
from orchestrator.domain.admission import Admission, Standing, Verdict, admit
from orchestrator.domain.errors import Kind, NotFound


class ReadinessQuestion(Question, frozen=True, kw_only=True):
    """The release that wants to start, its fleet, and how long the answer may wait for a yes."""

    release: Name
    fleet: Name | None = None
    wait: Wait = 0.0


class ReadinessView(View, frozen=True, kw_only=True):
    """A yes. The other answers are problems: 503 not yet, 409 never."""

    ready: bool
    schema: str
    release: str
    phase: str | None
    sentence: str


async def show(asked: Asked[ReadinessQuestion, Nothing]) -> Answer:
    """200 as soon as the release may start; 503 when the time is over first; 409 at once when it never may.

    A no with a reason that only a later phase can end is waited for; it holds no thread and no connection of ours.
    """
    question = asked.query
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + question.wait
    seen = await asked.watch.look(asked.schema)
    if question.fleet is not None:
        _check_fleet(seen.standing, question.fleet)
    admission = admit(seen.standing, question.release)
    while admission.verdict is Verdict.NOT_YET:
        changed = await asked.watch.after(seen, give_up_at - loop.time(), gone=asked.gone)
        if changed is None:
            break
        seen, admission = changed, admit(changed.standing, question.release)
    return _answer(seen.standing, question.release, admission)


def _answer(standing: Standing, release: str, admission: Admission) -> Answer:
    phase = standing.upgrade.phase.word if standing.upgrade is not None else None
    if admission.verdict is Verdict.READY:
        return Answer(
            ReadinessView(ready=True, schema=standing.schema, release=release, phase=phase, sentence=admission.sentence)
        )
    kind = Kind.NOT_YET if admission.verdict is Verdict.NOT_YET else Kind.NEVER
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS[kind])} if kind in RETRY_AFTER_SECONDS else {}
    return problem(
        STATUS_OF[kind],
        kind,
        admission.code,
        admission.sentence,
        admission.remedy,
        headers=headers,
        fields={"ready": False, "schema": standing.schema, "release": release, "phase": phase},
    )


def _check_fleet(standing: Standing, fleet: str) -> None:
    if not any(fleet in release.fleets for release in standing.releases.ordered):
        raise NotFound(
            "fleet_unknown",
            f"no release of {standing.schema} lists a fleet {fleet!r}",
            remedy="Fleets are listed in releases.toml.",
            schema=standing.schema,
            fleet=fleet,
        )
