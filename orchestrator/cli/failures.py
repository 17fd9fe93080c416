"""How a failure is told on the terminal: one sentence, what to do, and the blockers where there are any."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.cli.answers import Blocker, read
from orchestrator.cli.blockers import lines_of
from orchestrator.client.errors import BadAnswer, ClientError, Refused, Unauthenticated, Unreachable
from orchestrator.domain.errors import OrchestratorError

REACHING = "Is `orchestrator serve` running there? Another address is given with --url or ORCHESTRATOR_URL."
AUTHENTICATING = "Give a token with --token-file FILE, or in the environment as ORCHESTRATOR_TOKEN."


class UsageError(Exception):
    """The command line makes no sense; the message says why."""


def sentences(error: OrchestratorError | ClientError) -> Iterator[str]:
    """The lines for people."""
    yield f"orchestrator: {error.message} ({error.code})"
    remedy = _remedy(error)
    if remedy:
        yield f"  {remedy}"
    if isinstance(error, Refused):
        for blocker in _blockers(error):
            yield from lines_of(blocker)


def _remedy(error: OrchestratorError | ClientError) -> str:
    """What to do, in terms of this program where the daemon can only speak of HTTP."""
    if isinstance(error, Unreachable) and not error.maybe_done:
        return REACHING
    if isinstance(error, Unauthenticated):
        return AUTHENTICATING
    return error.remedy


def _blockers(error: Refused) -> tuple[Blocker, ...]:
    try:
        return read(error.problem.get("blockers") or [], tuple[Blocker, ...])
    except BadAnswer:
        return ()
