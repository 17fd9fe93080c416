"""Inventory sources: who runs in a fleet that holds no leases, as a managed database knows. One file each."""

from __future__ import annotations

from typing import Protocol

from orchestrator.dialects import Database
from orchestrator.domain.inventories import Inventory


class InventorySource(Protocol):
    """One source of one fleet."""

    @property
    def fleet(self) -> str: ...

    def covers(self, database: str) -> bool:
        """Whether it is to be asked in the database of that name."""
        ...

    def read(self, database: Database) -> Inventory:
        """Whom it lists now. What cannot be read is an inventory with an error, not an exception.

        Who asked says when: `observed_at` is not filled in.
        """
        ...
