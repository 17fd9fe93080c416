"""A whole orchestrator without databases: real services over the in-memory store, and the API in front of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette

from orchestrator.api.application import ApiServices, ApiSettings, create_application
from orchestrator.api.auth import Role, Tokens, new_token
from orchestrator.api.watch import Watch
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Policy
from orchestrator.ports import Store
from orchestrator.services.advancing import Advancing
from orchestrator.services.context import Context
from orchestrator.services.daemons import Daemons
from orchestrator.services.data_migrations import DataMigrations
from orchestrator.services.evicting import Evicting
from orchestrator.services.fleets import Fleets
from orchestrator.services.leadership import Elections
from orchestrator.services.leases import Leases
from orchestrator.services.renewing import Renewing
from orchestrator.services.rows_control import RowsControl
from orchestrator.services.status import StatusBoard
from orchestrator.services.upgrades import Upgrades
from orchestrator.store.memory import MemoryStore
from tests.fakes import FLEETS, Clock, FakeSchema
from tests.identities import identity

SCHEMA = "/v1/schemas/inventory"
UPGRADE = f"{SCHEMA}/upgrade"
INSTANCES = f"{SCHEMA}/fleets/inventory-api/instances"


class BreakableStore(MemoryStore):
    """The in-memory store, which stops answering when a test says so."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.is_broken = False
        self.refused = threading.Event()

    def _check(self) -> None:
        if self.is_broken:
            self.refused.set()
            raise Unavailable("state_database_unavailable", "the state database does not answer", remedy="Start it.")

    def run(self, work: Any) -> Any:
        self._check()
        return super().run(work)

    def read(self, work: Any) -> Any:
        self._check()
        return super().read(work)


@dataclass
class World:
    """Everything that a test of the API touches."""

    clock: Clock = field(default_factory=Clock)
    managed: FakeSchema = field(default_factory=FakeSchema)
    policy: Policy = field(default_factory=Policy)
    nudged: list[str] = field(default_factory=list)
    is_healthy: bool = True
    knows: int = 1

    def __post_init__(self) -> None:
        self.store = BreakableStore(self.clock)
        state = self.state()
        self.context = Context(state, {"inventory": self.managed}, {"inventory": self.policy})
        self.context.register_schemas()
        self.upgrades = Upgrades(self.context)
        self.leases = Leases(self.context)
        self.renewing = Renewing(self.context, self.leases)
        self.fleets = Fleets(self.context)
        self.board = StatusBoard(self.context)
        self.data_migrations = DataMigrations(self.context)
        self._advancing = Advancing(self.context)
        self._evicting = Evicting(self.context)
        self.daemons = Daemons(state, identity("this daemon", knows=self.knows), ttl_seconds=10)
        self.daemons.join()
        epoch = Elections(state, "this daemon", ttl_seconds=10).campaign()
        assert epoch is not None
        self._epoch = epoch

    def state(self) -> Store:
        """Where the state is kept."""
        return self.store

    # -- what a daemon does ------------------------------------------------------------------------------------------

    def cycle(self) -> None:
        """Make every move that can be made."""
        self._advancing.advance("inventory", leader_epoch=self._epoch)

    def evict(self) -> None:
        """Go on with every eviction that nobody attested."""
        self._evicting.run("inventory", leader_epoch=self._epoch)

    def move_rows(self) -> None:
        """Move and verify all rows in all databases."""
        for database in self.managed.databases:
            self.data_migrations.run("inventory", database, may_go_on=lambda: True)

    # -- how things may stand ----------------------------------------------------------------------------------------

    def at_rest(self) -> World:
        """Release 1 is installed; both fleets are reported to run nothing."""
        self.upgrades.initialise("inventory", "1", actor="test")
        for fleet in FLEETS:
            self.leases.report("inventory", fleet, release="1", instances=0, actor="test", reason=None)
        self.cycle()
        return self

    def begun(self) -> World:
        """The upgrade to release 2 is begun, and nothing was done yet."""
        self.at_rest()
        self.upgrades.begin("inventory", "2", actor="test")
        return self

    def expanded(self) -> World:
        """The upgrade rests at expanded, because a process of release 1 runs."""
        self.at_rest()
        epoch = self.join("old-1", release="1")
        begun = self.upgrades.begin("inventory", "2", actor="test")
        self.leases.renew("inventory", "inventory-api", "old-1", epoch=epoch, ack=begun.publication)
        self.cycle()
        assert self.phase() is Phase.EXPANDED, self.phase()
        return self

    def waiting_for_approval(self) -> World:
        """Every row is moved; entering contracted needs an approval."""
        self.begun()
        self.cycle()
        self.move_rows()
        self.cycle()
        assert self.phase() is Phase.SEALED, self.phase()
        return self

    def join(self, name: str, *, release: str, fleet: str = "inventory-api") -> str:
        """A process joins. Returns its epoch."""
        lease = self.leases.join("inventory", fleet, instance_id=name, nonce=f"nonce-{name}", release=release)
        return lease.epoch

    def phase(self) -> Phase:
        """The phase of the newest upgrade."""
        newest = self.board.schema("inventory").upgrade
        assert newest is not None
        return newest.upgrade.phase

    # -- the API -----------------------------------------------------------------------------------------------------

    def application(
        self,
        tokens: Tokens | None = None,
        *,
        most_waiters: int = 100,
        turn_wait_seconds: float = 0.2,
        fresh_seconds: float = 0,
    ) -> Starlette:
        """The API over these services."""
        services = ApiServices(
            upgrades=self.upgrades,
            leases=self.leases,
            renewing=self.renewing,
            fleets=self.fleets,
            board=self.board,
            data_migrations=self.data_migrations,
            rows_control=RowsControl(self.context),
            daemons=self.daemons,
            is_healthy=lambda: self.is_healthy,
            nudge=self.nudged.append,
        )
        settings = ApiSettings(
            tokens=tokens,
            fresh_seconds=fresh_seconds,
            gather_seconds=0,
            watch_interval_seconds=0.001,
            most_waiters=most_waiters,
            turn_wait_seconds=turn_wait_seconds,
        )
        return create_application(services, settings)

    def client(self, tokens: Tokens | None = None, *, token: str | None = None, **settings: Any) -> Client:
        """Asks the API as a program on this machine would. `settings` are those of `application`."""
        return Client(self.application(tokens, **settings), token)


