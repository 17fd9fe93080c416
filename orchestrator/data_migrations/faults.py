"""Faults: why a batch did not go through, told apart by what is done about it.

A fault that is none of these is one of the whole data migration, which ends with it.
"""

from __future__ import annotations

from orchestrator.domain.errors import StepFailed


class CutOff(StepFailed):
    """The server ended a statement of the batch that ran for too long: fewer rows may be in time."""
