"""Release 2 of the inventory service: a name in two columns, a status that is a row of `statuses`.

For a while it shares the database with release 1, which knows only the old columns. So it asks, for each transaction,
how to behave, and goes through three behaviours while it runs, without being restarted:

    reads old, writes both    release 1 may still run, or rows still wait to be moved
    reads new, writes both    every row has the new shape, but a neighbour may not know that yet
    reads new, writes new     nobody reads the old columns any more; then they are dropped

Where both are written, the new columns get exactly what the data migrations compute from the old ones.
Release 3 will have no line with "old" in it.
"""

from __future__ import annotations

from sqlalchemy import Column, Engine, ForeignKey, Integer, MetaData, String, Table, insert, select, update

from service import Behaviour, Membership, repeated

RELEASE = "2"

metadata = MetaData()

statuses = Table(
    "statuses",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(20), nullable=False, unique=True),
)
customers = Table(
    "customers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(200)),  # old shape
    Column("first_name", String(200)),
    Column("last_name", String(200)),
)
items = Table(
    "items",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("title", String(100), nullable=False),
    Column("status", String(20)),  # old shape
    Column("status_id", Integer, ForeignKey("statuses.id")),
)


def name_columns(behaviour: Behaviour, name: str) -> dict[str, object]:
    """The columns of `customers` that hold a name: both shapes, or only the new one.

    Blanks at its end would be lost in two columns, so no shape has them: both lead to each other.
    """
    name = name.rstrip()
    first_name, _, last_name = name.partition(" ")
    new: dict[str, object] = {"first_name": first_name, "last_name": last_name}
    return {"name": name, **new} if behaviour.writes_old else new


def status_columns(behaviour: Behaviour, status: str) -> dict[str, object]:
    """The columns of `items` that hold a status: both shapes, or only the new one."""
    new: dict[str, object] = {"status_id": select(statuses.c.id).where(statuses.c.name == status).scalar_subquery()}
    return {"status": status, **new} if behaviour.writes_old else new


class Inventory:
    """What the service does: the same as release 1, over the new shape."""

    def __init__(self, engine: Engine, member: Membership) -> None:
        self.engine = engine
        self.member = member

    @repeated
    def add_customer(self, name: str) -> int:
        """Store a customer and return its id."""
        with self.member.transaction() as behaviour, self.engine.begin() as connection:
            statement = insert(customers).values(name_columns(behaviour, name))
            return connection.execute(statement.returning(customers.c.id)).scalar_one()

    @repeated
    def rename_customer(self, customer_id: int, name: str) -> None:
        """Give a customer another name."""
        with self.member.transaction() as behaviour, self.engine.begin() as connection:
            statement = update(customers).where(customers.c.id == customer_id)
            connection.execute(statement.values(name_columns(behaviour, name)))

    @repeated
    def customer_name(self, customer_id: int) -> str | None:
        """The full name of a customer, or None when there is no such customer."""
        with self.member.transaction() as behaviour, self.engine.connect() as connection:
            if not behaviour.reads_new:
                old = select(customers.c.name).where(customers.c.id == customer_id)
                return connection.execute(old).scalar()
            new = select(customers.c.first_name, customers.c.last_name).where(customers.c.id == customer_id)
            row = connection.execute(new).one_or_none()
            return None if row is None else f"{row.first_name} {row.last_name}".rstrip()

    @repeated
    def add_item(self, title: str, status: str) -> int:
        """Store an item and return its id."""
        with self.member.transaction() as behaviour, self.engine.begin() as connection:
            statement = insert(items).values(title=title, **status_columns(behaviour, status))
            return connection.execute(statement.returning(items.c.id)).scalar_one()

    @repeated
    def set_status(self, item_id: int, status: str) -> None:
        """Move an item to another status."""
        with self.member.transaction() as behaviour, self.engine.begin() as connection:
            statement = update(items).where(items.c.id == item_id)
            connection.execute(statement.values(**status_columns(behaviour, status)))

    @repeated
    def item_status(self, item_id: int) -> str | None:
        """The status of an item, or None when there is no such item."""
        with self.member.transaction() as behaviour, self.engine.connect() as connection:
            if not behaviour.reads_new:
                old = select(items.c.status).where(items.c.id == item_id)
                return connection.execute(old).scalar()
            new = select(statuses.c.name).join(items, items.c.status_id == statuses.c.id).where(items.c.id == item_id)
            return connection.execute(new).scalar()
