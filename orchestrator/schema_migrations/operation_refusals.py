"""Refusals of the journal of operations: why a revision is not gone on with, and what to type."""

from __future__ import annotations

from orchestrator.bookkeeping.operations import OperationEntry
from orchestrator.domain.errors import MigrationRefused, StepFailed
from orchestrator.schema_migrations.places import Place, refused
from orchestrator.schema_migrations.replay import Changed
from orchestrator.schema_migrations.statements import Statement

_TOLD_CHARACTERS = 200


class Refusals:
    """Those of one run of one revision in one database."""

    def __init__(self, revision: str, database: str) -> None:
        self._revision = revision
        self._database = database

    def changed(self, changed: Changed, place: Place) -> MigrationRefused:
        """It does not send what it sent before."""
        left_out = changed.entry
        if changed.looked:
            return self._left_out(left_out, place)
        return refused(
            "operation_changed",
            place,
            f"revision {self._revision} was broken off in database {self._database}, and does not send now "
            f"what it sent then as operation {left_out.position}: {_short(left_out.statement)}",
            remedy="Put the file back as it was when it ran, restart the daemon, and retry. If it is to stay as it "
            f"is, undo that statement by hand, then: {self._forget(left_out)}",
            revision=self._revision,
            database=self._database,
            position=left_out.position,
        )

    def asks_back(self, statement: Statement) -> MigrationRefused:
        """It is not sent a second time, so a second time it would give back nothing."""
        return refused(
            "result_not_kept",
            statement.place,
            f"revision {self._revision} asks for rows that it writes (RETURNING), and would get none when it goes "
            f"on after it was broken off: {_short(statement.text)}",
            remedy="Write the rows, and then SELECT what is needed of them. Restart the daemon, and retry.",
            revision=self._revision,
            database=self._database,
        )

    def looked_at(self, passed: OperationEntry, place: Place, what: str) -> MigrationRefused:
        """It looks at the result of a statement that was passed over."""
        return refused(
            "result_not_kept",
            place,
            f"revision {self._revision} was broken off in database {self._database}, and looks now at what its "
            f"operation {passed.position} gave back then ({what}), which nobody kept: {_short(passed.statement)}",
            remedy="Let it SELECT what it needs to know: what that statement did is there. Restart the daemon, and "
            "retry.",
            revision=self._revision,
            database=self._database,
            position=passed.position,
        )

    def _left_out(self, left_out: OperationEntry, place: Place) -> MigrationRefused:
        """A look may guard one statement or several: skipping them all could lose those that were never sent."""
        forget = f"DELETE FROM orchestrator_operations WHERE {_of_revision(left_out)};"
        return refused(
            "operation_left_out",
            place,
            f"revision {self._revision} was broken off in database {self._database}; it looks at its database, "
            f"and leaves out now operation {left_out.position}, which it sent then: {_short(left_out.statement)}; "
            "nobody can tell whether more would have followed that one",
            remedy=f"If it looks before every single statement, let it begin anew: {forget} If one look guards several "
            "statements, first undo by hand those that are there. Then retry.",
            revision=self._revision,
            database=self._database,
            position=left_out.position,
            commands=[forget],
        )

    def in_doubt(self, statement: Statement, entry: OperationEntry, found: tuple[str, ...]) -> StepFailed:
        """Nobody can tell what became of a statement."""
        done = f"UPDATE orchestrator_operations SET state = 'done' WHERE {_where(entry)};"
        return self.failed(
            "operation_in_doubt",
            statement,
            f"was broken off, and nobody can tell whether it took effect: {'; '.join(found)}",
            remedy="Look at its tables. If all of it is there, or after you did the rest by hand: "
            f"{done} If nothing of it is there, or after you undid it: {self._forget(entry)} Then retry.",
            position=entry.position,
            found=list(found),
            commands=[done, self._forget(entry)],
        )

    def _forget(self, entry: OperationEntry) -> str:
        return f"DELETE FROM orchestrator_operations WHERE {_where(entry)};"

    def failed(self, code: str, statement: Statement, what: str, *, remedy: str, **fields: object) -> StepFailed:
        """A statement that did not do what it should; `what` says so."""
        return StepFailed(
            code,
            f"{statement.place}: a statement of revision {self._revision} in database {self._database} {what}; "
            f"it is: {_short(statement.text)}",
            remedy=remedy,
            file=str(statement.place.file),
            line=statement.place.line,
            revision=self._revision,
            database=self._database,
            **fields,
        )


def _where(entry: OperationEntry) -> str:
    return f"{_of_revision(entry)} AND position = {entry.position} AND part = {entry.part}"


def _of_revision(entry: OperationEntry) -> str:
    schema, revision = (value.replace("'", "''") for value in (entry.schema_name, entry.revision))
    return f"schema_name = '{schema}' AND revision = '{revision}'"


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _TOLD_CHARACTERS else f"{words[:_TOLD_CHARACTERS]}..."
