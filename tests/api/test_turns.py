"""Managed databases that do not answer: whoever asks for them waits, and nobody else does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import httpx
import pytest

from orchestrator.api.turns import MOST_OF_ONE_SCHEMA
from orchestrator.domain.errors import Unavailable
from tests.api.world import INSTANCES, SCHEMA, UPGRADE, World, assert_problem

PLAN = f"{SCHEMA}/plan"
ASKED = 60
"""More than there are threads for requests."""


class Silence:
    """A database that answers when it is told to."""

    def __init__(self) -> None:
        self._answers = threading.Event()
        self._counting = threading.Lock()
        self.asked = 0

    def plan(self, *what: object) -> tuple[str, ...]:
        with self._counting:
            self.asked += 1
        self._answers.wait(60)
        return ()

    def end(self) -> None:
        self._answers.set()


@pytest.fixture
def silence(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Silence]:
    found = Silence()
    monkeypatch.setattr(world.managed, "plan", found.plan)
    yield found
    found.end()


def test_leases_are_renewed_while_databases_are_silent(world: World, silence: Silence) -> None:
    epoch = world.begun().join("old-1", release="1")

    async def run() -> tuple[httpx.Response, httpx.Response, list[httpx.Response]]:
        async with world.client().connect() as connection:
            plans = [asyncio.create_task(connection.get(PLAN)) for _ in range(ASKED)]
            while silence.asked < MOST_OF_ONE_SCHEMA:
                await asyncio.sleep(0.001)
            renewal = connection.put(f"{INSTANCES}/old-1/lease", json={"ack": None}, headers={"Lease-Epoch": epoch})
            renewed = await asyncio.wait_for(renewal, 30)
            alive = await asyncio.wait_for(connection.get("/healthz"), 30)
            while sum(plan.done() for plan in plans) < ASKED - MOST_OF_ONE_SCHEMA:
                await asyncio.sleep(0.001)
            silence.end()
            return renewed, alive, await asyncio.gather(*plans)

    renewed, alive, plans = asyncio.run(run())
    assert (renewed.status_code, alive.status_code) == (200, 200)
    refused = [plan for plan in plans if plan.status_code != 200]
    assert len(refused) == ASKED - MOST_OF_ONE_SCHEMA
    for plan in refused:
        assert_problem(plan, 503, "too_many_asking")
        assert plan.headers["retry-after"] == "2"


def test_leases_are_renewed_while_strangers_are_looked_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom the state does not know may have joined in a managed database: all of them are asked for each."""
    epoch = world.begun().join("old-1", release="1")
    end, asked = threading.Event(), threading.Event()

    def registration(*who: object) -> None:
        asked.set()
        end.wait(60)

    monkeypatch.setattr(world.managed, "registration", registration)
    strangers = [
        {"schema": "inventory", "fleet": "inventory-api", "id": f"x{number}", "epoch": "e"} for number in range(50)
    ]

    async def run() -> tuple[httpx.Response, httpx.Response]:
        async with world.client().connect() as connection:
            bulk = asyncio.create_task(connection.post("/v1/leases:renew", json={"leases": strangers}))
            while not asked.is_set():
                await asyncio.sleep(0.001)
            renewal = connection.put(f"{INSTANCES}/old-1/lease", json={"ack": None}, headers={"Lease-Epoch": epoch})
            renewed = await asyncio.wait_for(renewal, 30)
            end.set()
            return renewed, await bulk

    renewed, bulk = asyncio.run(run())
    assert renewed.status_code == 200
    assert [each["refusal"]["status"] for each in bulk.json()["leases"]] == [404] * 50


def test_whoever_steers_does_not_wait_for_those_who_look(world: World, silence: Silence) -> None:
    world.begun()

    async def run() -> httpx.Response:
        async with world.client(turn_wait_seconds=60).connect() as connection:
            plans = [asyncio.create_task(connection.get(PLAN)) for _ in range(ASKED)]
            while silence.asked < MOST_OF_ONE_SCHEMA:
                await asyncio.sleep(0.001)
            begun = await asyncio.wait_for(connection.post(UPGRADE, json={"release": "2"}), 30)
            silence.end()
            await asyncio.gather(*plans)
            return begun

    assert asyncio.run(run()).status_code == 200


def test_whoever_waits_gets_the_turn_of_another(world: World, silence: Silence) -> None:
    world.begun()

    async def run() -> list[httpx.Response]:
        async with world.client(turn_wait_seconds=60).connect() as connection:
            plans = [asyncio.create_task(connection.get(PLAN)) for _ in range(MOST_OF_ONE_SCHEMA + 2)]
            while silence.asked < MOST_OF_ONE_SCHEMA:
                await asyncio.sleep(0.001)
            silence.end()
            return await asyncio.gather(*plans)

    assert [plan.status_code for plan in asyncio.run(run())] == [200] * (MOST_OF_ONE_SCHEMA + 2)
    assert silence.asked == MOST_OF_ONE_SCHEMA + 2


def test_health_needs_no_thread(world: World) -> None:
    """Even where all of them are taken: a restart would not bring the state database back."""
    end = threading.Event()

    async def run() -> httpx.Response:
        async with world.client().connect() as connection:
            questions = [asyncio.create_task(connection.get("/v1/schemas")) for _ in range(ASKED)]
            await asyncio.sleep(0)
            alive = await asyncio.wait_for(connection.get("/healthz"), 30)
            end.set()
            await asyncio.gather(*questions)
            return alive

    def wait(work: object) -> None:
        end.wait(60)
        raise Unavailable("state_database_unavailable", "the state database does not answer", remedy="Start it.")

    world.at_rest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.store, "read", wait)
        assert asyncio.run(run()).status_code == 200
