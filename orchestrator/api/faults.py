"""Faults: how what went wrong is said over HTTP, as application/problem+json (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from orchestrator.api.exchange import PROBLEM, Answer, View
from orchestrator.domain.errors import Kind, OrchestratorError

log = logging.getLogger(__name__)

STATUS_OF: dict[Kind, int] = {
    Kind.INVALID: 422,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.NOT_YET: 503,
    Kind.NEVER: 409,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.UNAVAILABLE: 503,
    Kind.FAILED: 500,
}

RETRY_AFTER_SECONDS: dict[Kind, int] = {Kind.NOT_YET: 2, Kind.UNAVAILABLE: 5}


class Problem(View, frozen=True, kw_only=True):
    """Every refusal. `code` is stable and made for programs, `detail` and `remedy` are for people.

    `kind` is how to treat it: invalid, not_found, conflict (another state may allow it), not_yet (ask again), never,
    unauthenticated, forbidden, unavailable, failed. Further fields name the place: file, line, schema, database...
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    kind: str
    remedy: str


class Refused(OrchestratorError):
    """A request that HTTP itself has a status for: method, size, media type."""

    kind = Kind.INVALID

    def __init__(
        self, status: int, code: str, message: str, *, remedy: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(code, message, remedy=remedy)
        self.status = status
        self.headers = headers or {}


def problem(
    status: int,
    kind: Kind,
    code: str,
    detail: str,
    remedy: str,
    *,
    headers: Mapping[str, str] | None = None,
    fields: Mapping[str, object] | None = None,
) -> Answer:
    """A refusal as an answer. `fields` cannot replace the ones that every problem has."""
    body = {
        **(fields or {}),
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "kind": kind.value,
        "remedy": remedy,
    }
    return Answer(body, status, headers or {}, PROBLEM)


def answer_to(error: OrchestratorError) -> Answer:
    """What a client is told about an error that was raised on purpose."""
    if isinstance(error, Refused):
        return problem(error.status, error.kind, error.code, error.message, error.remedy, headers=error.headers)
    headers = {}
    if error.kind in RETRY_AFTER_SECONDS:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS[error.kind])
    if error.kind is Kind.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(
        STATUS_OF[error.kind], error.kind, error.code, error.message, error.remedy, headers=headers, fields=error.fields
    )


def answer_to_unexpected(error: Exception) -> Answer:
    """What a client is told about an error of ours: that it is one. The log has the rest, once."""
    log.error("a request failed in an unexpected way", exc_info=error, extra={"action": "request.fail"})
    return problem(
        500, Kind.FAILED, "internal_error", "the orchestrator made a mistake", "Its log says more; please report it."
    )


def not_found() -> Refused:
    """There is nothing at that path. It lists nothing, for whoever is only looking around."""
    return Refused(404, "path_unknown", "there is nothing at this path", remedy="/docs lists what there is.")
