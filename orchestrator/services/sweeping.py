"""The sweep: notice leases that ran out, and write it down once. It changes nothing else: expiry proves nothing."""

from __future__ import annotations

from orchestrator.domain.fleets import Instance, InstanceState
from orchestrator.ports import Transaction
from orchestrator.services.context import Context, event
from orchestrator.services.recording import DAEMON


class Sweep:
    """Remembers in memory what it has written; after a restart an expired lease may be noted once more."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._noted: set[tuple[str, str, str]] = set()

    def run(self) -> tuple[Instance, ...]:
        """Write an event for each lease that ran out since the last time. Returns the news."""
        news: list[Instance] = []
        still_expired: set[tuple[str, str, str]] = set()
        for instance in self._expired():
            key = (instance.schema, instance.fleet, instance.id)
            still_expired.add(key)
            if key not in self._noted:
                news.append(instance)
        if news:
            self._context.store.run(lambda tx: _note(tx, news))
        self._noted = still_expired
        return tuple(news)

    def _expired(self) -> tuple[Instance, ...]:
        def work(tx: Transaction) -> tuple[Instance, ...]:
            return tuple(
                instance
                for schema in self._context.schemas
                for instance in tx.instances(schema, state=InstanceState.ALIVE)
                if instance.is_expired(tx.now)
            )

        return self._context.store.read(work)


def _note(tx: Transaction, news: list[Instance]) -> None:
    for each in news:
        event(
            tx,
            "lease.expire",
            f"{each.fleet} {each.label} (release {each.release}) stopped renewing; it may still be alive",
            actor=DAEMON,
            schema=each.schema,
            subject=f"{each.fleet}/{each.id}",
        )
