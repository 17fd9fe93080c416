"""Release 1 of the inventory service: a customer has a name, an item has a status that is a word."""

from __future__ import annotations

from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, insert, select, update

from service import Membership, repeated

RELEASE = "1"

metadata = MetaData()

customers = Table(
    "customers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(200), nullable=False),
)
items = Table(
    "items",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("title", String(100), nullable=False),
    Column("status", String(20), nullable=False),
)


class Inventory:
    """What the service does. Every use of the database happens inside `member.transaction()`."""

    def __init__(self, engine: Engine, member: Membership) -> None:
        self.engine = engine
        self.member = member

    @repeated
    def add_customer(self, name: str) -> int:
        """Store a customer and return its id."""
        with self.member.transaction(), self.engine.begin() as connection:
            added = connection.execute(insert(customers).values(name=name).returning(customers.c.id))
            return added.scalar_one()

    @repeated
    def rename_customer(self, customer_id: int, name: str) -> None:
        """Give a customer another name."""
        with self.member.transaction(), self.engine.begin() as connection:
            connection.execute(update(customers).where(customers.c.id == customer_id).values(name=name))

    @repeated
    def customer_name(self, customer_id: int) -> str | None:
        """The full name of a customer, or None when there is no such customer."""
        with self.member.transaction(), self.engine.connect() as connection:
            return connection.execute(select(customers.c.name).where(customers.c.id == customer_id)).scalar()

    @repeated
    def add_item(self, title: str, status: str) -> int:
        """Store an item and return its id."""
        with self.member.transaction(), self.engine.begin() as connection:
            added = connection.execute(insert(items).values(title=title, status=status).returning(items.c.id))
            return added.scalar_one()

    @repeated
    def set_status(self, item_id: int, status: str) -> None:
        """Move an item to another status."""
        with self.member.transaction(), self.engine.begin() as connection:
            connection.execute(update(items).where(items.c.id == item_id).values(status=status))

    @repeated
    def item_status(self, item_id: int) -> str | None:
        """The status of an item, or None when there is no such item."""
        with self.member.transaction(), self.engine.connect() as connection:
            return connection.execute(select(items.c.status).where(items.c.id == item_id)).scalar()
