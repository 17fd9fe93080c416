"""Exit codes. Scripts rely on them: each means one thing, in every command."""

from __future__ import annotations

from enum import IntEnum

from orchestrator.client import errors as client_errors
from orchestrator.client.errors import ClientError, Refused
from orchestrator.domain.errors import Kind, OrchestratorError


class Exit(IntEnum):
    """What a command came to."""

    YES = 0  # done, open, ready
    ERROR = 1  # it could not be done or found out; repeating it does not help by itself
    USAGE = 2  # the command line makes no sense; nothing was asked
    NOT_YET = 3  # not yet, or refused in the present state: it may become possible
    NEVER = 4  # it cannot become possible
    INTERRUPTED = 130
    PIPE_CLOSED = 141


_OF_KIND = {Kind.NOT_YET: Exit.NOT_YET, Kind.CONFLICT: Exit.NOT_YET, Kind.NEVER: Exit.NEVER}

NEVER_CODES = frozenset(
    {
        "instance_evicted",
        "instance_left",
        "no_way_back",
        "old_shape_stale",
        "phase_not_on_ladder",
        "release_too_new",
        "release_too_old",
        "release_unknown",
    }
)
"""Refusals that no waiting changes, whatever the status that carries them."""

ERROR_CODES = frozenset({"database_busy", "database_unreachable", "instance_id_taken", "stale_revision"})
"""Refusals that say nothing about what was asked: somebody else did not answer, or was faster."""


def exit_of(error: OrchestratorError | ClientError) -> Exit:
    """The exit code of an error, whether it was raised here or answered by a daemon."""
    if error.code in NEVER_CODES:
        return Exit.NEVER
    if error.code in ERROR_CODES:
        return Exit.ERROR
    if isinstance(error, OrchestratorError):
        return _OF_KIND.get(error.kind, Exit.ERROR)
    if isinstance(error, Refused) and "kind" in error.problem:
        kinds = {kind.value: kind for kind in Kind}
        return _OF_KIND.get(kinds.get(str(error.problem["kind"]), Kind.FAILED), Exit.ERROR)
    if isinstance(error, client_errors.Never):
        return Exit.NEVER
    if isinstance(error, client_errors.NotYet | client_errors.Conflict):
        return Exit.NOT_YET
    return Exit.ERROR