class Client:
    """Asks an application in this process; each request has an event loop of its own."""

    def __init__(self, application: Starlette, token: str | None = None) -> None:
        self._application = application
        self._headers = {"Authorization": f"Bearer {token}"} if token is not None else {}

    @property
    def watch(self) -> Watch:
        """What the requests that wait are waiting on."""
        watch = self._application.state.watch
        assert isinstance(watch, Watch)
        return watch

    def connect(self) -> httpx.AsyncClient:
        """For tests that ask several things at a time, in one loop."""
        transport = httpx.ASGITransport(self._application)
        return httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=self._headers, trust_env=False
        )

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request, as httpx takes it."""

        async def ask() -> httpx.Response:
            async with self.connect() as connection:
                return await connection.request(method, path, **more)

        return asyncio.run(ask())

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, body: object = None, **more: Any) -> httpx.Response:
        """With `body` as JSON, an empty object if there is none."""
        return self.request("POST", path, json={} if body is None else body, **more)

    def put(self, path: str, body: object, **more: Any) -> httpx.Response:
        return self.request("PUT", path, json=body, **more)

    def delete(self, path: str, **more: Any) -> httpx.Response:
        return self.request("DELETE", path, **more)


def tokens_for_all_roles() -> tuple[Tokens, Mapping[Role, str]]:
    """A token for each role, named after it."""
    made = {role: new_token(f"a-{role.word}", role) for role in Role}
    tokens = Tokens.parse("\n".join(token.line for token in made.values()), place="tokens")
    return tokens, {role: token.secret for role, token in made.items()}


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is that refusal, told as every refusal is. Returns its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code, body
    assert body["status"] == status
    assert body["type"] and body["title"] and body["detail"] and body["remedy"]
    assert "Traceback" not in answer.text
    return body
