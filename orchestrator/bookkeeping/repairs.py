"""Repairs: the parts of a data migration's rows that were found to differ, which a retry moves again.

They lie in the ledger's entry, and in its ranges, as text of its own. They only save work: that rows are complete is
said by a comparison of all of them, never by these. An older daemon that shares the database does not know them, and
leaves them as they are; so they say of which run they are, in which state, and of how many differences.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.view import MigrationState

MOST_PARTS = 100
"""So many parts are remembered; with more of them the whole table counts as one."""

_MOST_CHARACTERS = 30_000
"""So long may their text be, whatever the keys are made of."""


@dataclass(frozen=True, slots=True)
class Part:
    """The rows after `low` and up to `high`; None is the open end. Keys as in the ledger's cursor.

    `rows` is how many there were when they were compared.
    """

    low: str | None
    high: str | None
    rows: int

    @property
    def is_everything(self) -> bool:
        """Whether no row of the table is outside of it."""
        return self.low is None and self.high is None


@dataclass(frozen=True, slots=True)
class _Noted:
    """What a text says: of the run that began then, in that state, so many differences, all of them in these parts."""

    run_at: float | None
    state: MigrationState
    differences: int
    parts: tuple[Part, ...]


def noted(text: str | None, run_at: float | None, known: int, part: Part, differences: int) -> str:
    """The text with so many differences more, in a part that comes after the others; `known` were found before it.

    Where the text does not say all of those, any row may be one of them.
    """
    return _joined(text, run_at, known, _Noted(run_at, MigrationState.VERIFYING, differences, (part,)))


def joined(text: str | None, run_at: float | None, known: int, other: str | None) -> str | None:
    """As `noted`, with what another text says of rows that come after."""
    found = _read(other)
    return text if found is None else _joined(text, run_at, known, found)


def found(text: str | None, run_at: float | None, differences: int) -> tuple[Part, ...]:
    """The parts that hold all these differences of that run, first by key; none where that is not known."""
    known = _read(text)
    if known is None or (known.run_at, known.state) != (run_at, MigrationState.VERIFYING):
        return ()
    return known.parts if known.differences == differences else ()


def to_move(parts: Sequence[Part], run_at: float | None) -> str | None:
    """The text of parts that are to be moved again; None where none is left."""
    return _text(_Noted(run_at, MigrationState.RUNNING, 0, tuple(parts))) if parts else None


def left(text: str | None, run_at: float | None) -> tuple[Part, ...]:
    """The parts that are still to be moved in that run, first by key; none where it goes on to the end of the table."""
    known = _read(text)
    is_of_this = known is not None and (known.run_at, known.state) == (run_at, MigrationState.RUNNING)
    return known.parts if known is not None and is_of_this else ()


def _joined(text: str | None, run_at: float | None, known: int, more: _Noted) -> str:
    before = found(text, run_at, known) if known else ()
    rows = sum(part.rows for part in (*before, *more.parts))
    everything = _Noted(run_at, MigrationState.VERIFYING, known + more.differences, (Part(None, None, rows),))
    if known and not before:
        return _text(everything)
    parts = _coalesced((*before, *more.parts))
    said = _text(_Noted(run_at, MigrationState.VERIFYING, known + more.differences, parts))
    return said if len(parts) <= MOST_PARTS and len(said) <= _MOST_CHARACTERS else _text(everything)


def _coalesced(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The same rows in as few parts as there may be."""
    one: list[Part] = []
    for part in parts:
        if one and one[-1].is_everything:
            one[-1] = Part(None, None, one[-1].rows + part.rows)
        elif one and one[-1].high is not None and one[-1].high == part.low:
            one[-1] = Part(one[-1].low, part.high, one[-1].rows + part.rows)
        else:
            one.append(part)
    return tuple(one)


def _text(said: _Noted) -> str:
    parts = [[part.low, part.high, part.rows] for part in said.parts]
    return json.dumps([said.run_at, said.state.value, said.differences, parts])


def _read(text: str | None) -> _Noted | None:
    if text is None:
        return None
    run_at, state, differences, parts = json.loads(text)
    return _Noted(run_at, MigrationState(state), differences, tuple(Part(*each) for each in parts))
