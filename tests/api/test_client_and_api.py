"""The real client against the real API: a real server, real HTTP, real threads; only the databases are not there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import uvicorn

from orchestrator.api.auth import Role
from orchestrator.client import (
    Conflict,
    Evicted,
    Forbidden,
    HttpTransport,
    LeaseLost,
    Member,
    NotYet,
    Unauthenticated,
    ask_readiness,
    wait_until_ready,
)
from orchestrator.domain.ladder import Phase
from tests.api.world import UPGRADE, World, tokens_for_all_roles


class Server:
    """A real server on a free port, in a thread."""

    def __init__(self, application: object) -> None:
        self._channel = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._channel.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(application, log_config=None, access_log=False, timeout_graceful_shutdown=1)  # type: ignore[arg-type]
        )
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        HttpTransport(self.url).request("GET", "/healthz")  # the socket queues it until the server is up

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        self._server.run(sockets=[self._channel])


@pytest.fixture
def url(world: World) -> Iterator[str]:
    """The address of a server without tokens."""
    server = Server(world.application())
    server.start()
    yield server.url
    server.stop()


def member(url: str, name: str, release: str, *, token: str | None = None) -> Member:
    return Member(url, schema="inventory", fleet="inventory-api", release=release, instance_id=name, token=token)


def acked(world: World, name: str) -> int:
    return next(each.acked for each in world.leases.list("inventory") if each.id == name)


def test_a_whole_upgrade_as_two_releases_live_it(world: World, url: str) -> None:
    world.at_rest()
    old, new = member(url, "old-1", "1"), member(url, "new-1", "2")
    assert old.join(in_background=False).behaviour.reads == "new"
    with pytest.raises(NotYet) as early:
        new.join(wait_seconds=0, in_background=False)
    assert early.value.code == "upgrade_not_begun"
    assert early.value.retry_after == 2

    deployer = HttpTransport(url)
    assert deployer.request("POST", UPGRADE, {"release": "2"}).status == 201
    assert old.renew() and old.renew()  # the first hears of the upgrade, the second acks it
    world.cycle()
    assert world.phase() is Phase.EXPANDED
    ask_readiness(deployer, schema="inventory", fleet="inventory-api", release="2")

    new = member(url, "new-1", "2")
    assert str(new.join(in_background=False).behaviour) == "reads old, writes both"
    with old.transaction() as behaviour:
        assert (behaviour.reads, behaviour.writes) == ("new", "new")  # of its own release's change
    old.leave()
    world.cycle()
    assert world.phase() is Phase.BACKFILL
    with pytest.raises(Conflict) as late:
        member(url, "old-2", "1").join(wait_seconds=30, in_background=False)
    assert late.value.code == "release_too_old"

    seen = []
    for _ in range(3):
        new.renew()
        new.renew()
        world.move_rows()
        world.cycle()
        seen.append(str(new.standing.behaviour))
    assert seen == ["reads old, writes both", "reads new, writes both", "reads new, writes new"]
    assert world.phase() is Phase.SEALED

    operator = HttpTransport(url)
    operator.request("POST", f"{UPGRADE}/approve", {"reason": "all is quiet"})
    assert new.renew() and new.renew()  # that it is sealed is acked like every phase
    world.cycle()
    assert operator.request("GET", UPGRADE).json["status"] == "completed"
    assert new.renew()
    assert str(new.standing.behaviour) == "reads new, writes new"
    new.leave()


def test_an_open_transaction_holds_the_ack_back(world: World, url: str) -> None:
    world.expanded()
    world.leases.evict("inventory", "inventory-api", "old-1", actor="test", reason="rolled", attested_dead=True)
    new = member(url, "new-1", "2")
    new.join(in_background=False)
    world.cycle()
    assert world.phase() is Phase.BACKFILL
    before = acked(world, "new-1")
    with new.transaction():
        new.renew()
        new.renew()
        assert acked(world, "new-1") == before
    new.renew()
    assert acked(world, "new-1") > before
    new.leave()


def test_an_evicted_process_may_not_begin_anything(world: World, url: str) -> None:
    world.at_rest()
    web = member(url, "web-1", "1")
    web.join(in_background=False)
    HttpTransport(url).request(
        "POST",
        "/v1/schemas/inventory/fleets/inventory-api/instances/web-1/evict",
        {"reason": "its host burnt", "attest_dead": True},
    )
    assert not web.renew()
    with pytest.raises(Evicted), web.transaction():
        pass


def test_a_foreign_epoch_ends_the_membership(world: World, url: str) -> None:
    world.at_rest()
    web = member(url, "web-1", "1")
    web.join(in_background=False)
    with pytest.raises(Conflict) as taken:
        member(url, "web-1", "1").join(wait_seconds=30, in_background=False)
    assert taken.value.code == "instance_id_taken"
    (held,) = world.leases.list("inventory")
    world.store.run(lambda tx: tx.save_instance(replace(held, tag="another's")))
    assert not web.renew()
    with pytest.raises(LeaseLost) as lost, web.transaction():
        pass
    assert lost.value.final


def test_waiting_for_readiness_ends_with_the_phase(world: World, url: str) -> None:
    world.begun()
    answers: list[str] = []

    def wait() -> None:
        wait_until_ready(HttpTransport(url), schema="inventory", fleet="inventory-api", release="2", wait_seconds=120)
        answers.append("ready")

    waiting = threading.Thread(target=wait)
    waiting.start()
    world.cycle()
    waiting.join()
    assert answers == ["ready"]


def test_roles_as_the_client_meets_them(world: World) -> None:
    tokens, secrets = tokens_for_all_roles()
    world.at_rest()
    server = Server(world.application(tokens))
    server.start()
    try:
        with pytest.raises(Unauthenticated):
            member(server.url, "web-1", "1").join(wait_seconds=30, in_background=False)
        with pytest.raises(Forbidden):
            member(server.url, "web-1", "1", token=secrets[Role.READER]).join(wait_seconds=30, in_background=False)
        web = member(server.url, "web-1", "1", token=secrets[Role.SERVICE])
        web.join(in_background=False)
        web.leave()
        with pytest.raises(Forbidden):
            HttpTransport(server.url, token=secrets[Role.SERVICE]).request("POST", UPGRADE, {"release": "2"})
    finally:
        server.stop()


def test_a_server_that_stops_sends_those_who_wait_away(world: World) -> None:
    world.begun()
    application = world.application()
    server = Server(application)
    server.start()
    answers: list[str] = []

    def wait() -> None:
        try:
            ask_readiness(
                HttpTransport(server.url),
                schema="inventory", fleet="inventory-api", release="2", wait_seconds=300,
            )  # fmt: skip
        except NotYet as error:
            answers.append(error.code)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while application.state.watch.waiters == 0:
        HttpTransport(server.url).request("GET", "/healthz")
    application.state.watch.close()
    waiting.join()
    server.stop()
    assert answers == ["phase_not_reached"]
