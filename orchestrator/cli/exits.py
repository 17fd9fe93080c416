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
"""Refusals in a state that no waiting changes."""

ERROR_CODES = frozenset(
    {
        # somebody else did not answer, or was faster
        "daemon_unhealthy",
        "database_busy",
        "database_pooled",
        "database_read_only",
        "database_unreachable",
        "instance_id_taken",
        "stale_revision",
        "state_database_unavailable",
        "too_many_waiting",
        # what was found is not what was asked about, and waiting does not mend it
        "catalog_differs",
        "check_untrusted",
        "database_not_empty",
        "epoch_foreign",
        "install_unfinished",
        "not_a_way_back",
        "not_at_release",
        "nothing_to_approve",
        "schema_initialised",
        "tool_version_wrong",
    }
)
"""Refusals by status that are no "not yet": a script that waits and repeats would wait for ever."""


def exit_of(error: OrchestratorError | ClientError) -> Exit:
    """The exit code of an error, whether it was raised here or answered by a daemon."""
    by_kind = _OF_KIND.get(_kind_of(error), Exit.ERROR)
    if by_kind is Exit.ERROR or error.code in ERROR_CODES:
        return Exit.ERROR
    return Exit.NEVER if error.code in NEVER_CODES else by_kind


def _kind_of(error: OrchestratorError | ClientError) -> Kind:
    """The kind of an error; of a daemon's refusal what it states, or else what its status says."""
    if isinstance(error, OrchestratorError):
        return error.kind
    if isinstance(error, Refused) and "kind" in error.problem:
        kinds: dict[object, Kind] = {kind.value: kind for kind in Kind}
        return kinds.get(error.problem["kind"], Kind.FAILED)
    if isinstance(error, client_errors.Never):
        return Kind.NEVER
    if isinstance(error, client_errors.NotYet):
        return Kind.NOT_YET
    return Kind.CONFLICT if isinstance(error, client_errors.Conflict) else Kind.FAILED
