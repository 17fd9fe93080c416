"""One instance of a fleet: it joins, keeps its lease, knows its behaviour, acknowledges after draining, leaves."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import random
from types import TracebackType

from orchestrator.client.clock import Clock, Pause, boottime, pause
from orchestrator.client.errors import (
    ClientError,
    LeaseLost,
    NotAMember,
    NotDrained,
    NotYet,
    Refused,
    Unavailable,
    Unreachable,
)
from orchestrator.client.hooks import Hooks
from orchestrator.client.lease import Lease
from orchestrator.client.membership import RENEWING, Heard, Membership, State
from orchestrator.client.patience import Patience
from orchestrator.client.registry import Copy, Credentials, Identity, Registry, hashed
from orchestrator.client.standing import Standing
from orchestrator.client.transactions import Period, Transaction, innermost
from orchestrator.client.transport import HttpTransport, Transport

log = logging.getLogger("orchestrator.client")

LONGEST_PAUSE_SECONDS = 5.0
"""Waiting stops while a machine is suspended and the lease's clock does not: look at it this often at least."""

LONGEST_REQUEST_SECONDS = 10.0


class Member:
    """This process as an instance of a fleet. One object for the whole process; its threads and tasks share it.

    It is good for one life: after `leave`, after an eviction and in a forked child a new one has to join. Join after
    the fork, in each worker.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        schema: str,
        fleet: str,
        release: str,
        instance_id: str | None = None,
        host: str | None = None,
        token: str | None = None,
        copy: Copy | None = None,
        transport: Transport | None = None,
        clock: Clock = boottime,
        pause: Pause = pause,
        chance: Callable[[], float] = random,
    ) -> None:
        """`url` is the address of one daemon or of several; `release` is the one that this process was built for.

        `instance_id` must never have been used before; without it, `join` makes one from host, process and chance.
        `copy` is where it joins and renews when no daemon answers. The last four arguments are for tests.
        """
        host = host if host is not None else socket.gethostname()
        self._identity = Identity(schema, fleet, instance_id or "", release, host)
        self._pid: int | None = None  # of the process that joined
        self._counts_from: float | None = None  # the first request to join that may have been granted
        self._registry = Registry(transport if transport is not None else HttpTransport(url, token=token), copy)
        self._clock = clock
        self._pause = pause
        self._chance = chance
        self._log_fields = {"schema": schema, "fleet": fleet}
        self._book = Membership(fleet, chance)
        self._changed = threading.Condition()  # its lock covers the book; never held during a request or a hook
        self._one_request = threading.Lock()  # answers cannot overtake one another
        self._hooks = Hooks()
        self._failures: set[str] = set()  # codes of which was told since a renewal succeeded last

    # -- what a service calls ------------------------------------------------------------------------------------

    def join(self, *, wait_seconds: float = 60.0, in_background: bool = True) -> Standing:
        """Register this process and start renewing. Returns what is published. Repeatable.

        A daemon that says "not yet", or does not answer, is asked again for `wait_seconds`; then its last answer is
        raised. Every other refusal is raised at once; `Conflict` means that this release does not belong here now.
        With `in_background=False` no thread is started and the caller calls `renew`.
        """
        self._refuse_a_fork()
        with self._one_request:
            with self._changed:
                if self._book.state is State.JOINED and self._book.period is not None:
                    return self._book.period.standing
                if self._book.state is not State.NEW:
                    raise self._book.absence()
            if self._pid is None:
                self._pid = os.getpid()
                self._identity = self._identity.born()
                self._book.name = self._identity.id
            standing = self._register(wait_seconds)
        if not self.is_live:  # it waited so long that its lease may be over already
            self.renew()
        self._log(logging.INFO, "join", "joined the fleet", publication=standing.publication)
        if in_background:
            threading.Thread(target=self._keep_renewing, name="orchestrator-renewal", daemon=True).start()
        return standing

    def transaction(self) -> Transaction:
        """A unit of work: `with member.transaction() as behaviour:`, around the whole database transaction.

        Its behaviour does not change while it is open. Entering it raises `LeaseLost` when the lease is past its
        deadline or gone for good, and `NotAMember` before `join`, after `leave` and in a forked child. It never
        waits, so that both `with` and `async with` are right in a coroutine.
        """
        return Transaction(self)

    def check(self) -> None:
        """Raise `LeaseLost` unless the lease holds now. For long transactions, right before the commit."""
        self._refuse_a_fork()
        with self._changed:
            self._book.require_lease(self._clock(), is_inner=innermost(self) is not None)

    def leave(self, *, drain_seconds: float | None = None, wait_seconds: float = 10.0) -> None:
        """Begin nothing more, wait until every transaction has ended, run the `on_leave` hooks, and leave. Repeatable.

        Raises `NotDrained` when transactions are still open after `drain_seconds` (None: wait for them for ever), and
        `NotYet`, `Unreachable` or `Unavailable` when the daemon could not be told within `wait_seconds`. Then the
        member has not left, its lease is still renewed, and `leave` may be called again.
        """
        self._refuse_a_fork()
        if innermost(self) is not None:
            raise NotAMember(
                "leave_in_transaction",
                "leave() was called inside a transaction, which it would wait for",
                remedy="End the transaction first.",
            )
        with self._changed:
            if self._book.state in (State.NEW, State.LEFT):
                return
            if self._book.state is State.JOINED:
                self._book.state = State.LEAVING
        self._drain(drain_seconds)
        self._hooks.leaving()
        self._deregister(wait_seconds)

    def leave_at_exit(self, *, drain_seconds: float = 10.0, wait_seconds: float = 5.0) -> None:
        """Leave when the interpreter ends, if everything has drained by then; otherwise stay registered and say so."""
        atexit.register(self._leave_at_exit, drain_seconds, wait_seconds)

    def on_lost(self, hook: Callable[[LeaseLost], object]) -> None:
        """Call `hook` each time the lease is lost: drop the database connections and report not ready."""
        self._hooks.on_lost.append(hook)

    def on_change(self, hook: Callable[[Standing], object]) -> None:
        """Call `hook` when another standing is published, and when a lease that was lost holds again."""
        self._hooks.on_change.append(hook)

    def on_leave(self, hook: Callable[[], object]) -> None:
        """Call `hook` in `leave`, after the last transaction: close the database connections."""
        self._hooks.on_leave.append(hook)

    @property
    def instance_id(self) -> str | None:
        """The id of this life; None before `join` if none was given."""
        return self._identity.id or None

    @property
    def standing(self) -> Standing:
        """What is published, as far as this process has heard. For display; work asks `transaction`."""
        period = self._book.period
        if period is None:
            raise self._book.absence()
        return period.standing

    @property
    def is_live(self) -> bool:
        """True while transactions may begin: the answer for a readiness probe."""
        if self._pid != os.getpid():
            return False
        with self._changed:
            return self._book.is_live(self._clock())

    def __enter__(self) -> Member:
        self.join()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()

    # -- renewing ------------------------------------------------------------------------------------------------

    def renew(self) -> bool:
        """Renew once, now, and tell whether the lease was granted again. The background thread calls this.

        Acks what is published if everything that began earlier has ended. A failure is tried again later, and logged
        once until it is over; one that is final ends the membership. Neither raises: transactions do.
        """
        self._refuse_a_fork()
        heard: Heard | None = None
        lost: LeaseLost | None = None
        with self._one_request:
            with self._changed:
                lease, ack, period = self._book.lease, self._book.ack(), self._book.period
                if lease is None or period is None or self._book.state not in RENEWING:
                    return False
            sent_at = self._clock()
            timeout = min(lease.request_timeout(sent_at), LONGEST_REQUEST_SECONDS)
            try:
                grant = self._registry.renew(
                    self._identity, lease.epoch, ack, period.standing, timeout, has_lapsed=not lease.is_live(sent_at)
                )
            except ClientError as error:
                with self._changed:
                    lost = self._book.refused(error, self._clock())
                    self._changed.notify_all()
                if lost is None:
                    self._tell_failure(error, lease)
            else:
                with self._changed:
                    heard = self._book.renewed(grant, sent_at=sent_at, ack=ack, now=self._clock())
                if self._failures:
                    self._failures.clear()
                    self._log(logging.WARNING, "renew", "renewed again")  # seen wherever the failure was seen
        if lost is not None:
            self._announce(lost)
        self._announce_if_expired()
        if heard is not None:
            self._tell(heard)
        return heard is not None

    def _keep_renewing(self) -> None:
        while self._wait_for_turn():
            try:
                self.renew()
            except Exception:  # the edge of this thread: it must not end while the instance lives
                log.exception("a renewal failed in an unexpected way", extra={"action": "renew", **self._log_fields})
                with self._changed:
                    self._book.missed(self._clock())

    def _wait_for_turn(self) -> bool:
        """Wait until a renewal is due, and announce a lease that ends meanwhile. False: nothing is left to renew."""
        while True:
            self._announce_if_expired()
            with self._changed:
                lease = self._book.lease
                if lease is None or self._book.state not in RENEWING:
                    return False
                now = self._clock()
                if now >= lease.renew_at:
                    return True
                until = min(lease.renew_at, lease.deadline) if lease.is_live(now) else lease.renew_at
                self._pause(self._changed, min(until - now, LONGEST_PAUSE_SECONDS))

    def _announce_if_expired(self) -> None:
        with self._changed:
            lost = self._book.expired(self._clock())
        if lost is not None:
            self._announce(lost)

    def _announce(self, lost: LeaseLost) -> None:
        self._log(logging.WARNING, "lose", "the lease is lost: %(reason)s", code=lost.code, reason=lost.reason)
        self._hooks.lost(lost)

    def _tell_failure(self, error: ClientError, lease: Lease) -> None:
        """Once for each kind of failure until a renewal succeeds: they come every few seconds."""
        if error.code in self._failures:
            return
        self._failures.add(error.code)
        left = int(max(lease.deadline - self._clock(), 0.0))
        stops = f"unless one succeeds, transactions stop in {left} s"
        outlook = stops if left else "no transaction begins until one succeeds"
        self._log(
            logging.WARNING, "renew", "a renewal failed: %(reason)s (%(code)s); %(outlook)s",
            code=error.code, reason=error.reason, outlook=outlook, seconds_left=left,
        )  # fmt: skip

    def _tell(self, heard: Heard) -> None:
        behaviour, publication = str(heard.standing.behaviour), heard.standing.publication
        if heard.is_behind:
            self._log(logging.WARNING, "renew", "a daemon is behind what it published", publication=publication)
        if heard.is_revived:
            self._log(logging.WARNING, "revive", "the lease holds again", publication=publication)
        if heard.is_switched:
            self._log(logging.INFO, "switch", "the standing changed", publication=publication, behaviour=behaviour)
        self._hooks.heard(heard)

    # -- transactions --------------------------------------------------------------------------------------------

    def _begin(self, outer: Period | None) -> Period:
        self._refuse_a_fork()
        with self._changed:
            try:
                return self._book.begin(outer, self._clock())
            except LeaseLost:
                self._changed.notify_all()  # after a suspend the renewal thread may not know yet
                raise

    def _end(self, period: Period) -> None:
        if self._pid != os.getpid():  # a child that was forked inside a transaction: the parent counts its own
            return
        with self._changed:
            if self._book.end(period, self._clock()):
                self._changed.notify_all()

    # -- what the hook in the database asks ---------------------------------------------------------------------

    def promise_tags(self) -> None:
        """Each of its database sessions is going to carry the tag of its lease. Before `join`, which tells so."""
        with self._changed:
            if self._book.state is not State.NEW or self._pid is not None:
                raise NotAMember("already_joined", "this process has joined already", remedy="Guard the engine first.")
            self._identity = replace(self._identity, sessions="tagged")

    @property
    def credentials(self) -> Credentials:
        """What a new database session shows. Raises `LeaseLost` or `NotAMember` where there may be none."""
        self._refuse_a_fork()
        with self._changed:
            self._book.require_lease(self._clock(), is_inner=self._book.open.count > 0)
        shown = self.last_credentials
        assert shown is not None, "a lease that holds is there"
        return shown

    @property
    def last_credentials(self) -> Credentials | None:
        """What its sessions have shown, whether the lease holds or not; None before `join`."""
        lease = self._book.lease
        return None if lease is None else Credentials(self._identity, hashed(lease.epoch), self._book.acked)

    def check_transaction(self) -> int:
        """Raise `NotAMember` outside a transaction, and `LeaseLost` unless the lease holds now.

        Returns a number that is the same for transactions that began under the same standing.
        """
        self.check()
        found = innermost(self)
        if found is None:
            raise NotAMember(
                "outside_transaction",
                f"a statement was begun outside a transaction of instance {self._book.name}",
                remedy="Put `with member.transaction():` around it, its commit included.",
            )
        return found.period_number

    def give_up(self, refusal: Refused) -> LeaseLost:
        """A managed database refuses this instance for good. Returns the loss, which every transaction raises now."""
        with self._changed:
            lost = self._book.refused(refusal, self._clock())
            self._changed.notify_all()
        assert lost is not None, "only a final refusal ends a membership"
        self._announce(lost)
        return lost

    # -- joining and leaving -------------------------------------------------------------------------------------

    def _patience(self, wait_seconds: float) -> Patience:
        return Patience(wait_seconds, clock=self._clock, pause=self._pause, chance=self._chance)

    def _register(self, wait_seconds: float) -> Standing:
        """Ask until admitted. The same id and nonce every time, so that a lost answer registers nobody twice."""
        patience = self._patience(wait_seconds)
        while True:
            sent_at = self._clock()
            timeout = min(max(patience.remaining(), 1.0), LONGEST_REQUEST_SECONDS)
            try:
                admitted = self._registry.join(self._identity, timeout)
            except (NotYet, Unavailable, Unreachable) as error:
                if isinstance(error, NotYet):
                    self._counts_from = None
                elif self._counts_from is None and not (isinstance(error, Unreachable) and not error.maybe_done):
                    self._counts_from = sent_at
                self._log(logging.INFO, "join", "waiting to join: %(reason)s", code=error.code, reason=error.reason)
                patience.wait_after(error)
                continue
            with self._changed:
                since = sent_at if self._counts_from is None else self._counts_from
                self._book.admit(admitted.grant, epoch=admitted.epoch, sent_at=since, is_first=admitted.is_first)
            return admitted.grant.standing

    def _drain(self, drain_seconds: float | None) -> None:
        with self._changed:
            give_up_at = None if drain_seconds is None else self._clock() + drain_seconds
            while self._book.open.count:
                left = LONGEST_PAUSE_SECONDS if give_up_at is None else give_up_at - self._clock()
                if left <= 0:
                    raise NotDrained(
                        "not_drained",
                        f"{self._book.open.count} transactions of {self._book.name} were still open "
                        f"after {drain_seconds:g} s",
                        remedy="End them and call leave() again.",
                    )
                self._pause(self._changed, min(left, LONGEST_PAUSE_SECONDS))

    def _deregister(self, wait_seconds: float) -> None:
        patience = self._patience(wait_seconds)
        while True:
            try:
                with self._one_request:
                    lease = self._book.lease  # none is left to give up where the daemon ended it
                    if lease is not None and self._book.state is State.LEAVING:
                        timeout = min(max(patience.remaining(), 1.0), LONGEST_REQUEST_SECONDS)
                        self._registry.leave(self._identity, lease.epoch, timeout)
                    with self._changed:
                        self._book.state = State.LEFT  # before any renewal can follow
                        self._changed.notify_all()
                break
            except (NotYet, Unavailable, Unreachable) as error:
                patience.wait_after(error)
        self._registry.close()
        self._log(logging.INFO, "leave", "left the fleet")

    def _leave_at_exit(self, drain_seconds: float, wait_seconds: float) -> None:
        if self._pid != os.getpid():
            return
        try:
            self.leave(drain_seconds=drain_seconds, wait_seconds=wait_seconds)
        except ClientError as error:
            self._log(logging.WARNING, "leave", "the process ends without leaving", code=error.code)

    def _refuse_a_fork(self) -> None:
        """Before any lock is touched: in a child, a thread that does not exist there may hold it."""
        if self._pid is not None and self._pid != os.getpid():
            raise NotAMember(
                "forked",
                f"process {os.getpid()} was forked from {self._pid}, which holds the lease of {self._identity.id}; "
                "a lease cannot be shared",
                remedy="Make a Member and join in the child, after the fork.",
            )

    def _log(self, level: int, action: str, message: str, **fields: object) -> None:
        """`message` may show fields, such as %(code)s; all of them are on the record."""
        shown = {"action": action, "instance": self._book.name or None, **self._log_fields, **fields}
        log.log(level, message, shown, extra=shown)
