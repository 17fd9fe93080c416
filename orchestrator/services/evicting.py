"""Evicting: prove that an instance can write no more, by ending its sessions in every database.

An eviction that nobody attests goes in three steps, each of which may be repeated: the instance is refused every
renewal (`Leases.evict`); each managed database refuses its epoch, and its sessions there are ended; then, with that
proof, it is counted out. Whoever connects after its epoch was refused finds that out before it works; whoever connected
before is found and ended. An instance whose death somebody attested is refused too: the word may be wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from orchestrator.domain.errors import OrchestratorError, Unavailable
from orchestrator.domain.fleets import Instance, InstanceState
from orchestrator.ports import ManagedSchema, Transaction
from orchestrator.services.context import Context, event
from orchestrator.services.leadership import check_leader
from orchestrator.services.looking import PATIENCE_SECONDS, Looks
from orchestrator.services.recording import DAEMON


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of it in one database: for each instance None where its sessions are gone, or why that is not so."""

    wrong: tuple[OrchestratorError | None, ...] = ()
    silence: OrchestratorError | None = None

    def of(self, number: int) -> OrchestratorError | None:
        """The answer for the instance of that number."""
        return self.wrong[number] if self.silence is None else self.silence


class Evicting:
    """What the leading daemon does for instances that are being evicted. Safe to be killed at any point.

    `parallel` databases of a schema are worked on at the same time; one that does not answer within `patience_seconds`
    holds up nobody but the instances that are being evicted.
    """

    def __init__(self, context: Context, *, parallel: int = 8, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._context = context
        self._parallel = parallel
        self._patience_seconds = patience_seconds
        self._looks: dict[str, Looks[_Answer]] = {}

    def run(self, schema: str, *, leader_epoch: int) -> tuple[Instance, ...]:
        """Go on with every eviction as far as it goes now. Returns whom it counted out.

        Raises `Conflict` (code `not_leader`) when another daemon leads.
        """
        managed = self._context.managed(schema)
        evicting = self._context.store.read(lambda tx: tx.to_be_refused(schema))
        if not evicting:
            return ()
        fresh = Looks(self._parallel, _silent, patience_seconds=self._patience_seconds)
        looks = self._looks.setdefault(schema, fresh)
        question = tuple((each.fleet, each.id) for each in evicting)
        answers = looks.at(managed.databases, question, lambda database: _end_sessions(managed, database, evicting))

        def work(tx: Transaction) -> tuple[Instance, ...]:
            check_leader(tx, leader_epoch)
            return tuple(
                instance
                for number, instance in enumerate(evicting)
                if _record(tx, instance, managed.databases, [answer.of(number) for answer in answers])
            )

        return self._context.store.run(work)


def _end_sessions(managed: ManagedSchema, database: str, evicting: Sequence[Instance]) -> _Answer:
    """End the sessions of all of them in one database. One that is away is not asked once for each."""
    wrong: list[OrchestratorError | None] = []
    for instance in evicting:
        try:
            managed.end_sessions(database, instance)
            wrong.append(None)
        except Unavailable as error:
            return _Answer(silence=error)
        except OrchestratorError as error:
            wrong.append(error)
    return _Answer(tuple(wrong))


def _silent(database: str, seconds: float) -> _Answer:
    return _Answer(
        silence=Unavailable(
            "database_unreachable",
            f"database {database} has not answered within {seconds:g} s",
            remedy="Is its server stopped or overloaded, or cut off? It is asked again by itself.",
        )
    )


def _record(
    tx: Transaction, seen: Instance, databases: Sequence[str], answers: Sequence[OrchestratorError | None]
) -> bool:
    """Count the instance out where its sessions are gone everywhere; else keep why not. Returns whether it did."""
    instance = tx.instance(seen.schema, seen.fleet, seen.id)
    if instance is None:
        return False
    wrong = [answer for answer in answers if answer is not None]
    if instance.state is not InstanceState.EVICTING:  # somebody attests its death: nothing waits for this
        if not wrong:
            tx.save_instance(replace(instance, is_refused=True), expected=instance.state)
        return False
    if wrong:
        sentence = "; ".join(dict.fromkeys(error.message for error in wrong))
        if (instance.unproven, instance.remedy) != (sentence, wrong[0].remedy):
            kept = replace(instance, unproven=sentence, remedy=wrong[0].remedy)
            tx.save_instance(kept, expected=InstanceState.EVICTING)
        return False
    moment = datetime.fromtimestamp(tx.now, UTC).strftime("%Y-%m-%d %H:%M:%S")
    proof = f"its sessions in {', '.join(databases)} were ended, and none was left at {moment} UTC"
    evicted = replace(
        instance, state=InstanceState.EVICTED, ended_at=tx.now, proof=proof, unproven=None, remedy=None,
        is_refused=True,
    )  # fmt: skip
    if not tx.save_instance(evicted, expected=InstanceState.EVICTING):
        return False
    event(
        tx, "instance.evicted", f"{instance.fleet} {instance.label} was evicted: {proof}",
        actor=DAEMON, schema=instance.schema, subject=f"{instance.fleet}/{instance.id}", reason=instance.end_reason,
    )  # fmt: skip
    return True
