"""Batches: the rows of one range moved, or compared, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa
from oslo_db.exception import DBError, DBInvalidUnicodeParameter
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError

from orchestrator.bookkeeping.ledger import FIRST_DIFFERENCES
from orchestrator.data_migrations.faults import CutOff, RowFault
from orchestrator.data_migrations.keyset import Range
from orchestrator.data_migrations.loading import Definition
from orchestrator.data_migrations.target import Target
from orchestrator.data_migrations.transforming import Row, failed, read_and_transform, refuse_unsteady
from orchestrator.dialects import Database, reason
from orchestrator.dialects.driver_errors import layers
from orchestrator.dialects.full_disks import says_full
from orchestrator.domain.errors import StepFailed, Unavailable


@dataclass(frozen=True, slots=True)
class Moved:
    """A range whose rows hold their new values now."""

    range: Range
    rows: int


@dataclass(frozen=True, slots=True)
class Compared:
    """A range whose rows were compared. `first` are the first differing keys, in words."""

    range: Range
    rows: int
    differences: int
    first: tuple[str, ...]


_MOVED = "orchestrator_moved"


@contextmanager
def committing(transaction: AbstractContextManager[Connection]) -> Iterator[Connection]:
    """That transaction; what its commit refuses is said of the rows that were moved last in it. Raises `StepFailed`.

    SQLite looks at a deferred foreign key no earlier, and cannot be asked to.
    """
    explained: Callable[[], AbstractContextManager[None]] | None = None
    try:
        with transaction as connection:
            connection.info.pop(_MOVED, None)
            yield connection
            explained = connection.info.pop(_MOVED, None)
    except (SQLAlchemyError, DBError):
        if explained is None:
            raise
        with explained():
            raise


def move(database: Database, connection: Connection, definition: Definition, target: Target, range_: Range) -> Moved:
    """Write the new values of these rows, whatever stands there. Raises `StepFailed`; the caller rolls back."""
    connection.info[_MOVED] = partial(_explained, database, definition, target, range_)
    with _explained(database, definition, target, range_):
        if definition.transform is None:
            # The database computes each value from the row as it is once it has its lock.
            kept = {name: target.table.c[name] for name in database.dialect.stamped(connection, target.table)}
            values = {**kept, **dict(target.expressions)}
            statement = sa.update(target.table).where(*target.keyset.within(range_)).values(values)
            moved = connection.execute(statement).rowcount
            database.dialect.check_constraints(connection)
            return Moved(range_, moved)
        key, within = target.keyset.names, target.keyset.within(range_)
        found = read_and_transform(connection, definition, target, range_, lock=True)
        with _explained(database, definition, target, range_, found):
            written = database.dialect.update_rows(connection, target.table, key, definition.writes, found, within)
            database.dialect.check_constraints(connection)
    if written != len(found):
        raise failed(
            "rows_not_written",
            definition,
            f"read {len(found)} rows of {definition.table}, {target.keyset.describe_range(range_)}, "
            f"and wrote {written}",
            "Look for a trigger, a rule or a row policy on the table that changes or hides rows.",
        )
    return Moved(range_, written)


def compare(
    database: Database, connection: Connection, definition: Definition, target: Target, range_: Range
) -> Compared:
    """Compare what these rows hold with what the definition computes, as of one moment. Raises `StepFailed`."""
    with _explained(database, definition, target, range_):
        if definition.transform is None:
            return _compare_in_database(database, connection, target, range_)
        key, within = target.keyset.names, target.keyset.within(range_)
        found = read_and_transform(connection, definition, target, range_, lock=False)
        counting = sa.select(sa.func.count()).select_from(target.table).where(*within)
        if (rows := connection.execute(counting).scalar_one()) != len(found):
            raise failed(  # a proof by some of the rows is none
                "rows_not_read",
                definition,
                f"was given {len(found)} of the {rows} rows of {definition.table}, "
                f"{target.keyset.describe_range(range_)}",
                "Look for a setting of the server, or of its user, that limits how many rows a query returns.",
            )
        with _explained(database, definition, target, range_, found):
            keys = database.dialect.differing_keys(connection, target.table, key, definition.writes, found, within)
        if keys:
            refuse_unsteady(connection, definition, target, found, keys[:FIRST_DIFFERENCES])
    return Compared(
        range_, len(found), len(keys), tuple(target.keyset.describe(key) for key in keys[:FIRST_DIFFERENCES])
    )


def _compare_in_database(database: Database, connection: Connection, target: Target, range_: Range) -> Compared:
    keyset = target.keyset
    differs = sa.or_(*(database.dialect.differs(target.table.c[name], value) for name, value in target.expressions))
    counting = sa.select(sa.func.count(), sa.func.count(sa.case((differs, 1)))).select_from(target.table)
    rows, differences = connection.execute(counting.where(*keyset.within(range_))).one()
    first: tuple[str, ...] = ()
    if differences:
        query = sa.select(*keyset.columns).where(*keyset.within(range_), differs).order_by(*keyset.columns)
        first = tuple(keyset.describe(tuple(row)) for row in connection.execute(query.limit(FIRST_DIFFERENCES)))
    return Compared(range_, rows, differences, first)


_NOT_SENT = (ValueError, TypeError, OverflowError, DBInvalidUnicodeParameter)
"""What drivers raise for a value that they cannot send; oslo.db wraps some of them."""


@contextmanager
def _explained(
    database: Database, definition: Definition, target: Target, range_: Range, found: Sequence[Row] = ()
) -> Iterator[None]:
    """A statement that the database refuses becomes a sentence; one that it refuses for now stays as it is.

    Where the only row of a transform is sent, `found`, the sentence names that row and the types of its columns.
    """
    try:
        yield
    except (SQLAlchemyError, DBError, *_NOT_SENT) as error:
        refused = database.explain(error)
        if refused is not None and refused.code != "database_busy":
            raise
        if len(found) == 1:
            range_ = Range(None, found[0][: len(target.keyset.names)], is_one=True)
        where, why = f"{definition.table}, {target.keyset.describe_range(range_)}", reason(error, database.engine.url)
        if len(found) == 1:
            why += f"; its transform gave {_types(definition, found[0])}"
        if refused is not None:
            message = f"data migration {definition.name} waits for locks on {where}: {why}"
            raise Unavailable(refused.code, message, remedy=refused.remedy, **refused.fields) from error
        if says_full(error):
            raise Unavailable(
                "disk_full",
                f"data migration {definition.name} finds no room for {where}: {why}",
                remedy=f"Make room in database {database.name}; it goes on by itself.",
                database=database.name,
            ) from error
        message = f"{definition.place} failed on {where}: {why}"
        fields = {"file": str(definition.path), "data_migration": definition.name, "table": definition.table}
        remedy = "Mend the expression, the transform or the row that it names."
        if _is_of_a_row(database, error):
            raise RowFault("row_refused", message, range_=range_, remedy=remedy, **fields) from error
        if database.dialect.is_cut_off(error):
            raise CutOff("batch_cut_off", message, remedy=remedy, **fields) from error
        raise StepFailed("data_migration_statement", message, remedy=remedy, **fields) from error


def _types(definition: Definition, row: Row) -> str:
    """Which column got what: most databases do not say it, and the values themselves may be nobody's business."""
    values = row[-len(definition.writes) :]
    types = ("NULL" if value is None else type(value).__name__ for value in values)
    return ", ".join(f"{name} as {kind}" for name, kind in zip(definition.writes, types, strict=True))


def _is_of_a_row(database: Database, error: Exception) -> bool:
    """Whether it says something of a value; SQLAlchemy has an error of its own for those that it could not convert."""
    if database.dialect.refuses_value(error) or any(isinstance(layer, _NOT_SENT) for layer in layers(error)):
        return True
    return isinstance(error, StatementError) and not isinstance(error, DBAPIError)
