"""The ledger: which data migrations ran in this database, and the cursor of each.

The ledger lives beside the rows that it speaks of, so that both change in one transaction. Every change of an entry
names the revision that it was decided on; a change decided on an older one finds no row and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import Connection, and_, bindparam, insert, select, update

from orchestrator.bookkeeping import ranges, repairs
from orchestrator.bookkeeping.ranges import RangeEntry
from orchestrator.bookkeeping.repairs import Part
from orchestrator.bookkeeping.tables import data_migrations as table
from orchestrator.bookkeeping.tables import ranges as ranges_table
from orchestrator.domain.errors import LostCursor
from orchestrator.domain.view import MigrationFacts, MigrationState
from orchestrator.domain.visible import visible

_UNPROVEN: dict[str, Any] = {
    "state": MigrationState.VERIFYING,
    "verify_cursor": None,
    "rows_verified": 0,
    "differences": 0,
    "first_differences": None,
    "witness_incarnation": None,
    "error": None,
    "finished_at": None,
    "suspect_rows": 0,
    "is_split": False,
    "repairs": None,
}
"""An entry whose rows are moved, and none of them proven."""

FIRST_DIFFERENCES = 10
"""So many keys of differing rows are kept for people."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One data migration in one database.

    `cursor` and `verify_cursor` are the last key done, as text of its own (see `data_migrations.keyset`); None means
    the start. `witness_incarnation` is the incarnation of the database in which it was proven complete. `batch_at` is
    when the last batch ended, where there is to be a pause after it, and later where that is to be longer.
    `is_reverse`: it moves rows into the old shape, on the way back. `batch_rows` is the size that batches have come to,
    None before the first. Of the next `suspect_rows` rows it is known that they do not get through in one batch.
    `rows_quarantined` could not be moved: the cursor is past them, they are in the quarantine, and not in `rows_done`.
    `is_split`: its rows are moved, or verified, in ranges. Each has its own cursor and counters, and the cursor here is
    how far they have been cut off.
    `repairs`: the parts in which rows were found to differ; while they are moved again, those that are left, with the
    cursor in the first of them (see `bookkeeping.repairs`).
    """

    schema_name: str
    name: str
    release: str
    upgrade_id: int | None
    file_hash: str
    state: MigrationState = MigrationState.PENDING
    revision: int = 1
    cursor: str | None = None
    rows_total: int | None = None
    rows_done: int = 0
    verify_cursor: str | None = None
    rows_verified: int = 0
    differences: int = 0
    first_differences: str | None = None
    witness_incarnation: str | None = None
    error: str | None = None
    batch_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    is_reverse: bool = False
    batch_rows: int | None = None
    suspect_rows: int = 0
    rows_quarantined: int = 0
    is_split: bool = False
    repairs: str | None = None

    def facts(self) -> MigrationFacts:
        """What guards and people are told of it.

        An older daemon that proves all rows, or begins anew, leaves the quarantine as it was: it says nothing then.
        """
        is_settled = self.state in (MigrationState.PENDING, MigrationState.COMPLETE, MigrationState.ASSUMED)
        return MigrationFacts(
            name=self.name,
            state=self.state,
            rows_done=self.rows_done,
            rows_total=self.rows_total,
            rows_verified=self.rows_verified,
            differences=self.differences,
            first_differences=self.first_differences,
            witness=self.witness_incarnation,
            error=self.error,
            rows_quarantined=0 if is_settled else self.rows_quarantined,
            rows_to_repair=self.rows_to_repair,
        )

    @property
    def parts_to_repair(self) -> tuple[Part, ...]:
        """The parts that hold all rows that differ, if it failed for these; none where any row may."""
        if self.state is not MigrationState.FAILED or not self.differences or self.rows_quarantined:
            return ()
        parts = repairs.found(self.repairs, self.started_at, self.differences)
        return () if any(part.is_everything for part in parts) else parts

    @property
    def rows_to_repair(self) -> int | None:
        """How many rows a retry with the same file moves again; None: all of them."""
        parts = self.parts_to_repair
        return sum(part.rows for part in parts) if parts else None

    @property
    def parts_left(self) -> tuple[Part, ...]:
        """The parts that are moved again, as far as they are left; none where it goes on to the end of the table."""
        return repairs.left(self.repairs, self.started_at) if self.state is MigrationState.RUNNING else ()

    def at_start(self, *, upgrade_id: int | None, file_hash: str) -> LedgerEntry:
        """The same entry before its first batch, nothing counted and nothing proven. Its revision stays."""
        return LedgerEntry(
            schema_name=self.schema_name,
            name=self.name,
            release=self.release,
            upgrade_id=upgrade_id,
            file_hash=file_hash,
            revision=self.revision,
            is_reverse=self.is_reverse,
        )

    def before_its_proof(self) -> LedgerEntry:
        """The same entry with its rows moved, and none of them proven."""
        return replace(self, **_UNPROVEN)

    def holds(self, range_: RangeEntry) -> bool:
        """Whether it is a range of what this entry does now, and not one that an earlier run left behind."""
        return self.is_split and (range_.state, range_.run_at) == (self.state, self.started_at)

    def has_moved(self, range_: RangeEntry) -> bool:
        """Whether rows of that range were moved by what this entry does, or did until it failed."""
        is_its_own = self.is_split and range_.run_at == self.started_at and range_.state is MigrationState.RUNNING
        return is_its_own and self.state in (MigrationState.RUNNING, MigrationState.FAILED)

    def counting(self, range_: RangeEntry) -> LedgerEntry:
        """The same entry with the rows of that range counted in, of which it holds the keys after its own."""
        if range_.state is MigrationState.RUNNING:
            return replace(self, rows_done=self.rows_done + range_.rows_done)
        return replace(
            self,
            rows_verified=self.rows_verified + range_.rows_done,
            differences=self.differences + range_.differences,
            first_differences=first_differences(self.first_differences, range_.first_differences),
            repairs=repairs.joined(self.repairs, self.started_at, self.differences, range_.repairs),
        )


_NAMES = tuple(field.name for field in fields(LedgerEntry))
_COLUMNS = tuple(table.c[name] for name in _NAMES)

# What every batch runs is put together once: that takes longer than the database takes to run it.
_IS = and_(table.c.schema_name == bindparam("its_schema"), table.c.name == bindparam("its_name"))
_FIND = select(*_COLUMNS).where(_IS)
_CLAIM = _FIND.with_for_update(skip_locked=True)
_AWAIT = _FIND.with_for_update()
_SAVE = update(table).where(_IS, table.c.revision == bindparam("its_revision")).values(revision=table.c.revision + 1)


def entries(connection: Connection, schema: str) -> tuple[LedgerEntry, ...]:
    """All entries of a schema, by name."""
    query = select(*_COLUMNS).where(table.c.schema_name == schema).order_by(table.c.name)
    return tuple(_entry(tuple(row)) for row in connection.execute(query))


def states(connection: Connection, schema: str) -> dict[str, MigrationState]:
    """Where each data migration of a schema stands, by its name."""
    query = select(table.c.name, table.c.state).where(table.c.schema_name == schema)
    return {name: MigrationState(state) for name, state in connection.execute(query)}


def find(connection: Connection, schema: str, name: str) -> LedgerEntry | None:
    """The entry of that name, or None when it was never enrolled."""
    row = connection.execute(_FIND, {"its_schema": schema, "its_name": name}).first()
    return None if row is None else _entry(tuple(row))


def facts(connection: Connection, schema: str) -> tuple[MigrationFacts, ...]:
    """What guards and people are told of all data migrations of a schema, by name; ranges are counted in."""
    same = (ranges_table.c.schema_name == table.c.schema_name, ranges_table.c.name == table.c.name, table.c.is_split)
    query = select(*_COLUMNS, *ranges.COLUMNS).select_from(table.outerjoin(ranges_table, and_(*same)))
    ordered = query.where(table.c.schema_name == schema).order_by(table.c.name, ranges_table.c.number)
    found: dict[str, LedgerEntry] = {}
    for row in connection.execute(ordered):  # one statement: what a range is counted into meanwhile is not seen twice
        entry, rest = _entry(tuple(row[: len(_COLUMNS)])), tuple(row[len(_COLUMNS) :])
        counted = found.setdefault(entry.name, entry)
        if rest[0] is None:
            continue
        range_ = ranges.entry(rest)
        if entry.holds(range_) or entry.has_moved(range_):
            found[entry.name] = counted.counting(range_)
    return tuple(entry.facts() for entry in found.values())


def claim(connection: Connection, schema: str, name: str, *, waits: bool = False) -> LedgerEntry | None:
    """The entry, locked until this transaction ends. None when there is none, or somebody else holds it just now.

    With `waits` whoever holds it is waited for, as long as this transaction waits for locks.
    """
    row = connection.execute(_AWAIT if waits else _CLAIM, {"its_schema": schema, "its_name": name}).first()
    return None if row is None else _entry(tuple(row))


def add(connection: Connection, entry: LedgerEntry) -> None:
    """Store a new entry."""
    connection.execute(insert(table).values(_values(entry)))


def save(connection: Connection, entry: LedgerEntry) -> LedgerEntry:
    """Store an entry that was read at `entry.revision`; returns it with its next revision.

    Raises `LostCursor` when its revision has changed since: the caller's transaction must be rolled back, and
    everything that it wrote with it.
    """
    its = {"its_schema": entry.schema_name, "its_name": entry.name, "its_revision": entry.revision}
    values = _values(entry)
    del values["revision"]
    if connection.execute(_SAVE, {**values, **its}).rowcount != 1:
        raise LostCursor(
            "lost_cursor",
            f"the cursor of data migration {entry.name} was taken while a batch ran; the batch was rolled back",
            remedy="Nothing to do: whoever holds the cursor goes on from the last committed batch.",
            schema=entry.schema_name,
            data_migration=entry.name,
            revision=entry.revision,
        )
    return replace(entry, revision=entry.revision + 1)


def begin_anew(connection: Connection, entry: LedgerEntry) -> LedgerEntry:
    """As `save`, for an entry that goes back to a start, or to an end that nobody works on: its ranges are forgotten.

    Waits for batches that are under way in them.
    """
    saved = save(connection, replace(entry, is_split=False))
    ranges.drop(connection, entry.schema_name, [entry.name])
    return saved


def stop(connection: Connection, entry: LedgerEntry, error: str) -> LedgerEntry:
    """As `save`, for an entry that is failed now. Its ranges stay as far as they are, and nobody goes on with them."""
    is_proof = entry.state is MigrationState.VERIFYING  # which has not seen all rows
    failed = replace(entry, state=MigrationState.FAILED, error=storable(error))
    saved = save(connection, replace(failed, repairs=None) if is_proof else failed)
    if entry.is_split:
        ranges.take(connection, entry.schema_name, entry.name)
    return saved


def fence(connection: Connection, schema: str) -> int:
    """Take every cursor of the schema away from whoever holds it, those of ranges too. Waits for batches under way.

    Part of the transaction in which the database learns that backfill is left. Returns the number of entries.
    """
    taken = update(table).where(table.c.schema_name == schema).values(revision=table.c.revision + 1)
    count = connection.execute(taken).rowcount
    ranges.take(connection, schema)
    return count


def take_away(connection: Connection, schema: str, names: Sequence[str]) -> None:
    """Take these cursors away from whoever holds them, those of ranges too. Waits for batches under way."""
    which = (table.c.schema_name == schema, table.c.name.in_(names))
    connection.execute(update(table).where(*which).values(revision=table.c.revision + 1))
    for name in names:
        ranges.take(connection, schema, name)


def reset(
    connection: Connection,
    schema: str,
    upgrade_id: int | None,
    names: Sequence[str] | None = None,
    *,
    is_reverse: bool | None = None,
) -> None:
    """Send the data migrations of an upgrade back to their start, witnesses and all.

    With `names` only these; with `is_reverse` only those that move rows back, or only the others.

    Part of the transaction in which a phase below backfill is published: from then on the old release may write
    rows that no longer match. And of one that sends those back that go before.
    """
    if names is not None and not names:
        return
    blank = LedgerEntry(schema_name=schema, name="", release="", upgrade_id=upgrade_id, file_hash="")
    kept = {"schema_name", "name", "release", "upgrade_id", "file_hash", "revision", "is_reverse"}
    start = {name: value for name, value in _values(blank).items() if name not in kept}
    which = [table.c.schema_name == schema, table.c.upgrade_id == upgrade_id]
    if names is not None:
        which.append(table.c.name.in_(names))
    if is_reverse is not None:
        which.append(table.c.is_reverse == is_reverse)
    connection.execute(update(table).where(*which).values({**start, "revision": table.c.revision + 1}))
    ranges.drop(connection, schema, select(table.c.name).where(*which))


def doubt(connection: Connection, schema: str, upgrade_id: int | None, names: Sequence[str] | None = None) -> None:
    """Let every data migration of an upgrade that was proven be proven anew, from its first row; none is moved again.

    With `names` only these; else those that move rows forwards.

    Part of the transaction in which this database learns that commits may be lost where rows are not moved any more,
    and of one in which these rows may have been changed.
    """
    if names is not None and not names:
        return
    proven = [
        table.c.schema_name == schema,
        table.c.upgrade_id == upgrade_id,
        table.c.state.in_([MigrationState.COMPLETE, MigrationState.VERIFYING]),
        ~table.c.is_reverse if names is None else table.c.name.in_(names),
    ]
    connection.execute(update(table).where(*proven).values({**_UNPROVEN, "revision": table.c.revision + 1}))
    ranges.drop(connection, schema, select(table.c.name).where(*proven))


def first_differences(known: str | None, more: str | None) -> str | None:
    """The keys of both, the first of them: as many as are kept for people."""
    keys = [key for text in (known, more) if text for key in text.split("; ")]
    return "; ".join(keys[:FIRST_DIFFERENCES]) or None


def storable(text: str, longest: int = 2000) -> str:
    """A sentence in one line that every database can store, whatever a row or somebody's code put into it."""
    line = visible(" ".join(text.replace("\0", " ").split())).encode(errors="replace").decode()
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def _values(entry: LedgerEntry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in _NAMES}


def _entry(row: tuple[Any, ...]) -> LedgerEntry:
    values = dict(zip(_NAMES, row, strict=True))
    return LedgerEntry(**{**values, "state": MigrationState(values["state"])})
