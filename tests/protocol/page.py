"""docs/protocol.md: what each safeguard is for, as the explorer finds it. `python -m tests.protocol.page` writes it."""

from __future__ import annotations

import importlib
import itertools
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.protocol.explorer import Counterexample

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
WRITTEN_BY_HAND_UNTIL = "## What each safeguard prevents\n"
ROOMS = {
    "test_safeguards": "The upgrade, the fleets, the rows",
    "test_sealing": "Triggers, the seal, the way back from write_new, evictions, roles",
    "test_losing": "Lost commits, and joining without a daemon",
    "test_waves": "Waves and paused fleets",
}
"""The modules with the cases, in the order of the page."""

DAEMON = "a daemon "

MISSED_INTRODUCTION = """
Each of these was taken away, in the one function that decides it, and this is the shortest way in which an invariant
broke then. `make check-protocol` finds them anew; `python -m tests.protocol.page` writes this part of the page.
"""
HELD_INTRODUCTION = "No invariant breaks without one of these, because another one holds:"


class Case(Protocol):
    """A safeguard that is taken away, and the invariant that breaks."""

    @property
    def safeguard(self) -> str: ...

    @property
    def invariant(self) -> str: ...

    def explore(self, patch: pytest.MonkeyPatch) -> Counterexample | None:
        """The shortest way to a violation."""
        ...


def entry(case: Case, found: Counterexample) -> str:
    """What the page says of one safeguard."""
    turns = enumerate(_turns(found.actions), 1)
    actions = "\n".join(
        textwrap.fill(turn, 118, initial_indent=f"{number}. ", subsequent_indent="   ") for number, turn in turns
    )
    return f"#### Without it: {case.safeguard}\n\nBreaks {found.invariant}.\n\n{actions}\n"


def _turns(actions: Iterable[str]) -> Iterator[str]:
    """What daemons do one after the other in a sentence, everything else in one of its own."""
    for is_daemon, group in itertools.groupby(actions, lambda action: action.startswith(DAEMON)):
        if is_daemon:
            yield DAEMON + ", ".join(action.removeprefix(DAEMON) for action in group)
        else:
            yield from filter(None, group)


def is_on_record(case: Case, found: Counterexample) -> bool:
    """Whether the page says just this."""
    return entry(case, found) in PAGE.read_text(encoding="utf-8")


def written() -> Iterator[str]:
    """The part of the page that is found, not written by hand."""
    yield WRITTEN_BY_HAND_UNTIL
    yield MISSED_INTRODUCTION
    held: list[str] = []
    for name, title in ROOMS.items():
        room = importlib.import_module(f"tests.protocol.{name}")
        yield f"\n### {title}\n"
        for case in room.MISSED:
            with pytest.MonkeyPatch.context() as patch:
                found = case.explore(patch)
            assert found is not None, f"the explorer does not notice: {case.safeguard}"
            yield f"\n{entry(case, found)}"
        held += [case.safeguard for case in room.HELD_BY_ANOTHER]
    yield f"\n## What may be missed\n\n{HELD_INTRODUCTION}\n\n"
    for safeguard in held:
        yield textwrap.fill(safeguard, 118, initial_indent="- ", subsequent_indent="  ") + "\n"


if __name__ == "__main__":
    by_hand = PAGE.read_text(encoding="utf-8").partition(WRITTEN_BY_HAND_UNTIL)[0]
    PAGE.write_text(by_hand + "".join(written()), encoding="utf-8")
