"""Renewing: the leases of many instances extended in one transaction, each as if it were alone."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.admission import Standing
from orchestrator.domain.errors import OrchestratorError, Unavailable
from orchestrator.domain.fleets import Instance, InstanceState, hashed
from orchestrator.domain.losses import Follows, says_more
from orchestrator.ports import ManagedSchema, Transaction
from orchestrator.services.context import Context, standing_of
from orchestrator.services.leases import Lease, Leases
from orchestrator.services.signing import is_signed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Renewal:
    """What the holder of one lease asks for."""

    schema: str
    fleet: str
    instance_id: str
    epoch: str
    ack: int | None = None
    follows: Follows | None = None


Outcome = Lease | OrchestratorError


class Renewing:
    """Whatever is not plain is done alone, by `Leases.renew`: so a refusal of one changes nothing for the others.

    It may take long, since databases are asked for whom the state does not know: nobody else is to wait for that.
    """

    def __init__(self, context: Context, leases: Leases) -> None:
        self._context = context
        self._leases = leases

    def together(self, renewals: Sequence[Renewal]) -> tuple[Lease | None, ...]:
        """The lease of each that is plain, in one transaction; None for whoever has to be done alone.

        None for all where they cannot be done together although the state database is there: what is wrong with one is
        not to end the leases of the others. Raises `Unavailable`.
        """
        extended: dict[int, Lease] = {}
        try:
            extended = self._context.store.run(lambda tx: self._together(tx, renewals))
        except Unavailable:
            raise
        except Exception:  # an edge: whatever it was, it is met again by the one that it belongs to
            log.warning("renewals are done one by one", exc_info=True, extra={"action": "renew.alone"})
        return tuple(extended.get(number) for number in range(len(renewals)))

    def alone(self, renewal: Renewal) -> Outcome:
        """The lease, or why there is none."""
        try:
            return self._leases.renew(
                renewal.schema, renewal.fleet, renewal.instance_id,
                epoch=renewal.epoch, ack=renewal.ack, follows=renewal.follows,
            )  # fmt: skip
        except OrchestratorError as error:
            return error
        except Exception:  # an edge: the others are answered
            log.exception("a renewal failed in an unexpected way", extra={"action": "renew.fail"})
            return OrchestratorError(
                "renewal_failed",
                f"the lease of {renewal.instance_id} was not renewed: the orchestrator made a mistake",
                remedy="Its log says more; please report it.",
            )

    def _together(self, tx: Transaction, renewals: Sequence[Renewal]) -> dict[int, Lease]:
        """Extend all that hold their lease and ask for nothing unusual. By their numbers."""
        fleets: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        for number, renewal in enumerate(renewals):  # of two for the same lease, the second is done alone
            fleets[renewal.schema, renewal.fleet].setdefault(renewal.instance_id, number)
        extended: dict[int, Lease] = {}
        standings: dict[str, Standing | None] = {}
        for (schema, fleet), numbers in sorted(fleets.items()):
            if schema not in standings:
                standings[schema] = self._standing(tx, schema)
            standing = standings[schema]
            if standing is None:
                continue
            for instance in tx.lock_instances(schema, fleet, tuple(numbers)):
                number = numbers[instance.id]
                lease = self._extend(tx, standing, instance, renewals[number])
                if lease is not None:
                    extended[number] = lease
        tx.renew_instances(tuple(lease.instance for lease in extended.values()))
        return extended

    def _standing(self, tx: Transaction, schema: str) -> Standing | None:
        managed: ManagedSchema | None = self._context.schemas.get(schema)
        state = tx.schema(schema)
        return None if managed is None or state is None else standing_of(tx, managed, state, for_joining=False)

    def _extend(self, tx: Transaction, standing: Standing, instance: Instance, renewal: Renewal) -> Lease | None:
        follows = renewal.follows
        if instance.state is not InstanceState.ALIVE or instance.tag != hashed(renewal.epoch):
            return None
        more = follows if follows is not None and says_more(standing, follows) else None
        if more is not None and (standing.upgrade is not None or not is_signed(tx, standing.schema, more)):
            return None
        try:
            return self._leases.extended(
                tx, standing, instance, epoch=renewal.epoch, ack=renewal.ack, follows=renewal.follows
            )
        except OrchestratorError:
            return None
