"""Those who wait: one reading for all of them, gates that open, changes as events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx

from orchestrator.api.live import _events
from orchestrator.domain.ladder import Phase
from tests.api.world import SCHEMA, UPGRADE, Client, World, assert_problem

GATE = f"{SCHEMA}/gates/deploy:inventory-api:2"


def ask_while(world: World, client: Client, *questions: str) -> list[httpx.Response]:
    """The answers to questions that all wait when the phase is published. Nothing is asked in between."""

    async def run() -> list[httpx.Response]:
        async with client.connect() as connection:
            tasks = [asyncio.create_task(connection.get(question)) for question in questions]
            while client.watch.waiters < len(questions):
                await asyncio.sleep(0)
            await asyncio.to_thread(world.cycle)
            return list(await asyncio.gather(*tasks))

    return asyncio.run(run())


# -- gates -------------------------------------------------------------------------------------------------------------


def test_gates_are_waited_for_until_they_open(world: World) -> None:
    world.begun()
    answers = ask_while(world, world.client(), *(f"{GATE}?wait=300" for _ in range(20)))
    assert {(answer.status_code, answer.json()["open"]) for answer in answers} == {(200, True)}


def test_a_gate_that_stays_closed_is_answered_when_the_time_is_over(world: World) -> None:
    body = world.begun().client().get(f"{GATE}?wait=0.01").json()
    assert (body["open"], body["status"]) == (False, "RUNNING")


def test_a_gate_says_at_which_revision_it_was_looked_at(world: World) -> None:
    client = world.begun().client()
    before = client.get(GATE).json()
    world.cycle()
    after = client.get(GATE).json()
    upgrade = client.get(UPGRADE).json()
    assert before["revision"] < after["revision"] == upgrade["revision"]
    assert (before["open"], after["open"]) == (False, True)


# -- long polls --------------------------------------------------------------------------------------------------------


def test_whoever_waits_for_another_revision_hears_of_it_together(world: World) -> None:
    world.begun()
    client = world.client()
    known = client.get(UPGRADE).headers["etag"]

    async def run() -> list[httpx.Response]:
        async with client.connect() as connection:
            headers = {"If-None-Match": known}
            tasks = [asyncio.create_task(connection.get(f"{UPGRADE}?wait=300", headers=headers)) for _ in range(20)]
            while client.watch.waiters < 20:
                await asyncio.sleep(0)
            await asyncio.to_thread(world.cycle)
            return list(await asyncio.gather(*tasks))

    answers = asyncio.run(run())
    assert {answer.status_code for answer in answers} == {200}
    assert all(answer.headers["etag"] != known for answer in answers)


def test_steering_is_seen_by_the_very_next_question(world: World) -> None:
    world.begun()
    application = world.application(fresh_seconds=3600)
    client = Client(application)
    assert client.get(UPGRADE).json()["paused"] is None
    client.post(f"{UPGRADE}/pause", {"reason": "audit"})
    assert client.get(UPGRADE).json()["paused"] == "audit"


def test_nothing_is_read_for_those_who_ask_a_moment_later(world: World) -> None:
    world.begun()
    client = Client(world.application(fresh_seconds=3600))
    for path in (f"{SCHEMA}/readiness?release=2", GATE, UPGRADE):
        client.get(path)
    world.store.is_broken = True
    assert client.get(UPGRADE).status_code == 200
    assert client.get(GATE).status_code == 200
    assert_problem(client.get(f"{SCHEMA}/readiness?release=2"), 503, "phase_not_reached")


# -- events ------------------------------------------------------------------------------------------------------------


def test_events_begin_with_what_stands_there(world: World) -> None:
    client = world.begun().client()
    client.watch.close()
    answer = client.get("/v1/watch?schema=inventory")
    assert answer.headers["content-type"].startswith("text/event-stream")
    retry, event = answer.text.strip().split("\n\n")
    kind, number, data = event.split("\n")
    assert retry.startswith("retry: ")
    upgrade = json.loads(data.removeprefix("data: "))
    assert (kind, number) == ("event: upgrade", f"id: {upgrade['revision']}")
    assert upgrade["phase"] == "base"


def test_a_change_is_an_event_and_its_end_ends_the_stream(world: World) -> None:
    world.begun()
    client = world.client()

    async def run() -> tuple[str, str]:
        documents = {"inventory": await client.watch.document("inventory")}
        events: AsyncIterator[bytes] = _events(client.watch, documents)
        await anext(events)
        first = (await anext(events)).decode()
        following = asyncio.ensure_future(anext(events))
        while client.watch.waiters == 0:
            await asyncio.sleep(0)
        await asyncio.to_thread(world.cycle)
        second = (await following).decode()
        while '"phase":"base"' in second:  # it was looked at in the middle of the moves
            second = (await anext(events)).decode()
        client.watch.close()
        assert [event async for event in events] == []
        return first, second

    first, second = asyncio.run(run())
    assert '"phase":"base"' in first
    assert world.phase() > Phase.BASE
    assert '"phase":"base"' not in second


def test_events_end_at_once_when_the_daemon_stops(world: World) -> None:
    world.begun()
    client = world.client()

    async def run() -> list[bytes]:
        documents = {"inventory": await client.watch.document("inventory")}
        events = _events(client.watch, documents)
        await anext(events)
        await anext(events)
        rest = asyncio.ensure_future(anext(events, b"end"))
        while client.watch.waiters == 0:
            await asyncio.sleep(0)
        client.watch.close()
        return [await rest]

    assert asyncio.run(run()) == [b"end"]


def test_events_of_an_unknown_schema_are_refused(world: World) -> None:
    assert_problem(world.at_rest().client().get("/v1/watch?schema=nothing"), 404, "schema_unknown")


def test_events_are_refused_where_too_many_wait(world: World) -> None:
    assert_problem(world.begun().client(most_waiters=0).get("/v1/watch"), 503, "too_many_waiting")


def test_the_head_of_a_stream_has_an_end(world: World) -> None:
    answer = world.begun().client().request("HEAD", "/v1/watch")
    assert (answer.status_code, answer.content) == (200, b"")
