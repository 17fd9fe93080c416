"""What can go wrong between a service and the orchestrator, as exceptions with a code and a remedy.

These classes are the client's own: a service that joins a fleet needs nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Root of all errors of this package.

    `code` is stable and made for programs, `message` names what happened and where, `remedy` names the next action.
    No message ever holds a token.
    """

    def __init__(self, code: str, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy

    @property
    def reason(self) -> str:
        """`message`, and where that came from if it does not say so itself: for logs."""
        return self.message

    def __str__(self) -> str:
        return f"{self.message} ({self.code}). {self.remedy}" if self.remedy else f"{self.message} ({self.code})"


class Unreachable(ClientError):
    """No daemon gave an answer.

    `maybe_done` is true when a request had left before the connection broke, so that it may have taken effect.
    """

    def __init__(self, code: str, message: str, *, remedy: str, maybe_done: bool) -> None:
        super().__init__(code, message, remedy=remedy)
        self.maybe_done = maybe_done


class BadAnswer(ClientError):
    """Something answered that does not speak the orchestrator's protocol."""


class Refused(ClientError):
    """A daemon answered, and the answer is no. Root of the answers below.

    `status` is the HTTP status, `retry_after` the seconds after which the daemon suggests to ask again (None: it
    suggests nothing), and `problem` the whole answer for those who want its further fields, such as `blockers`.
    `place` is what was asked, such as `PUT http://127.0.0.1:8776/v1/...`; empty where no daemon was.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        remedy: str,
        status: int,
        retry_after: float | None = None,
        problem: Mapping[str, Any] | None = None,
        place: str = "",
    ) -> None:
        super().__init__(code, message, remedy=remedy)
        self.status = status
        self.retry_after = retry_after
        self.problem: Mapping[str, Any] = problem or {}
        self.place = place

    @property
    def reason(self) -> str:
        return self.message if self.place in self.message else f"{self.place}: {self.message}"


class Invalid(Refused):
    """The request is wrong as it stands; repeating it does not help."""


class Unauthenticated(Refused):
    """The daemon wants a token, or does not know this one."""


class Forbidden(Refused):
    """The token is known and may not do this."""


class NotFound(Refused):
    """There is nothing of that name."""


class Conflict(Refused):
    """Refused in the present state. For a join it is final: this release does not belong here now."""


class Never(Refused):
    """Refused for good: it cannot become possible."""


class NotYet(Refused):
    """Refused for now: ask again after `retry_after` seconds."""


class Unavailable(Refused):
    """The daemon, or a proxy in front of it, could not do its work."""


class LeaseLost(ClientError):
    """The right to use the database is gone: roll back, and begin nothing.

    `final` says that it does not come back: this member is evicted or unknown, and only a new one can join. Without
    it, renewals go on in the background and transactions may begin again once one succeeds.
    """

    def __init__(self, code: str, message: str, *, remedy: str, final: bool) -> None:
        super().__init__(code, message, remedy=remedy)
        self.final = final


class Evicted(LeaseLost):
    """An operator declared this instance dead. Its sessions may be killed at any moment."""


class NotAMember(ClientError):
    """There is no lease to work under: never joined, already leaving, or inherited by a fork."""


class NotDrained(ClientError):
    """Transactions were still open when the time to leave was over. The member has not left."""


FINAL_CODES = frozenset({"instance_evicted", "instance_left", "instance_unknown", "epoch_foreign"})
"""Answers to a renewal after which an instance never gets its lease back."""

_BY_STATUS: dict[int, type[Refused]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Never,
    412: Conflict,
    429: NotYet,
    503: NotYet,
}


def refusal(status: int, problem: Mapping[str, Any], *, place: str, retry_after: float | None = None) -> Refused:
    """The exception for an HTTP answer of 400 or above.

    A 503 is `NotYet` only where a daemon says so: it is `Unavailable` when something that the daemon needs does not
    answer, and when it carries no code of ours and comes from something in between.
    """
    given = problem.get("code")
    code = given if isinstance(given, str) else f"http_{status}"
    detail = problem.get("detail") or problem.get("title") or f"{place} answered with status {status}"
    default = Unavailable if status >= 500 else Invalid
    kind = _BY_STATUS.get(status, default)
    if kind is NotYet and status == 503 and (given is None or problem.get("kind") == "unavailable"):
        kind = Unavailable
    return kind(
        code,
        str(detail),
        remedy=str(problem.get("remedy") or ""),
        status=status,
        retry_after=retry_after,
        problem=problem,
        place=place,
    )
