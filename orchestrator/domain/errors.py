"""What can go wrong, said so that a person knows the next action.

Every error has a stable `code`, a message that names the place, and a remedy that names the next action. The
`kind` says how callers outside treat it: the API turns it into a status, the command line into an exit code.
An expected "no" is a returned value (`Refusal`, `Blocker`), not an exception.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar


class Kind(StrEnum):
    """How a caller should treat an error."""

    INVALID = "invalid"  # the request or file is wrong; repeating it does not help
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"  # refused in this state; another state may allow it
    NOT_YET = "not_yet"  # repeat later: it is expected to become possible by itself
    NEVER = "never"  # cannot become possible for this caller
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    UNAVAILABLE = "unavailable"  # something that we need does not answer
    FAILED = "failed"  # we tried and it did not work


class OrchestratorError(Exception):
    """Root of all errors that this program raises on purpose.

    `fields` are plain values that name the place (file, line, schema, database); they are shown to people and
    serialised for machines, so they never hold secrets.
    """

    kind: ClassVar[Kind] = Kind.FAILED

    def __init__(self, code: str, message: str, *, remedy: str, **fields: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.message} ({self.code}). {self.remedy}" if self.remedy else f"{self.message} ({self.code})"

    @property
    def advice(self) -> str:
        """What went wrong and what to do, without its code and a full stop, to be kept where only text is."""
        return f"{self.message}. {self.remedy}".rstrip(". ")


class Invalid(OrchestratorError):
    """The request, option or file is wrong as it stands."""

    kind = Kind.INVALID


class ConfigurationError(Invalid):
    """The configuration cannot be used; nothing was started."""


class ManifestError(Invalid):
    """A release manifest, or a migration tree that it names, cannot be used. Fields: file, line."""


class MigrationRefused(Invalid):
    """A revision or data migration breaks a rule of its stage. Raised before its first statement."""


class NotFound(OrchestratorError):
    """There is nothing of that name."""

    kind = Kind.NOT_FOUND


class Conflict(OrchestratorError):
    """Refused in the present state. `blockers` says why where guards were asked."""

    kind = Kind.CONFLICT


class StaleRevision(Conflict):
    """Somebody else changed the upgrade since the caller read it. Read again, decide again."""

    def __init__(self, *, expected: int, found: int | None) -> None:
        super().__init__(
            "stale_revision",
            f"the upgrade changed while you were deciding: expected revision {expected}, found {found}",
            remedy="Read it again and decide again.",
            expected=expected,
            found=found,
        )


class NotYet(OrchestratorError):
    """Not possible now; expected to become possible without the caller doing anything."""

    kind = Kind.NOT_YET


class Never(OrchestratorError):
    """Not possible for this caller, however long it waits."""

    kind = Kind.NEVER


class Unauthenticated(OrchestratorError):
    """No credentials, or ones that are not known."""

    kind = Kind.UNAUTHENTICATED


class Forbidden(OrchestratorError):
    """The caller is known and may not do this."""

    kind = Kind.FORBIDDEN


class Unavailable(OrchestratorError):
    """A database or another process does not answer."""

    kind = Kind.UNAVAILABLE


class StepFailed(OrchestratorError):
    """A step ended without its effect, or its effect could not be verified. Nothing was marked done."""


class LostCursor(Conflict):
    """A batch found that its data migration is no longer its own: another worker or a fence took it.

    The batch was rolled back; nothing of it remains.
    """
