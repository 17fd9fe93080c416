"""Where an instance registers, renews and signs off: with a daemon, or in a managed database when none answers."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar
from urllib.parse import quote

from orchestrator.client.errors import FINAL_CODES, BadAnswer, ClientError, Invalid, Refused, Unavailable, Unreachable
from orchestrator.client.standing import Grant, Standing
from orchestrator.client.transport import Response, Transport

T = TypeVar("T")

CREATED = 201

LONGEST_COPY_SECONDS = 10.0
"""How long a copy is waited for where no lease is running out meanwhile."""

_UNUSABLE = re.compile(r"[^A-Za-z0-9._:-]")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who registers: one life of one process; `id` is empty before it begins, where it is to be made then.

    `nonce` lets a registration be repeated whose answer was lost; `epoch` is the secret of the lease that it gives
    itself where no daemon gives it one. `sessions` "tagged" promises that each database session carries the tag of the
    lease.
    """

    schema: str
    fleet: str
    id: str
    release: str
    host: str
    sessions: str | None = None
    nonce: str = field(default="", repr=False)
    epoch: str = field(default="", repr=False)

    def born(self) -> Identity:
        """The same at the beginning of its life, with secrets of its own."""
        name = self.id or f"{_usable(self.host)}.{os.getpid()}.{secrets.token_hex(6)}"
        return replace(self, id=name, nonce=secrets.token_hex(16), epoch=secrets.token_hex(16))


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an instance shows a managed database: the tag of its lease, and which publication it has acknowledged."""

    identity: Identity
    tag: str
    acked: int


def hashed(secret: str) -> str:
    """How a secret is written where others may read it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _usable(host: str) -> str:
    return _UNUSABLE.sub("-", host).lstrip("._:-")[:32] or "process"


@dataclass(frozen=True, slots=True)
class Admittance:
    """A granted registration: the lease's secret, and whether this was the first request that registered it."""

    grant: Grant
    epoch: str
    is_first: bool


class Copy(Protocol):
    """What a managed database knows of the upgrade, for when no daemon answers.

    Every method raises `Refused` when that database says no, and `Unreachable` when it says nothing.
    """

    def join(self, identity: Identity) -> Admittance:
        """Register there, if its copy admits this release now. Repeatable."""
        ...

    def renew(self, identity: Identity, epoch: str, ack: int | None, *, has_lapsed: bool) -> Grant:
        """Renew there; unless the instance was evicted. A lease that has lapsed comes back as if it joined."""
        ...

    def leave(self, identity: Identity, epoch: str) -> None:
        """Sign off there. Repeatable."""
        ...

    def admits(self, schema: str, release: str) -> None:
        """Return if that release may start now. Raises `NotYet`."""
        ...


