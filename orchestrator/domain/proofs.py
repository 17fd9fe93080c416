"""Proofs: what a state of the upgrade leaves of the proof that a data migration's rows were moved."""

from __future__ import annotations

from enum import StrEnum

from orchestrator.domain.ladder import Phase


class Left(StrEnum):
    """What is left of a proof."""

    ALL = "all"
    ROWS = "rows"  # they are proven anew, and none is moved again
    NOTHING = "nothing"  # they are moved again, from the first one on


def left_of_proof(phase: Phase, *, frozen: bool, is_reverse: bool) -> Left:
    """What is left in a database that is told of that phase; `frozen`: commits may be lost.

    Below backfill the old release may write rows that no longer match, and from write_new on the old shape may go
    stale. Where commits may be lost, the rows in doubt are moved again if that is the phase for it.
    """
    if phase < Phase.BACKFILL or (is_reverse and (phase >= Phase.WRITE_NEW or frozen)):
        return Left.NOTHING
    if is_reverse or not frozen or phase > Phase.READ_NEW:
        return Left.ALL
    return Left.NOTHING if phase is Phase.BACKFILL else Left.ROWS
