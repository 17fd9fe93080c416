"""Garbage: how often Python looks for objects that only refer to each other."""

from __future__ import annotations

import gc

MOST_YOUNG_OBJECTS = 50_000
"""So many new objects are looked at together: rows of a batch are many at once, and none refers to another."""


def collect_seldom() -> None:
    """Look for garbage seldom, and not among what is loaded by now, which stays.

    Half of what Python did for a row of a transform was looking for garbage among the other rows of its batch.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(MOST_YOUNG_OBJECTS, 20, 20)
