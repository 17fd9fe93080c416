"""Faults: why a batch did not go through, told apart by what is done about it.

A fault that is none of these is one of the whole data migration, which ends with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.domain.errors import StepFailed

if TYPE_CHECKING:  # it raises these
    from orchestrator.data_migrations.keyset import Range


class CutOff(StepFailed):
    """The server ended a statement of the batch that ran for too long: fewer rows may be in time."""


class RowFault(StepFailed):
    """Some row of the range could not be moved, for a reason of its own; the others may go on without it."""

    def __init__(self, code: str, message: str, *, range_: Range, remedy: str, **fields: Any) -> None:
        super().__init__(code, message, remedy=remedy, **fields)
        self.range = range_
