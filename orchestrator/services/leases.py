"""Leases: instances register, renew, ack, leave; operators evict and report what holds no lease."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from orchestrator.domain import planner
from orchestrator.domain.admission import Admission, Stance, Standing, Verdict, admit, lives, may_join, stance
from orchestrator.domain.errors import Conflict, Invalid, Never, NotFound, NotYet, OrchestratorError
from orchestrator.domain.fleets import Instance, InstanceState, Report, Sessions, hashed
from orchestrator.domain.ladder import InStepBy, Side
from orchestrator.domain.losses import Follows, is_forgotten, loss_heard, says_more
from orchestrator.domain.telling import Hearer
from orchestrator.domain.upgrades import MOST_REVISION, Status
from orchestrator.ports import ManagedSchema, Transaction
from orchestrator.services import importing
from orchestrator.services.context import Context, check_fleet, event, standing_of
from orchestrator.services.recording import record
from orchestrator.services.signing import disbelieve, is_believed, signature_of
from orchestrator.services.telling import Telling
from orchestrator.services.together import run_together
from orchestrator.services.vouching import check_reason

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")  # no option of a command, no `..` in a path
_NONCE = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_MAYBE_NOT_IMPORTED = frozenset({"instance_unknown", "epoch_foreign"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lease:
    """What an instance is answered: its lease and what it follows.

    `epoch` is the secret under which it is held; `is_new` is false for a repeated registration. `signature` is that of
    the stance, None at rest.
    """

    instance: Instance
    stance: Stance
    ttl_seconds: float
    renew_seconds: float
    epoch: str = ""
    is_new: bool = False
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class ReportOutcome:
    """A stored report. `violation` says why the reported release may not run now, or is None."""

    report: Report
    violation: str | None


class Leases:
    """Every method is one transaction; a refusal changes nothing."""

    def __init__(self, context: Context, new_salt: Callable[[], str] = lambda: secrets.token_hex(16)) -> None:
        self._context = context
        self._telling = Telling(context)
        self._new_salt = new_salt

    def join(
        self,
        schema: str,
        fleet: str,
        *,
        instance_id: str,
        nonce: str,
        release: str,
        host: str | None = None,
        sessions: Sessions | None = None,
    ) -> Lease:
        """Register one incarnation of a process. Repeatable with the same id and nonce.

        Writes the schema's row first, so that a join and a fence come one after the other, and is refused unless the
        release supports both the phase and the fence. Raises `NotYet`, `Never`, `Conflict`, `NotFound`, `Invalid`.
        """
        return self._context.store.run(
            self.joining(
                schema, fleet, instance_id=instance_id, nonce=nonce, release=release, host=host, sessions=sessions
            )
        )

    def joining(
        self,
        schema: str,
        fleet: str,
        *,
        instance_id: str,
        nonce: str,
        release: str,
        host: str | None = None,
        sessions: Sessions | None = None,
    ) -> Callable[[Transaction], Lease]:
        """What `join` does in its transaction, for whoever has several joins in one. Raises what needs none."""
        managed = self._context.managed(schema)
        check_fleet(managed, fleet)
        _check_name(_ID, "instance id", instance_id, "Use 1 to 64 letters, digits and . _ : - after a letter or digit.")
        _check_name(_NONCE, "nonce", nonce, "Use 1 to 64 letters, digits and . _ : -")

        def work(tx: Transaction) -> Lease:
            state = tx.lock_schema(schema)
            known = tx.instance(schema, fleet, instance_id)
            standing = standing_of(tx, managed, state)
            if known is not None:
                return self._join_again(tx, standing, known, nonce, release)
            if not may_join(standing, release):
                raise _refused(admit(standing, release))
            stand = self._telling.stance(tx, standing, Hearer(fleet, release))
            salt = self._new_salt()
            epoch = _epoch(salt, nonce)
            instance = Instance(
                schema=schema, fleet=fleet, id=instance_id, tag=hashed(epoch), nonce=hashed(nonce),
                salt=salt, release=release, host=host, state=InstanceState.ALIVE, acked=stand.publication,
                told=stand.publication,
                joined_at=tx.now, renewed_at=tx.now, expires_at=tx.now + self._context.lease_terms.ttl_seconds,
                sessions=sessions,
            )  # fmt: skip
            tx.add_instance(instance)
            tx.note_fleet(schema, fleet)
            return self._lease(tx, instance, stand, epoch=epoch, is_new=True)

        return work

    def run_together(self, joins: Sequence[Callable[[Transaction], Lease]]) -> Sequence[Lease | OrchestratorError]:
        """Several joins in one commit; one that is refused changes nothing for the others. Raises `Unavailable`."""
        return run_together(self._context.store, joins)

    def _join_again(self, tx: Transaction, standing: Standing, known: Instance, nonce: str, release: str) -> Lease:
        epoch = _epoch(known.salt, nonce)
        is_same = known.release == release and known.nonce == hashed(nonce)
        if not is_same or not secrets.compare_digest(known.tag, hashed(epoch)):
            raise Conflict(
                "instance_id_taken",
                f"instance id {known.id!r} of fleet {known.fleet} is another process's",
                remedy="Register under an id that is new for every start of a process.",
            )
        _check_alive(known)
        hearer = Hearer(known.fleet, release, max(known.told, known.acked))
        return self._lease(tx, known, self._telling.stance(tx, standing, hearer, known.id), epoch=epoch)

    def renew(
        self,
        schema: str,
        fleet: str,
        instance_id: str,
        *,
        epoch: str,
        ack: int | None,
        follows: Follows | None = None,
    ) -> Lease:
        """Extend the lease if its holder still owns it, and record its ack. Repeatable.

        `follows` is what the holder was told last: where the state has forgotten that, its last commits are lost.
        A lease that ran out but was not evicted is extended: nothing has acted on its absence. Raises `NotFound`,
        `Never` (evicted, left), `Conflict` (foreign epoch; or, code `told_unproven`, it was never told what it says,
        which is put on record and changes nothing else), `Invalid` (an ack of something never published).
        """
        managed = self._context.managed(schema)

        def work(tx: Transaction) -> Lease | Conflict:
            instance = _owned(tx, schema, fleet, instance_id, epoch)
            state = tx.schema(schema)
            assert state is not None
            standing = standing_of(tx, managed, state)
            if follows is not None and says_more(standing, follows):
                if not is_believed(tx, standing, follows):
                    return disbelieve(tx, instance, follows)
                self._remember(tx, managed, instance, follows)
                standing = standing_of(tx, managed, state)
            lease = self.extended(tx, standing, instance, epoch=epoch, ack=ack, follows=follows)
            if not tx.save_instance(lease.instance):
                raise _ended(instance)
            return lease

        def work_imported(tx: Transaction) -> Lease | Conflict:
            lease = work(tx)
            if isinstance(lease, Conflict):
                return lease
            state = tx.schema(schema)
            assert state is not None
            standing = standing_of(tx, managed, state)
            if not lives(standing, lease.instance.release) and not is_forgotten(standing, follows):
                raise _forgotten(lease.instance)
            return lease

        outcome = self._held(managed, fleet, instance_id, epoch, work, work_imported)
        if isinstance(outcome, Conflict):
            raise outcome
        return outcome

    def extended(
        self,
        tx: Transaction,
        standing: Standing,
        instance: Instance,
        *,
        epoch: str,
        ack: int | None,
        follows: Follows | None,
    ) -> Lease:
        """The lease as a renewal leaves it, with what its holder is told. Stores nothing. Raises `Invalid`.

        `follows` is believed, or says no more than the state knows. Whoever knows of an upgrade that the state has
        forgotten keeps its lease, and what it follows: it is told an earlier publication, and nobody steps back to one.
        """
        published = stance(standing, instance.release).publication
        told = max(instance.told, instance.acked)
        if ack is not None and ack <= (published if follows is None else max(published, follows.publication)):
            told = max(told, ack)  # what nobody published, nobody was told
        stand = self._telling.stance(tx, standing, Hearer(instance.fleet, instance.release, told), instance.id)
        if ack is not None and ack > published and (ack > MOST_REVISION or not is_forgotten(standing, follows)):
            raise Invalid("ack_unpublished", f"publication {ack} was never published", remedy="Ack what you were told.")
        renewed = replace(
            instance,
            acked=ack if ack is not None and ack in (published, stand.publication) else instance.acked,
            told=max(told, stand.publication),
            renewed_at=tx.now,
            expires_at=tx.now + self._context.lease_terms.ttl_seconds,
        )
        return self._lease(tx, renewed, stand, epoch=epoch)

    def _remember(self, tx: Transaction, managed: ManagedSchema, instance: Instance, follows: Follows) -> None:
        """Freeze the upgrade if the state has forgotten what this instance was told, which is believed."""
        upgrade = tx.upgrade(follows.upgrade_id)
        if upgrade is None or loss_heard(upgrade, follows, "") is None or upgrade.schema != managed.name:
            return
        state = tx.lock_schema(managed.name)
        upgrade = tx.upgrade(follows.upgrade_id)
        assert upgrade is not None
        loss = loss_heard(upgrade, follows, f"{instance.fleet} {instance.label}")
        if loss is not None and upgrade.status is Status.RUNNING:
            freeze = planner.Freeze(loss)
            record(tx, state, upgrade, freeze, leader_epoch=0, databases=(), terms=self._context.lease_terms)

    def leave(self, schema: str, fleet: str, instance_id: str, *, epoch: str) -> None:
        """End the lease: the holder has drained and closed its pools. Repeatable."""
        managed = self._context.managed(schema)

        def work(tx: Transaction) -> None:
            known = tx.instance(schema, fleet, instance_id)
            if known is not None and known.tag == hashed(epoch) and known.state is InstanceState.LEFT:
                return
            instance = _owned(tx, schema, fleet, instance_id, epoch)
            if not tx.save_instance(replace(instance, state=InstanceState.LEFT, ended_at=tx.now, end_reason="left")):
                raise _ended(instance)

        self._held(managed, fleet, instance_id, epoch, work)

    def evict(
        self, schema: str, fleet: str, instance_id: str, *, actor: str, reason: str, attested_dead: bool
    ) -> Instance:
        """Count an instance out. Works in every phase; audited; repeatable.

        With somebody's word that its process is gone it is evicted at once. Without, it gets no renewal from now on,
        and `Evicting` proves the rest, which needs an instance whose sessions can be told. Raises `Invalid` without a
        reason, and where only the word would do: expiry alone proves nothing. Somebody's word holds for every process
        under that id, also for one that joined in a database after this one had left.
        """
        self._context.managed(schema)
        check_reason(reason)

        def work(tx: Transaction) -> Instance:
            tx.lock_schema(schema)
            instance = _known(tx, schema, fleet, instance_id)
            places = _other_processes(tx, instance)
            if not instance.is_possibly_alive and not (attested_dead and places):
                return instance
            if attested_dead:
                sentence = f"{fleet} {instance.label} was evicted; {actor} attests that it is dead"
                if places:
                    sentence += f", and so is another process under its id in {', '.join(places)}"
                ended = replace(
                    instance, state=InstanceState.EVICTED, ended_at=tx.now, ended_by=actor, end_reason=reason,
                    unproven=None, remedy=None, is_refused=False,
                )  # fmt: skip
            elif instance.state is InstanceState.EVICTING:
                return instance
            else:
                _check_tagged(instance)
                sentence = f"{fleet} {instance.label} gets no renewal any more; its sessions are going to be ended"
                ended = replace(
                    instance, state=InstanceState.EVICTING, ended_by=actor, end_reason=reason, is_refused=False
                )  # fmt: skip
            if not tx.save_instance(ended, expected=instance.state):  # it left just now
                return _known(tx, schema, fleet, instance_id)
            event(
                tx, "instance.evict", sentence,
                actor=actor, schema=schema, subject=f"{fleet}/{instance_id}", reason=reason,
            )  # fmt: skip
            return ended

        return self._context.store.run(work)

    def report(
        self, schema: str, fleet: str, *, release: str, instances: int, actor: str, reason: str | None
    ) -> ReportOutcome:
        """Record "fleet F runs release R everywhere" for what holds no lease; it replaces the fleet's last report.

        A report is a fact, so it is stored even when the reported release may not run now; it then blocks every
        further move, and the outcome says so. Where it may have written rows out of step, what was proven of them
        counts no more, also when another report takes its place. Raises `Invalid` where the release must hold leases.
        """
        managed = self._context.managed(schema)
        check_fleet(managed, fleet)
        managed.releases[release]
        if instances < 0:
            raise Invalid("instances_negative", "the number of instances cannot be negative", remedy="Give 0 or more.")

        def work(tx: Transaction) -> ReportOutcome:
            state = tx.lock_schema(schema)
            standing = standing_of(tx, managed, state)
            upgrade = standing.upgrade
            if (
                instances
                and upgrade is not None
                and upgrade.side_of(release) is Side.NEW
                and upgrade.profile.in_step_by is InStepBy.CLIENT
            ):
                raise Invalid(
                    "lease_required",
                    f"release {release} switches its behaviour with the phase, so its instances must hold leases",
                    remedy="Let them register with the client library or over HTTP.",
                )
            report = Report(schema, fleet, release, instances, actor, reason, tx.now)
            tx.save_report(report)
            tx.note_fleet(schema, fleet)
            if instances and upgrade is not None and upgrade.is_harmed_by(release):
                doubt = f"fleet {fleet} was reported to run {release} in {upgrade.phase.word}"
                tx.save_upgrade(upgrade.with_doubt(doubt), expected_revision=upgrade.revision)
            admission = admit(standing, release)
            violation = admission.sentence if instances and admission.verdict is not Verdict.READY else None
            event(
                tx, "fleet.report", f"{fleet} is reported to run {release} everywhere ({instances} instances)",
                actor=actor, schema=schema, subject=fleet, reason=reason,
            )  # fmt: skip
            return ReportOutcome(report, violation)

        return self._context.store.run(work)

    def list(self, schema: str, fleet: str | None = None, *, all_states: bool = False) -> tuple[Instance, ...]:
        """The possibly-alive instances, or with `all_states` also those that left or were evicted."""
        self._context.managed(schema)
        if all_states:
            return self._context.store.read(lambda tx: tx.instances(schema, fleet=fleet))
        return self._context.store.read(lambda tx: tx.possibly_alive(schema, fleet=fleet))

    def _lease(
        self, tx: Transaction, instance: Instance, stand: Stance, *, epoch: str = "", is_new: bool = False
    ) -> Lease:
        terms = self._context.lease_terms
        signature = signature_of(tx, instance.schema, stand)
        return Lease(instance, stand, terms.ttl_seconds, terms.renew_seconds, epoch, is_new, signature)

    def _held(
        self,
        managed: ManagedSchema,
        fleet: str,
        instance_id: str,
        epoch: str,
        work: Callable[[Transaction], T],
        work_imported: Callable[[Transaction], T] | None = None,
    ) -> T:
        """Do what the holder of a lease asks. One that it got without a daemon is imported first, not refused.

        Then `work_imported` is done, in the same transaction, where it is something else.
        Raises `Unavailable` (code `instance_not_imported`) while nobody can tell whether it got one.
        """
        try:
            return self._context.store.run(work)
        except (NotFound, Conflict) as error:
            if error.code not in _MAYBE_NOT_IMPORTED:
                raise
            written = importing.find(self._context, managed, fleet, instance_id, tag=hashed(epoch))
            if not written:
                raise
        ttl_seconds = self._context.lease_terms.ttl_seconds

        def imported(tx: Transaction) -> T:
            importing.take_over(tx, managed, written, ttl_seconds=ttl_seconds)
            return (work_imported or work)(tx)

        return self._context.store.run(imported)


def _epoch(salt: str, nonce: str) -> str:
    """The secret of a lease: a repeated registration is told the same one, though it is kept nowhere."""
    return hashed(f"{salt}:{nonce}")[:32]


def _check_name(pattern: re.Pattern[str], what: str, value: str, remedy: str) -> None:
    if not pattern.fullmatch(value):
        raise Invalid("name_invalid", f"the {what} {value!r} is not usable", remedy=remedy)


def _refused(admission: Admission) -> NotYet | Never:
    kind = NotYet if admission.verdict is Verdict.NOT_YET else Never
    code = "not_yet_admitted" if admission.code == "fenced" else admission.code
    return kind(code, admission.sentence, remedy=admission.remedy)


def _known(tx: Transaction, schema: str, fleet: str, instance_id: str) -> Instance:
    instance = tx.instance(schema, fleet, instance_id)
    if instance is None:
        raise NotFound(
            "instance_unknown",
            f"fleet {fleet} of {schema} has no instance {instance_id!r}",
            remedy=f"orchestrator instance list {schema}",
        )
    return instance


def _other_processes(tx: Transaction, instance: Instance) -> tuple[str, ...]:
    """The databases in which another process than that one has written itself down under its id."""
    return tuple(
        reading.database
        for reading in tx.readings(instance.schema)
        for each in reading.facts.registrations
        if (each.fleet, each.id, each.state) == (instance.fleet, instance.id, InstanceState.ALIVE)
        and each.tag != instance.tag
    )


def _owned(tx: Transaction, schema: str, fleet: str, instance_id: str, epoch: str) -> Instance:
    instance = _known(tx, schema, fleet, instance_id)
    if not secrets.compare_digest(instance.tag, hashed(epoch)):
        raise Conflict(
            "epoch_foreign",
            f"the lease of {instance_id} is not held under this epoch",
            remedy="Stop using the database and register anew.",
        )
    _check_alive(instance)
    return instance


def _check_tagged(instance: Instance) -> None:
    """Raise `Invalid` where nobody can tell which sessions are its: then only a word proves anything."""
    if instance.sessions is not Sessions.TAGGED:
        raise Invalid(
            "attestation_required",
            f"which sessions are those of {instance.fleet} {instance.label} cannot be told, so it is only counted out "
            "when somebody vouches that its process is gone",
            remedy="Make sure that it is stopped, then repeat with --attest-dead (attest_dead: true). With the hook "
            "orchestrator.client.sqlalchemy in the service its sessions are ended instead.",
        )


def _check_alive(instance: Instance) -> None:
    if instance.state is not InstanceState.ALIVE:
        raise _ended(instance)


def _forgotten(instance: Instance) -> NotFound:
    return NotFound(
        "instance_unknown",
        f"the state has forgotten instance {instance.id} of fleet {instance.fleet}, and its release {instance.release} "
        "cannot live any more where the schema is now",
        remedy="Stop using the database, and start the release that the schema is at.",
    )


def _ended(instance: Instance) -> Never:
    return Never(
        f"instance_{instance.state.value}" if not instance.is_possibly_alive else "instance_evicted",
        f"instance {instance.id} of fleet {instance.fleet} has no lease any more",
        remedy="Stop using the database and register anew.",
    )
