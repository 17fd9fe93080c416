"""Breaks: safeguards that a test takes out of the domain, and what has to follow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.domain import losses
from orchestrator.domain.guards import GUARDS
from tests.protocol.page import Case, is_on_record

Break = Callable[[pytest.MonkeyPatch], None]


def nothing(patch: pytest.MonkeyPatch) -> None:
    """The domain stays as it is; the world lacks the safeguard."""


def both(*breaks: Break) -> Break:
    """Each of these."""

    def take_away(patch: pytest.MonkeyPatch) -> None:
        for each in breaks:
            each(patch)

    return take_away


def without_guard(*names: str) -> Break:
    """These guards are always open."""

    def take_away(patch: pytest.MonkeyPatch) -> None:
        for name in names:
            patch.setitem(GUARDS, name, lambda view, target: ())

    return take_away


def removal_is_no_sign(patch: pytest.MonkeyPatch) -> None:
    """That a copy knows of the intent of contracted says nothing by itself."""
    patch.setattr(losses, "_removes", lambda copy, upgrade: False)


def check_missed(case: Case, patch: pytest.MonkeyPatch) -> None:
    """Without its safeguards the invariant breaks, in the way that is on record."""
    found = case.explore(patch)
    print(f"{case.safeguard}: {len(found.actions) if found else 0} actions\n{found}")
    assert found is not None, "the explorer does not notice"
    assert found.invariant == case.invariant
    assert is_on_record(case, found), "docs/protocol.md is not as it is now: python -m tests.protocol.page"
