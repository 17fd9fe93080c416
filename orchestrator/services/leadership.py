"""Leadership: at most one daemon at a time moves upgrades on. A lease with an epoch that only grows.

Two daemons may both believe that they lead for a moment; the epoch is checked in every transaction that matters.
"""

from __future__ import annotations

from orchestrator.domain.records import Leadership
from orchestrator.ports import Store, Transaction


class Elections:
    """Takes, renews and gives up leadership for one daemon, named `holder`."""

    def __init__(self, store: Store, holder: str, *, ttl_seconds: float) -> None:
        self._store = store
        self._holder = holder
        self._ttl_seconds = ttl_seconds

    def campaign(self) -> int | None:
        """Renew the lease if it is ours, take it if it is free or ran out. Returns our epoch, or None."""

        def work(tx: Transaction) -> int | None:
            found = tx.leadership()
            is_ours = found is not None and found.holder == self._holder
            if found is not None and not is_ours and found.expires_at > tx.now:
                return None
            epoch = found.epoch if is_ours and found is not None else (found.epoch + 1 if found is not None else 1)
            taken_at = found.taken_at if is_ours and found is not None else tx.now
            lease = Leadership(self._holder, epoch, tx.now + self._ttl_seconds, taken_at)
            taken = tx.save_leadership(lease, expected=found)
            return epoch if taken else None

        return self._store.run(work)

    def resign(self) -> None:
        """Let another daemon take over at once. Does nothing when the lease is not ours."""

        def work(tx: Transaction) -> None:
            found = tx.leadership()
            if found is not None and found.holder == self._holder:
                tx.save_leadership(Leadership(self._holder, found.epoch, 0.0), expected=found)

        self._store.run(work)
