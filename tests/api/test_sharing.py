"""What is read once for everybody, and how old it may be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from orchestrator.api.sharing import Shared
from orchestrator.domain.errors import Unavailable

AN_HOUR = 3600.0


class Source:
    """Is read, and counts how often. A reading waits until it is let go on, if `gate` is there."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.readings = 0
        self.value = "first"
        self.begun = threading.Semaphore(0)
        self.gate = gate
        self.fails: Exception | None = None

    def __call__(self, key: str) -> str:
        self.readings += 1
        found = f"{key} {self.value}"
        self.begun.release()
        if self.gate is not None:
            assert self.gate.wait(60)
        if self.fails is not None:
            raise self.fails
        return found


def run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(work())


def test_many_who_ask_at_once_are_answered_with_one_reading() -> None:
    source = Source()
    shared = Shared(source, fresh_seconds=AN_HOUR)

    async def work() -> list[str]:
        return await asyncio.gather(*(shared.get("a") for _ in range(500)))

    assert run(work) == ["a first"] * 500
    assert source.readings == 1


def test_what_was_read_a_moment_ago_is_good_for_the_next() -> None:
    source = Source()
    shared = Shared(source, fresh_seconds=AN_HOUR)

    async def work() -> None:
        await shared.get("a")
        source.value = "second"
        assert await shared.get("a") == "a first"
        assert await shared.get("b") == "b second"

    run(work)
    assert source.readings == 2


def test_after_something_was_changed_nobody_is_told_what_was_read_before() -> None:
    source = Source()
    shared = Shared(source, fresh_seconds=AN_HOUR)

    async def work() -> None:
        await shared.get("a")
        source.value = "second"
        shared.forget("a")
        assert await shared.get("a") == "a second"

    run(work)


def test_a_reading_that_began_before_the_change_is_not_waited_for_in_vain() -> None:
    gate = threading.Event()
    source = Source(gate)
    shared = Shared(source, fresh_seconds=AN_HOUR)

    async def work() -> tuple[str, str]:
        early = asyncio.create_task(shared.get("a"))
        await asyncio.to_thread(source.begun.acquire)
        source.value = "second"
        shared.forget("a")
        late = asyncio.create_task(shared.get("a"))
        await asyncio.sleep(0)
        gate.set()
        return await early, await late

    assert run(work) == ("a first", "a second")


def test_without_a_time_to_be_good_for_all_is_read_after_it_was_asked_for() -> None:
    source = Source()
    shared = Shared(source, fresh_seconds=0)

    async def work() -> None:
        await shared.get("a")
        source.value = "second"
        assert await shared.get("a") == "a second"

    run(work)


def test_equal_values_are_the_same_object() -> None:
    shared = Shared(tuple[str, ...], fresh_seconds=0)

    async def work() -> None:
        first = await shared.get("abc")
        assert await shared.get("abc") is first
        assert shared.latest("abc") is first

    run(work)


def test_a_failure_is_told_to_all_who_asked_and_not_kept() -> None:
    source = Source()
    source.fails = Unavailable("state_database_unavailable", "it is away", remedy="Wait.")
    shared = Shared(source, fresh_seconds=AN_HOUR)

    async def work() -> None:
        answers = await asyncio.gather(*(shared.get("a") for _ in range(3)), return_exceptions=True)
        assert answers == [source.fails] * 3
        source.fails = None
        assert await shared.get("a") == "a first"

    run(work)
    assert source.readings == 2


def test_whoever_gives_up_leaves_the_reading_to_the_others() -> None:
    gate = threading.Event()
    source = Source(gate)
    shared = Shared(source, fresh_seconds=AN_HOUR)

    async def work() -> str:
        impatient, patient = asyncio.create_task(shared.get("a")), asyncio.create_task(shared.get("a"))
        await asyncio.to_thread(source.begun.acquire)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        gate.set()
        return await patient

    assert run(work) == "a first"
    assert source.readings == 1
