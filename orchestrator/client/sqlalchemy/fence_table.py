"""The fence table: joining, renewing and leaving in a managed database, by the copy that it holds."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from orchestrator.client.errors import BadAnswer, NotYet, Unreachable
from orchestrator.client.registry import Admittance, Identity, hashed
from orchestrator.client.sqlalchemy import servers
from orchestrator.client.sqlalchemy.own_row import check_own, is_own, own_values
from orchestrator.client.sqlalchemy.tables import copies, instances
from orchestrator.client.sqlalchemy.wire import Wire, errors_of, on_new_connection
from orchestrator.client.standing import Grant

T = TypeVar("T")

ATTEMPTS = 3
RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Held:
    """The copy, and what it says of one release: None where that cannot live in the present phase."""

    ttl_seconds: float
    renew_seconds: float
    told: dict[str, Any] | None

    @property
    def joins(self) -> bool:
        """Whether the release may join now."""
        return self.told is not None and self.told.get("joins") is True

    def grant(self) -> Grant:
        """What an instance of the release is told."""
        terms = {"ttl_seconds": self.ttl_seconds, "renew_seconds": self.renew_seconds}
        return Grant.read({**terms, "standing": self.told})


class FenceTable:
    """Implements `orchestrator.client.registry.Copy` in one managed database. Threads may share it.

    Each question is one transaction on a connection of its own. A join writes the copy's row, so it comes before or
    after the fence of a daemon and never beside it, on a cluster too.
    """

    def __init__(self, engine: Engine | AsyncEngine, *, schema: str) -> None:
        """`engine` is the service's own, guarded or not; nothing of it is used but how it connects."""
        self._engine = engine
        self._dialect = engine.dialect
        self._schema = schema
        self._turn = threading.Lock()

    def join(self, identity: Identity) -> Admittance:
        """Register, if the copy admits this release now. Repeatable.

        Raises `NotYet`, `Unreachable`, or the refusal of an id that is another's, or ended.
        """
        tag = hashed(identity.epoch)

        def work(wire: Wire) -> Admittance:
            held = self._lock(wire, identity.release)
            if check_own(wire, identity, tag):
                if held.told is None:
                    raise self._not_admitted(identity.release)
                return Admittance(held.grant(), identity.epoch, is_first=False)
            if not held.joins:
                raise self._not_admitted(identity.release)
            grant = held.grant()
            values = own_values(identity, tag, acked=grant.standing.publication, now=servers.now(wire))
            values |= {"news": True, "expires_at": values["joined_at"] + grant.ttl_seconds}
            wire.run(insert(instances).values(values))
            return Admittance(grant, identity.epoch, is_first=True)

        return self._transact(work)

    def renew(self, identity: Identity, epoch: str, ack: int | None, *, has_lapsed: bool = False) -> Grant:
        """Renew, and ack. Raises `Never` (evicted, left), `Conflict` (a foreign epoch), `NotYet`, `Unreachable`.

        A lease that has lapsed comes back under the fence, as if its holder joined: commits may be lost, its row or
        what the state knew of it among them, and then nobody counts it any more.
        """
        tag = hashed(epoch)

        def work(wire: Wire) -> Grant:
            is_there = check_own(wire, identity, tag)
            is_plain = is_there and not has_lapsed
            held = self._read(wire, identity.release) if is_plain else self._lock(wire, identity.release)
            if held.told is None or (has_lapsed and not held.joins):
                raise self._not_admitted(identity.release)
            grant, now = held.grant(), servers.now(wire)
            changes: dict[str, Any] = {"renewed_at": now, "expires_at": now + grant.ttl_seconds, "news": True}
            if ack is not None:
                changes["acked"] = ack
            if not is_there:  # a daemon admitted it, and it has not been here yet
                wire.run(insert(instances).values(own_values(identity, tag, acked=0, now=now) | changes))
            elif wire.run(update(instances).where(*is_own(identity, tag, state="alive")).values(changes)) != 1:
                check_own(wire, identity, tag)  # it was evicted in this moment
                raise self._silent("its row was changed meanwhile", maybe_done=False)
            return grant

        return self._transact(work)

    def leave(self, identity: Identity, epoch: str) -> None:
        """Sign off. Repeatable. Raises `Unreachable`."""
        tag = hashed(epoch)

        def work(wire: Wire) -> None:
            now = servers.now(wire)
            left = {"state": "left", "ended_at": now, "renewed_at": now, "news": True}
            if wire.run(update(instances).where(*is_own(identity, tag, state="alive")).values(left)) == 1:
                return
            if not wire.rows(select(instances.c.state).where(*is_own(identity))):
                wire.run(insert(instances).values(own_values(identity, tag, acked=0, now=now) | left))

        self._transact(work)

    def admits(self, schema: str, release: str) -> None:
        """Return if that release may start now. Raises `NotYet`, `Unreachable`."""

        def work(wire: Wire) -> None:
            if schema != self._schema or not self._read(wire, release).joins:
                raise self._not_admitted(release)

        self._transact(work)

    def _lock(self, wire: Wire, release: str) -> _Held:
        """Write the copy's row, and read it as it is from now until the commit."""
        row = copies.c.schema_name == self._schema
        wire.run(update(copies).where(row).values(joins=copies.c.joins + 1))
        return self._read(wire, release)

    def _read(self, wire: Wire, release: str) -> _Held:
        """The copy. Raises `NotYet` where there is none, or it is that of another incarnation: it admits nobody."""
        wanted = (copies.c.incarnation, copies.c.admits, copies.c.ttl_seconds, copies.c.renew_seconds)
        found = wire.rows(select(*wanted).where(copies.c.schema_name == self._schema))
        if not found:
            raise self._no_copy("has none")
        incarnation, admits, ttl_seconds, renew_seconds = found[0]
        if incarnation != servers.incarnation(wire):
            raise self._no_copy("is another one than when its copy was written, so that admits nobody")
        try:
            told = json.loads(admits).get(release)
        except (ValueError, AttributeError) as error:
            raise BadAnswer(
                "answer_malformed",
                f"the copy of {self._schema} cannot be read",
                remedy="Is it of a later version? Update the client.",
            ) from error
        return _Held(ttl_seconds, renew_seconds, told)

    def _transact(self, work: Callable[[Wire], T]) -> T:
        """Do `work` in one transaction; again where the database could not do it beside another one."""
        if not self._turn.acquire(blocking=False):
            raise self._silent("an earlier question to it has no answer yet", maybe_done=False)
        try:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    return on_new_connection(self._engine, lambda wire: _in_transaction(wire, work))
                except errors_of(self._dialect) as error:
                    if attempt == ATTEMPTS:
                        raise self._silent(_first_line(error), maybe_done=True) from error
        finally:
            self._turn.release()
        raise AssertionError("the last attempt returns or raises")

    def _not_admitted(self, release: str) -> NotYet:
        return NotYet(
            "not_yet_admitted",
            f"the database of {self._schema} does not admit release {release} now",
            remedy="It does when an upgrade lets it in; a daemon says more. Start the release that the schema is at.",
            status=503,
            retry_after=RETRY_SECONDS,
        )

    def _no_copy(self, what: str) -> NotYet:
        return NotYet(
            "copy_unusable",
            f"the database of {self._schema} {what}",
            remedy="A daemon writes it, when it is initialised and when it runs again.",
            status=503,
            retry_after=RETRY_SECONDS,
        )

    def _silent(self, reason: str, *, maybe_done: bool) -> Unreachable:
        return Unreachable(
            "copy_unreachable",
            f"the database of {self._schema} gave no answer: {reason}",
            remedy="Is it up, and may this role write the tables orchestrator_instances and orchestrator_copies?",
            maybe_done=maybe_done,
        )


def _in_transaction(wire: Wire, work: Callable[[Wire], T]) -> T:
    servers.prepare(wire)
    try:
        done = work(wire)
    except BaseException:
        servers.end(wire, well=False)
        raise
    servers.end(wire, well=True)
    return done


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
