"""Turns: which data migrations of a release wait for which, in one database, as their files say.

Refused in the transaction that would move rows: whoever decides that one may run does so from what was true a moment
ago.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import Connection

from orchestrator.bookkeeping import ledger
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.data_migrations.loading import file_of, hash_of, load
from orchestrator.dialects import Database
from orchestrator.domain import order
from orchestrator.domain.errors import Conflict, Invalid, MigrationRefused
from orchestrator.domain.releases import Link
from orchestrator.domain.view import MigrationState

Beside = Callable[[str], Sequence[str]]
"""The data migrations of the same list of the same release, in the manifest's order."""


class Links:
    """What the files below one directory say of each other. Each is run once, until it is another one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[str, tuple[str, Link]] = {}

    def of(self, names: Sequence[str]) -> tuple[Link, ...]:
        """The links of these, the data migrations of one list of a release.

        Of a file that cannot be used, as if it said nothing; where the order is none, as if none of them did: the
        fault is found, and said, by whoever is to run it.
        """
        if len(names) < 2:
            return order.in_manifest_order(names)  # asked before each batch: no file is read for one that is alone
        links = tuple(self._link(name) for name in names)
        return order.in_manifest_order(names) if order.fault_of(links) is not None else links

    def refuse_faulty(self, names: Sequence[str]) -> None:
        """Raise `MigrationRefused` naming file and remedy where the order of these is none."""
        fault = order.fault_of(tuple(self._link(name) for name in names))
        if fault is None:
            return
        path = file_of(self._directory, fault.name)
        raise MigrationRefused(
            "data_migration_order",
            f"data migration {fault.name} ({path}) {fault.why}",
            remedy=fault.remedy,
            file=str(path),
            data_migration=fault.name,
        )

    def _link(self, name: str) -> Link:
        path = file_of(self._directory, name)
        try:
            file_hash = hash_of(path, name)
            known = self._known.get(name)
            if known is None or known[0] != file_hash:
                definition = load(path, name)
                known = self._known[name] = (definition.file_hash, definition.link)
        except Invalid:
            return Link(name)
        return known[1]


class Turns:
    """On the data migrations of one schema in one database."""

    def __init__(self, database: Database, schema: str, links: Links, beside: Beside) -> None:
        self._database = database
        self._schema = schema
        self._links = links
        self._beside = beside

    def refuse_faulty(self, name: str) -> None:
        """Raise `MigrationRefused` where the order of its release is none."""
        self._links.refuse_faulty(self._beside(name))

    def require(self, connection: Connection, entry: LedgerEntry) -> None:
        """Refuse a batch of one that another one is in the way of. Its entry is locked.

        Raises `Conflict` (code `data_migration_waits`).
        """
        names = self._beside(entry.name)
        if len(names) > 1:
            self._refuse(entry, self._links.of(names), ledger.states(connection, self._schema))

    def take(self, connection: Connection, entry: LedgerEntry) -> None:
        """As `require`, for one that is about to begin: of two that may not begin together only one does.

        Both write the entries of each other: row locks alone end at one node of a cluster. Raises `Conflict`, also
        where somebody is at one of the others just now (code `batch_claimed`).
        """
        names = self._beside(entry.name)
        if len(names) < 2:
            return
        links, states = self._links.of(names), dict(ledger.states(connection, self._schema))
        rivals = _rivals(links, entry.name)
        for rival in rivals:
            found = ledger.claim(connection, self._schema, rival)
            if found is not None:
                states[rival] = found.state  # later than whatever this transaction has read before
            elif rival in states:
                raise Conflict(
                    "batch_claimed",
                    f"another worker is at data migration {rival} in database {self._database.name} just now",
                    remedy="Nothing to do: it is tried again.",
                    schema=self._schema,
                    data_migration=entry.name,
                )
        self._refuse(entry, links, states)
        ledger.take_away(connection, self._schema, rivals)

    def reclaim(self, connection: Connection, name: str) -> None:
        """Take the cursors of those away that may not run beside this one, which is under way again from now on.

        Waits for a batch of theirs that is just committing.
        """
        names = self._beside(name)
        if len(names) > 1:
            ledger.take_away(connection, self._schema, _rivals(self._links.of(names), name))

    def doubt_others(self, connection: Connection, entry: LedgerEntry) -> None:
        """Let those be proven anew that this one may have changed: part of the transaction in which it has moved all.

        Which columns a function of the service writes, or looks at, nobody else knows.
        """
        names = self._beside(entry.name)
        if len(names) > 1:
            others = order.unknown_to(self._links.of(names), entry.name)
            ledger.take_away(connection, self._schema, others)  # a proof that is just being made is none
            ledger.doubt(connection, self._schema, entry.upgrade_id, others)

    def _refuse(self, entry: LedgerEntry, links: Sequence[Link], states: dict[str, MigrationState]) -> None:
        other = order.in_the_way(links, states, entry.name)
        if other is not None:
            raise Conflict(
                "data_migration_waits",
                f"data migration {entry.name} waits for {other} in database {self._database.name}",
                remedy="Nothing to do: it goes on by itself.",
                schema=self._schema,
                data_migration=entry.name,
            )


def _rivals(links: Sequence[Link], name: str) -> tuple[str, ...]:
    """Those that may not run while this one does."""
    mine = next(link for link in links if link.name == name)
    return tuple(link.name for link in links if order.collide(mine, link))
