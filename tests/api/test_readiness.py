"""Readiness: yes, not yet, never; and waiting for a yes."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.api.world import SCHEMA, World, assert_problem

READINESS = f"{SCHEMA}/readiness"


def test_a_release_that_may_start_is_ready(world: World) -> None:
    body = world.expanded().client().get(f"{READINESS}?release=2&fleet=inventory-api").json()
    assert (body["ready"], body["release"], body["phase"]) == (True, "2", "expanded")


def test_not_yet_is_503_with_retry_after_and_never_409(world: World) -> None:
    answer = world.begun().client().get(f"{READINESS}?release=2&fleet=inventory-api")
    problem = assert_problem(answer, 503, "phase_not_reached")
    assert (answer.headers["retry-after"], problem["ready"], problem["kind"]) == ("2", False, "not_yet")


def test_never_is_409_at_once_even_with_a_wait(world: World) -> None:
    client = world.waiting_for_approval().client()
    old = assert_problem(client.get(f"{READINESS}?release=1&wait=300"), 409, "release_too_old")
    assert (old["ready"], old["kind"]) == (False, "never")
    assert_problem(client.get(f"{READINESS}?release=3&wait=300"), 409, "release_too_new")
    assert_problem(client.get(f"{READINESS}?release=nightly&wait=300"), 409, "release_unknown")


def test_a_fleet_that_no_release_lists_is_not_found(world: World) -> None:
    answer = world.expanded().client().get(f"{READINESS}?release=2&fleet=nobody")
    assert_problem(answer, 404, "fleet_unknown")


@pytest.mark.parametrize(
    ("query", "field"),
    [("", "release"), ("release=2&wait=301", "wait"), ("release=2&wait=-1", "wait"), ("release=2&wait=nan", "wait"),
     ("release=2&wait=soon", "wait"), ("release=2&whait=3", "whait"), ("release=", "release"),
     ("release=2&release=3", "release"), ("release=%00", "release")],
)  # fmt: skip
def test_a_wrong_question_names_the_field(world: World, query: str, field: str) -> None:
    answer = world.begun().client().get(f"{READINESS}?{query}")
    assert assert_problem(answer, 422, "query_invalid")["field"] == field


def ask_while(
    world: World, happens: Callable[[httpx.AsyncClient], Awaitable[object]], questions: tuple[str, ...]
) -> list[httpx.Response]:
    """The answers to questions that all wait when something happens."""
    client = world.client()

    async def run() -> list[httpx.Response]:
        async with client.connect() as connection:
            tasks = [asyncio.create_task(connection.get(question)) for question in questions]
            while client.watch.waiters < len(questions):
                await asyncio.sleep(0)
            await happens(connection)
            return list(await asyncio.gather(*tasks))

    return asyncio.run(run())


def test_a_wait_ends_when_the_phase_is_published(world: World) -> None:
    world.begun()

    async def publish(_: httpx.AsyncClient) -> None:
        await asyncio.to_thread(world.cycle)

    answers = ask_while(world, publish, (f"{READINESS}?release=2&wait=300",) * 20)
    assert [answer.status_code for answer in answers] == [200] * 20


def test_a_wait_ends_with_never_when_it_comes_to_that(world: World) -> None:
    world.at_rest()

    async def upgrade(_: httpx.AsyncClient) -> None:
        world.upgrades.begin("inventory", "2", actor="test")
        await asyncio.to_thread(world.cycle)

    (answer,) = ask_while(world, upgrade, (f"{READINESS}?release=2&wait=300",))
    assert answer.status_code == 200


def test_a_wait_without_a_change_ends_with_not_yet(world: World) -> None:
    assert_problem(world.begun().client().get(f"{READINESS}?release=2&wait=0.01"), 503, "phase_not_reached")


def test_waits_end_when_the_daemon_stops(world: World) -> None:
    world.begun()
    client = world.client()

    async def run() -> httpx.Response:
        async with client.connect() as connection:
            waiting = asyncio.create_task(connection.get(f"{READINESS}?release=2&wait=300"))
            while client.watch.waiters == 0:
                await asyncio.sleep(0)
            client.watch.close()
            return await waiting

    assert_problem(asyncio.run(run()), 503, "phase_not_reached")


def test_one_waiter_too_many_is_asked_to_come_back(world: World) -> None:
    world.begun()
    client = world.client(most_waiters=2)

    async def run() -> httpx.Response:
        async with client.connect() as connection:
            question = f"{READINESS}?release=2&wait=300"
            tasks = [asyncio.create_task(connection.get(question)) for _ in range(2)]
            while client.watch.waiters < 2:
                await asyncio.sleep(0)
            refused = await connection.get(question)
            client.watch.close()
            await asyncio.gather(*tasks)
            return refused

    answer = asyncio.run(run())
    assert_problem(answer, 503, "too_many_waiting")
    assert answer.headers["retry-after"] == "2"


def test_a_wait_outlives_a_store_that_does_not_answer_for_a_while(world: World) -> None:
    world.begun()
    client = world.client()

    async def run() -> httpx.Response:
        async with client.connect() as connection:
            waiting = asyncio.create_task(connection.get(f"{READINESS}?release=2&wait=300"))
            while client.watch.waiters == 0:
                await asyncio.sleep(0)
            world.store.is_broken = True
            world.store.refused.clear()
            await asyncio.to_thread(world.store.refused.wait)
            world.store.is_broken = False
            await asyncio.to_thread(world.cycle)
            return await waiting

    assert asyncio.run(run()).status_code == 200


def test_nobody_waits_for_a_client_that_hung_up(world: World) -> None:
    world.begun()
    client = world.client()

    async def run() -> int:
        async with client.connect() as connection:
            waiting = asyncio.create_task(connection.get(f"{READINESS}?release=2&wait=300"))
            while client.watch.waiters == 0:
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            return client.watch.waiters

    assert asyncio.run(run()) == 0
