"""Over HTTP, with the state in a real database: what a process says that it was told, and what others suffer for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest

from orchestrator.client import Member
from orchestrator.dialects import Database
from orchestrator.domain.ladder import Phase
from orchestrator.domain.upgrades import Upgrade
from orchestrator.store import rows
from orchestrator.store.transaction import StoreTransaction
from tests.api.test_client_and_api import Server
from tests.api.test_leases import RENEW, held
from tests.api.test_longest_values import RealWorld
from tests.api.world import INSTANCES, SCHEMA, UPGRADE, World, assert_problem

EVIL = f"{INSTANCES}/evil/lease"
MOST = 2**63 - 1


@pytest.fixture
def world(database: Database) -> World:
    return RealWorld(database=database)


def join(world: World, name: str = "evil", release: str = "2") -> dict[str, Any]:
    answer = world.client().post(INSTANCES, {"id": name, "nonce": "n", "release": release})
    assert answer.status_code == 201, answer.text
    lease: dict[str, Any] = answer.json()
    return lease


def renew(world: World, lease: Mapping[str, Any], follows: Mapping[str, Any] | None, ack: int | None = None) -> Any:
    body = {"ack": ack, "follows": follows}
    return world.client().put(f"{INSTANCES}/{lease['id']}/lease", body, headers={"Lease-Epoch": lease["epoch"]})


def told(lease: Mapping[str, Any], **changes: object) -> dict[str, Any]:
    """What an honest process says, or a forger instead of it."""
    standing = lease["standing"]
    return {**{name: standing[name] for name in ("upgrade", "publication", "phase", "signature")}, **changes}


def upgrade(world: World) -> Upgrade:
    found = world.board.standing("inventory").upgrade
    assert found is not None
    return found


def put_back(world: World, backup: Upgrade) -> None:
    """The state is restored to when the upgrade was so, and no daemon has looked at a database since."""
    present = upgrade(world)

    def work(tx: object) -> None:
        assert isinstance(tx, StoreTransaction)
        tx.save_upgrade(backup, expected_revision=present.revision)
        tx._rows.delete(rows.READINGS, "inventory", "main")

    world.context.store.run(work)


@pytest.mark.parametrize("phase", ["expanded", "write_new", "contracted"])
def test_a_token_of_a_service_moves_no_phase(world: World, phase: str) -> None:
    world.waiting_for_approval()
    before = upgrade(world)
    forger, honest = join(world), join(world, "honest")
    claim = told(forger, publication=before.revision + 1, phase=phase)
    for follows in (claim, {**claim, "signature": None}, {**claim, "publication": before.publication}):
        refused = assert_problem(renew(world, forger, follows), 409, "told_unproven")
        assert refused["kind"] == "conflict"
    assert upgrade(world) == before
    assert renew(world, honest, told(honest)).json()["standing"] == honest["standing"]
    world.cycle()
    assert world.phase() is Phase.SEALED
    events = world.client().get("/v1/events?limit=1000").json()["events"]
    assert [each["subject"] for each in events if each["action"] == "instance.disbelieve"] == ["inventory-api/evil"]


def test_who_is_not_believed_is_not_prolonged(world: World) -> None:
    world.expanded()
    forger = join(world)
    before = world.client().get(f"{SCHEMA}/instances").json()
    world.clock.advance(20)
    assert_problem(renew(world, forger, told(forger, publication=MOST), ack=MOST), 409, "told_unproven")
    assert world.client().get(f"{SCHEMA}/instances").json() == before


def test_what_a_daemon_told_repairs_the_state(world: World) -> None:
    world.expanded()
    backup = upgrade(world)
    world.leases.evict("inventory", "inventory-api", "old-1", actor="test", reason="gone", attested_dead=True)
    world.cycle()
    assert world.phase() is Phase.BACKFILL
    member = join(world, "new-1")
    put_back(world, backup)
    assert_problem(renew(world, member, told(member, signature="0" * 32)), 409, "told_unproven")
    assert world.phase() is Phase.EXPANDED
    answer = renew(world, member, told(member), ack=member["standing"]["publication"])
    assert answer.json()["standing"]["phase"] == "backfill"
    assert (world.phase(), upgrade(world).frozen is not None) == (Phase.BACKFILL, True)


def test_at_rest_a_forger_ends_no_lease_of_the_others(world: World) -> None:
    """Neither alone, nor together with them, nor in one request with them."""
    world.at_rest()
    forger, honest = join(world, release="1"), join(world, "honest", release="1")
    client, forged = world.client(), {"upgrade": 1, "publication": 2**53, "phase": "base"}

    async def together() -> list[httpx.Response]:
        async with client.connect() as connection:
            asked = [(each, claim) for each, claim in ((forger, forged), (honest, None)) for _ in range(3)]
            return list(
                await asyncio.gather(
                    *(
                        connection.put(
                            f"{INSTANCES}/{each['id']}/lease",
                            json={"ack": 2**63 if claim else None, "follows": claim},
                            headers={"Lease-Epoch": each["epoch"]},
                        )
                        for each, claim in asked
                    )
                )
            )

    assert [each.status_code for each in asyncio.run(together())] == [409] * 3 + [200] * 3
    leases = [held("evil", forger["epoch"], ack=2**63, follows=forged), held("honest", honest["epoch"])]
    found = client.post(RENEW, {"leases": leases}).json()["leases"]
    assert [each["refusal"] and each["refusal"]["code"] for each in found] == ["told_unproven", None]


BASE = {"upgrade": 1, "publication": 1, "phase": "base"}
UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "phase of another version": ({"follows": {**BASE, "phase": "half_way"}}, "phase_unknown"),
    "phase that is no word": ({"follows": {**BASE, "phase": "a\nb"}}, "body_invalid"),
    "field of another version": ({"follows": {**BASE, "x": 1}}, "body_invalid"),
    "number too large": ({"follows": {**BASE, "publication": 2**63}}, "body_invalid"),
    "upgrade too large": ({"follows": {**BASE, "upgrade": 2**31}}, "body_invalid"),
    "lacks a field": ({"follows": {"upgrade": 1}}, "body_invalid"),
    "no object": ({"follows": 7}, "body_invalid"),
    "ack that is no number": ({"ack": "x"}, "body_invalid"),
    "negative ack": ({"ack": -1}, "body_invalid"),
    "ack too large": ({"ack": 10**30}, "ack_unpublished"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_what_one_says_that_is_not_usable_is_the_refusal_of_that_one(world: World, what: str) -> None:
    said, code = UNUSABLE[what]
    world.begun()
    epochs = {name: world.join(name, release="1") for name in ("a1", "a2", "a3")}
    world.clock.advance(20)
    leases = [held(name, epoch, **(said if name == "a2" else {})) for name, epoch in epochs.items()]
    answer = world.client().post(RENEW, {"leases": leases})
    assert answer.status_code == 200, answer.text
    refusals = [each["refusal"] for each in answer.json()["leases"]]
    assert [each and (each["status"], each["code"]) for each in refusals] == [None, (422, code), None]
    assert [each["id"] for each in answer.json()["leases"]] == list(epochs)
    renewed = {each.id for each in world.leases.list("inventory") if each.renewed_at == world.clock.now}
    assert renewed == {"a1", "a3"}


def test_the_echo_of_any_number_that_the_state_can_hold_is_taken(world: World) -> None:
    """JSON readers elsewhere may round it; our own client does not."""
    world.expanded()
    present = upgrade(world)
    far = replace(present, revision=MOST - 1, publication=MOST - 1)
    world.context.store.run(lambda tx: tx.save_upgrade(far, expected_revision=present.revision))
    member = join(world, "new-1")
    assert member["standing"]["publication"] == MOST - 1
    answer = renew(world, member, told(member), ack=MOST - 1)
    assert answer.status_code == 200, answer.text
    assert answer.json()["standing"] == member["standing"]


def test_a_signature_is_in_each_answer_and_taken_back(world: World) -> None:
    world.expanded()
    joined = join(world, "new-1")
    again = world.client().post(INSTANCES, {"id": "new-1", "nonce": "n", "release": "2"}).json()
    renewed = renew(world, joined, told(joined)).json()
    bulk = world.client().post(RENEW, {"leases": [held("new-1", joined["epoch"], follows=told(joined))]}).json()
    signatures = {each["standing"]["signature"] for each in (joined, again, renewed, bulk["leases"][0]["lease"])}
    (signature,) = signatures
    assert len(signature) == 32
    shown = "".join(world.client().get(path).text for path in (f"{SCHEMA}/instances", UPGRADE, "/v1/events?limit=1000"))
    assert signature not in shown


# -- the real client -------------------------------------------------------------------------------------------------


@pytest.fixture
def url(world: World) -> Iterator[str]:
    server = Server(world.application())
    server.start()
    yield server.url
    server.stop()


def test_honest_processes_repair_a_restored_state_and_go_on(world: World, url: str) -> None:
    world.expanded()
    backup = upgrade(world)
    new = Member(url, schema="inventory", fleet="inventory-api", release="2", instance_id="new-1")
    new.join(in_background=False)
    world.leases.evict("inventory", "inventory-api", "old-1", actor="test", reason="gone", attested_dead=True)
    world.cycle()
    assert new.renew() and new.renew()
    assert (world.phase(), new.standing.phase) == (Phase.BACKFILL, "backfill")
    put_back(world, backup)
    assert world.phase() is Phase.EXPANDED
    assert new.renew()
    assert (world.phase(), new.standing.phase) == (Phase.BACKFILL, "backfill")
    assert upgrade(world).frozen is not None
    assert new.renew(), "and acks what it was told then"
    world.clock.advance(70)
    assert new.renew()
    world.cycle()
    assert upgrade(world).frozen is None
    new.leave()
