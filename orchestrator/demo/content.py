"""The rows of the demo: what each seeded row holds follows from its id, so that anybody can check what they read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

FIRST_NAMES = ("Ada", "Alan", "Barbara", "Claude", "Dorothy", "Edsger", "Frances", "Grace", "Hedy", "Ivan", "Jean")
LAST_NAMES = (
    "Allen",
    "Bartik",
    "Dijkstra",
    "Hopper",
    "Lamarr",
    "Liskov",
    "Lovelace",
    "Shannon",
    "Turing",
    "de la Cruz",
)
STATUSES = ("available", "reserved", "sold", "retired")


def seeded_name(customer_id: int) -> str:
    """The full name of a seeded customer. Some have one word, some have four."""
    if customer_id % 97 == 0:
        return f"Plato-{customer_id}"
    last_name = LAST_NAMES[customer_id // len(FIRST_NAMES) % len(LAST_NAMES)]
    return f"{FIRST_NAMES[customer_id % len(FIRST_NAMES)]} {last_name}-{customer_id}"


def seeded_title(item_id: int) -> str:
    """The title of a seeded item."""
    return f"item {item_id}"


def seeded_status(item_id: int) -> str:
    """The status of a seeded item."""
    return STATUSES[item_id * 7 % len(STATUSES)]


@dataclass(frozen=True, slots=True)
class Seed:
    """How many rows there are at the start, and who may change which of them.

    The first rows are dealt out to the `slots`: one process at a time owns a slot, and only it changes its rows. All
    the others stay as they were seeded.
    """

    customers: int
    items: int
    slots: int

    @classmethod
    def of(cls, rows: int, slots: int) -> Seed:
        """About `rows` rows, half of them customers."""
        customers = max(rows // 2, 2 * slots)
        return cls(customers=customers, items=max(rows - customers, 2 * slots), slots=slots)

    @property
    def rows(self) -> int:
        """All seeded rows."""
        return self.customers + self.items

    @property
    def per_slot(self) -> int:
        """How many customers, and how many items, each slot owns."""
        return max(1, min(40, min(self.customers, self.items) // (2 * self.slots)))

    def owned(self, slot: int) -> range:
        """The ids of the seeded customers, and of the items, that the owner of this slot may change."""
        return range(1 + slot * self.per_slot, 1 + (slot + 1) * self.per_slot)

    @property
    def untouched_from(self) -> int:
        """The first id that nobody ever changes."""
        return 1 + self.slots * self.per_slot

    def customer_names(self) -> Iterator[str]:
        """The names of the seeded customers, in order of their ids from 1."""
        return map(seeded_name, range(1, self.customers + 1))

    def item_contents(self) -> Iterator[tuple[str, str]]:
        """Title and status of the seeded items, in order of their ids from 1."""
        return ((seeded_title(item_id), seeded_status(item_id)) for item_id in range(1, self.items + 1))