class Registry:
    """Asks a daemon, and the copy only where none gives an answer: a refusal is an answer.

    Raises what the daemon said, or as if nobody had answered where the copy does not help; but what ends a lease for
    good is raised also where only the copy says it.
    """

    def __init__(self, transport: Transport, copy: Copy | None = None) -> None:
        self._transport = transport
        self._copy = copy

    def join(self, identity: Identity, timeout: float) -> Admittance:
        """Register. Repeatable with the same identity. `timeout` is for the daemon."""
        body = {"id": identity.id, "nonce": identity.nonce, "release": identity.release, "host": identity.host}
        if identity.sessions is not None:
            body["sessions"] = identity.sessions

        def ask() -> Admittance:
            response = self._transport.request("POST", _instances(identity), body, timeout=timeout)
            grant = _granted(response)
            if grant.epoch is None:
                raise BadAnswer(
                    "answer_malformed",
                    "the daemon admitted this instance without an epoch",
                    remedy="Check that the address is that of an orchestrator.",
                )
            return Admittance(grant, grant.epoch, response.status == CREATED)

        return first_answer(ask, lambda copy: copy.join(identity), self._copy, LONGEST_COPY_SECONDS)

    def renew(
        self,
        identity: Identity,
        epoch: str,
        ack: int | None,
        follows: Standing,
        timeout: float,
        *,
        has_lapsed: bool = False,
    ) -> Grant:
        """Renew, and ack. `follows` lets a daemon notice that its database lost its last commits, by its signature.

        `has_lapsed`: the lease is past its deadline, so that somebody may have gone on without it.
        """
        body: dict[str, object] = {"ack": ack}
        if follows.upgrade is not None and follows.phase is not None:
            known = {"upgrade": follows.upgrade, "publication": follows.publication, "phase": follows.phase}
            signed = {} if follows.signature is None else {"signature": follows.signature}
            body["follows"] = known | signed
        headers = {"Lease-Epoch": epoch}

        def ask() -> Grant:
            try:
                return _granted(self._transport.request("PUT", _lease(identity), body, headers, timeout))
            except Invalid as error:
                if error.code != "body_invalid" or follows.signature is None or "follows" not in body:
                    raise
            body["follows"] = known  # a daemon of an earlier version takes no signature
            return _granted(self._transport.request("PUT", _lease(identity), body, headers, timeout))

        def ask_copy(copy: Copy) -> Grant:
            return copy.renew(identity, epoch, ack, has_lapsed=has_lapsed)

        return first_answer(ask, ask_copy, self._copy, timeout)

    def leave(self, identity: Identity, epoch: str, timeout: float) -> None:
        """Sign off. That it is gone already is what was wanted. `timeout` is for the daemon."""
        headers = {"Lease-Epoch": epoch}

        def ask() -> None:
            self._transport.request("DELETE", _lease(identity), None, headers, timeout)

        try:
            first_answer(ask, lambda copy: copy.leave(identity, epoch), self._copy, LONGEST_COPY_SECONDS)
        except Refused as error:
            if error.code not in FINAL_CODES:
                raise

    def close(self) -> None:
        """Close what is kept open."""
        self._transport.close()


def first_answer(ask: Callable[[], T], ask_copy: Callable[[Copy], T], copy: Copy | None, timeout: float) -> T:
    """The daemon's answer, or else the copy's, which is waited for as long as `timeout`."""
    try:
        return ask()
    except (Unreachable, Unavailable) as silence:
        if copy is None:
            raise
        try:
            return within(timeout, lambda: ask_copy(copy))
        except Refused as refusal:
            if refusal.code in FINAL_CODES:
                raise
            raise _no_help(silence, refusal) from refusal
        except Unreachable as unreachable:
            raise _no_help(silence, unreachable) from unreachable


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns or raises, or `Unreachable` when it takes longer.

    A driver that hangs holds up a thread that nobody joins, so that the process can end meanwhile.
    """
    answers: list[T | BaseException] = []

    def answer() -> None:
        try:
            answers.append(work())
        except BaseException as error:  # raised where the answer is taken
            answers.append(error)

    worker = threading.Thread(target=answer, name="orchestrator-copy", daemon=True)
    worker.start()
    worker.join(seconds)
    if not answers:
        raise Unreachable(
            "copy_unreachable",
            f"the managed database has not answered within {seconds:g} s",
            remedy="Is it overloaded, or cut off?",
            maybe_done=True,
        )
    (found,) = answers
    if isinstance(found, BaseException):
        raise found
    return found


def _granted(response: Response) -> Grant:
    """The grant in an answer. Raises `BadAnswer`, which names the place."""
    try:
        return Grant.read(response.json)
    except BadAnswer as error:
        where = f"{response.place}: " if response.place else ""
        raise BadAnswer(error.code, f"{where}{error.message}", remedy=error.remedy) from error


def _instances(identity: Identity) -> str:
    return f"/v1/schemas/{_quoted(identity.schema)}/fleets/{_quoted(identity.fleet)}/instances"


def _lease(identity: Identity) -> str:
    return f"{_instances(identity)}/{_quoted(identity.id)}/lease"


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _no_help(silence: Unreachable | Unavailable, why: ClientError) -> Unreachable:
    """Nobody granted anything, as far as we know. What the daemon was asked may have been done all the same."""
    maybe_done = silence.maybe_done if isinstance(silence, Unreachable) else True
    return Unreachable(
        silence.code,
        f"{silence.reason}; and the managed database does not help: {why.message}",
        remedy=f"{silence.remedy} {why.remedy}".strip(),
        maybe_done=maybe_done or (isinstance(why, Unreachable) and why.maybe_done),
    )
