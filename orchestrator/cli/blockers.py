"""Blockers as lines for people: what stands in the way, who, and what clears it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestrator.cli.answers import Blocker
from orchestrator.domain.visible import visible

MOST_CULPRITS = 5
"""How many culprits are named; the rest is counted."""


def lines_of(blocker: Blocker) -> Iterator[str]:
    """The sentence with its remedy, and who it is about where the sentence does not say: each in one line."""
    yield f"  {visible(blocker.sentence)}"
    unnamed = [culprit for culprit in blocker.culprits if not _is_named(culprit, blocker.sentence)]
    if unnamed:
        more = len(unnamed) - MOST_CULPRITS
        yield f"      {visible(', '.join(unnamed[:MOST_CULPRITS]))}{f' and {more} more' if more > 0 else ''}"
    if blocker.remedy:
        yield f"    > {visible(blocker.remedy)}"


def _is_named(culprit: str, sentence: str) -> bool:
    """Whether the sentence holds the name, not only as a part of another one."""
    return re.search(rf"(?<![\w.-]){re.escape(culprit)}(?![\w-])", sentence) is not None
