"""How soon after its intent a statement is sent on a cluster, and how long others wait for it."""

from __future__ import annotations

from typing import Any, cast

import sqlalchemy as sa

from orchestrator.dialects import Dialect
from orchestrator.schema_migrations.last_words import IDLE_SECONDS, SEND_SECONDS, LastWords

NOBODY = cast(sa.Connection, None)


class Member:
    """A database of which only this is asked: a member of a cluster by that name, or none."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self.limits: list[int | None] = []

    def cluster_member(self, _connection: sa.Connection) -> str | None:
        return self._name

    def end_when_idle(self, _connection: sa.Connection, seconds: int | None) -> None:
        self.limits.append(seconds)


class Time:
    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def words(self, member: Any) -> LastWords:
        return LastWords(NOBODY, cast(Dialect, member), sleep=self.slept.append, clock=lambda: self.now)


def test_what_was_intended_may_be_sent_for_a_short_time_only() -> None:
    time = Time()
    words = time.words(member := Member("one"))
    words.intend()
    seen = []
    for seconds in (SEND_SECONDS, 0.1):
        time.now += seconds
        seen.append(words.is_late)
    words.intend()
    assert [*seen, words.is_late] == [False, True, False]
    words.end()
    words.end()
    assert member.limits == [IDLE_SECONDS, None]


def test_without_a_cluster_nothing_is_asked_of_anybody() -> None:
    time = Time()
    words = time.words(member := Member(None))
    words.intend()
    time.now = 1000.0
    assert not words.is_late
    words.end()
    assert not words.outlast(["one", None])
    assert (member.limits, time.slept) == ([], [])


def test_what_was_intended_elsewhere_is_outlasted_once() -> None:
    time = Time()
    words = time.words(Member("one"))
    assert not words.outlast([])
    assert not words.outlast(["one", "one"])
    assert time.slept == []
    assert words.outlast(["one", None, "two"])
    (slept,) = time.slept
    assert slept > SEND_SECONDS + IDLE_SECONDS
