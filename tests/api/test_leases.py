"""Joins and renewals that arrive together, and many renewals in one request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from orchestrator.api.desks import Desk
from orchestrator.domain.errors import Invalid, NotYet, OrchestratorError, Unavailable
from tests.api.world import INSTANCES, World, assert_problem

RENEW = "/v1/leases:renew"


def held(name: str, epoch: str, **more: Any) -> dict[str, Any]:
    return {"schema": "inventory", "fleet": "inventory-api", "id": name, "epoch": epoch, **more}


def test_many_leases_are_renewed_in_one_request(world: World) -> None:
    world.begun()
    epochs = {f"a{number}": world.join(f"a{number}", release="1") for number in range(30)}
    publication = world.board.standing("inventory").upgrade
    assert publication is not None
    world.clock.advance(20)
    leases = [held(name, epoch, ack=publication.publication) for name, epoch in epochs.items()]
    found = world.client().post(RENEW, {"leases": leases}).json()["leases"]
    assert [each["id"] for each in found] == list(epochs)
    assert all(each["refusal"] is None for each in found)
    alone = world.client().put(f"{INSTANCES}/a0/lease", {}, headers={"Lease-Epoch": epochs["a0"]}).json()
    assert found[0]["lease"] == alone
    assert {each.renewed_at for each in world.leases.list("inventory")} == {world.clock.now}
    assert world.nudged.count("inventory") == 1


def test_one_that_is_refused_says_so_and_the_others_are_renewed(world: World) -> None:
    world.at_rest()
    epoch = world.join("a1", release="1")
    leases = [held("a1", "foreign"), held("nobody", epoch), held("a1", epoch), held("a1", epoch, ack=10**9)]
    found = world.client().post(RENEW, {"leases": leases}).json()["leases"]
    refusals = [each["refusal"] and (each["refusal"]["status"], each["refusal"]["code"]) for each in found]
    assert refusals == [(409, "epoch_foreign"), (404, "instance_unknown"), None, (422, "ack_unpublished")]
    assert found[2]["lease"]["id"] == "a1"


def test_no_leases_are_nothing_to_renew(world: World) -> None:
    assert world.at_rest().client().post(RENEW, {"leases": []}).json() == {"leases": []}


def test_a_request_of_many_leases_is_large(world: World) -> None:
    world.at_rest()
    epoch = world.join("a1", release="1")
    answer = world.client().post(RENEW, {"leases": [held(f"{number:060}", epoch) for number in range(1000)]})
    assert answer.status_code == 200
    assert len(answer.json()["leases"]) == 1000


def test_too_many_leases_are_refused(world: World) -> None:
    answer = world.at_rest().client().post(RENEW, {"leases": [held("a", "e")] * 5001})
    assert_problem(answer, 422, "body_invalid")


def test_joins_that_arrive_together_are_each_answered(world: World) -> None:
    world.at_rest()
    client = world.client()

    async def run() -> list[httpx.Response]:
        async with client.connect() as connection:
            bodies = [{"id": f"a{number}", "nonce": "n", "release": "1" if number % 2 else "3"} for number in range(20)]
            return list(await asyncio.gather(*(connection.post(INSTANCES, json=body) for body in bodies)))

    answers = asyncio.run(run())
    assert [answer.status_code for answer in answers] == [409, 201] * 10
    assert len(world.leases.list("inventory")) == 10


# -- desks -------------------------------------------------------------------------------------------------------------


def test_who_comes_while_a_bundle_is_under_way_is_in_the_next() -> None:
    bundles: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def double(numbers: Sequence[int]) -> Sequence[int]:
        bundles.append(list(numbers))
        begun.set()
        assert go_on.wait(60)
        return [2 * number for number in numbers]

    async def run() -> list[int]:
        desk: Desk[int, int] = Desk(double, gather_seconds=0)
        first = [asyncio.create_task(desk.ask(number)) for number in range(3)]
        await asyncio.to_thread(begun.wait)
        others = [asyncio.create_task(desk.ask(number)) for number in range(3, 6)]
        await asyncio.sleep(0)
        go_on.set()
        return list(await asyncio.gather(*first, *others))

    assert asyncio.run(run()) == [0, 2, 4, 6, 8, 10]
    assert bundles == [[0, 1, 2], [3, 4, 5]]


def test_a_refusal_is_for_the_one_who_is_refused() -> None:
    def answer(numbers: Sequence[int]) -> Sequence[int | OrchestratorError]:
        return [NotYet("odd", "it is odd", remedy="Be even.") if number % 2 else number for number in numbers]

    async def run() -> list[Any]:
        desk: Desk[int, int] = Desk(answer, gather_seconds=0)
        return list(await asyncio.gather(*(desk.ask(number) for number in range(4)), return_exceptions=True))

    zero, one, two, three = asyncio.run(run())
    assert (zero, two) == (0, 2)
    assert isinstance(one, NotYet) and isinstance(three, NotYet)


def test_a_bundle_that_fails_fails_for_all_of_it_and_not_for_the_next() -> None:
    def fail_once(numbers: Sequence[int]) -> Sequence[int]:
        if 1 in numbers:
            raise NotYet("away", "it is away", remedy="Wait.")
        return numbers

    async def run() -> None:
        desk: Desk[int, int] = Desk(fail_once, gather_seconds=0)
        for outcome in await asyncio.gather(desk.ask(1), desk.ask(2), return_exceptions=True):
            assert isinstance(outcome, NotYet)
        assert await desk.ask(3) == 3

    asyncio.run(run())


def test_who_gives_up_spoils_nothing_for_the_others() -> None:
    async def run() -> None:
        desk: Desk[int, int] = Desk(lambda numbers: numbers, gather_seconds=0)
        first, second = asyncio.create_task(desk.ask(1)), asyncio.create_task(desk.ask(2))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second == 2

    asyncio.run(run())


def test_a_bundle_that_fails_for_one_of_it_is_done_one_by_one() -> None:
    bundles: list[list[int]] = []

    def fail_on_two(numbers: Sequence[int]) -> Sequence[int]:
        bundles.append(list(numbers))
        if 2 in numbers:
            raise Invalid("value_refused", "2 is too large", remedy="Ask for less.")
        if 3 in numbers:
            raise RuntimeError("a mistake of ours")
        return numbers

    async def run() -> list[Any]:
        desk: Desk[int, int] = Desk(fail_on_two, gather_seconds=0)
        return list(await asyncio.gather(*(desk.ask(number) for number in range(5)), return_exceptions=True))

    zero, one, two, three, four = asyncio.run(run())
    assert (zero, one, four) == (0, 1, 4)
    assert isinstance(two, Invalid) and isinstance(three, RuntimeError)
    assert bundles == [[0, 1, 2, 3, 4], [0], [1], [2], [3], [4]]


def test_a_state_database_that_is_away_is_asked_once_for_all_of_a_bundle() -> None:
    asked: list[Sequence[int]] = []

    def be_away(numbers: Sequence[int]) -> Sequence[int]:
        asked.append(numbers)
        raise Unavailable("state_database_unavailable", "it is away", remedy="Start it.")

    async def run() -> list[Any]:
        desk: Desk[int, int] = Desk(be_away, gather_seconds=0)
        return list(await asyncio.gather(*(desk.ask(number) for number in range(5)), return_exceptions=True))

    assert [type(each) for each in asyncio.run(run())] == [Unavailable] * 5
    assert len(asked) == 1
