"""Replay: which entry of the journal of operations a statement is, when a revision is run once more. Pure decisions.

Operations come in the same order each time; the statements of one need not, beyond the first. A revision that looks at
its database may leave out what it finds done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.bookkeeping.journal import JournalState
from orchestrator.bookkeeping.operations import OperationEntry
from orchestrator.schema_migrations.statements import same_text


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a statement stands in its revision, and its entry; None where it is new."""

    position: int
    part: int
    entry: OperationEntry | None = None


class Changed(Exception):
    """The revision does not send what the journal says it sent there. `entry` is the one that it left out.

    `looked` says that it may have left it out because of what it found in its database.
    """

    def __init__(self, entry: OperationEntry, *, looked: bool = False) -> None:
        super().__init__(entry.statement)
        self.entry = entry
        self.looked = looked


class Replay:
    """Goes through the journal in step with a revision. New for each run of it."""

    def __init__(self, entries: Iterable[OperationEntry]) -> None:
        self._unmatched = {(entry.position, entry.part): entry for entry in entries}
        self._parts: dict[int, int] = {}
        for position, part in self._unmatched:
            self._parts[position] = max(part, self._parts.get(position, 0))
        self._position = 0
        self._within = False
        self._is_first = True
        self._looked = False

    def begin_operation(self) -> None:
        """The next statements are one operation."""
        self._next()
        self._within = True

    def end_operation(self) -> None:
        """The next statement is an operation of its own, unless another one begins."""
        self._within = False

    def looks(self) -> None:
        """The revision reads in its database, and may decide by what it finds."""
        self._looked = self._looked or not self._within

    def place(self, fingerprint: str) -> Slot:
        """The place of the statement that is about to be sent. Raises `Changed`."""
        if not self._within:
            self._next()
        entry = self._match(fingerprint)
        if entry is None and self._looked and self._is_first and self._waiting(self._position):
            entry = self._go_forward(fingerprint)
        self._refuse_left_out(before=self._position)
        self._is_first = False
        if entry is not None:
            del self._unmatched[entry.position, entry.part]
            return Slot(entry.position, entry.part, entry)
        waiting = self._waiting(self._position)
        if any(each.part == 1 for each in waiting) or (waiting and self._position < max(self._parts)):
            raise Changed(waiting[0])
        part = self._parts[self._position] = self._parts.get(self._position, 0) + 1
        return Slot(self._position, part)

    def end(self) -> None:
        """The revision has sent everything. Raises `Changed` if the journal knows of more."""
        self._refuse_left_out(before=None)

    def _next(self) -> None:
        self._position += 1
        self._is_first = True

    def _waiting(self, position: int) -> list[OperationEntry]:
        return [entry for (at, _), entry in sorted(self._unmatched.items()) if at == position]

    def _match(self, fingerprint: str) -> OperationEntry | None:
        return next((each for each in self._waiting(self._position) if self._is(each, fingerprint)), None)

    def _is(self, entry: OperationEntry, fingerprint: str) -> bool:
        """The parameters count too where the revision may have decided what to send by what it found."""
        if self._looked:
            return entry.fingerprint == fingerprint
        return same_text(entry.fingerprint, fingerprint)

    def _go_forward(self, fingerprint: str) -> OperationEntry | None:
        """Pass over what the revision found done, to where the journal goes on.

        It is known to be done only where the journal has something later: a look may guard one statement or several, so
        of the last one on record nobody can tell what should follow it. Raises `Changed` there.
        """
        waiting = self._waiting(self._position)
        if same_text(waiting[0].fingerprint, fingerprint):  # the same with other values: nobody can tell which it is
            return None
        later = sorted(at for at in self._unmatched if at[0] > self._position)
        found = next((at for at in later if self._is(self._unmatched[at], fingerprint)), None)
        if found is None:
            raise Changed(self._unmatched[max(self._unmatched)], looked=True)
        for at in [at for at in self._unmatched if at[0] < found[0]]:
            del self._unmatched[at]
        self._position = found[0]
        return self._unmatched[found]

    def _refuse_left_out(self, before: int | None) -> None:
        for (position, _), entry in sorted(self._unmatched.items()):
            gone = before is None or (position < before and not self._looked)
            if gone and (entry.state is JournalState.DONE or before is None):
                raise Changed(entry, looked=self._looked)
