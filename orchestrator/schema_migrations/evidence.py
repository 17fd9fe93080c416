"""Evidence: whether a statement that may have been sent took effect, as the catalog or its author's query tells.

One statement of DDL takes effect as a whole or not at all, also when its server dies. So a statement of which an intent
is on record is judged by how its tables looked before it, by what must be there after it, and by what must not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import sqlalchemy as sa

from orchestrator.schema_migrations.catalog import differences, invalid_indexes, is_there
from orchestrator.schema_migrations.changes import Act
from orchestrator.schema_migrations.expectations import Expectation, ExpectedCatalog, Thing
from orchestrator.schema_migrations.statements import Statement

_STATES = frozenset(
    {
        Act.SET_NULLABLE,
        Act.SET_NOT_NULL,
        Act.SET_DEFAULT,
        Act.CHANGE_DEFAULT,
        Act.DROP_DEFAULT,
        Act.CHANGE_TYPE,
        Act.DESCRIBE,
    }
)
"""What states how something is to be, and leaves the same when it is done twice."""

_DIGEST_BYTES = 16


class Verdict(Enum):
    """What became of a statement."""

    TOOK_EFFECT = "it took effect"
    TO_BE_SENT = "it is to be sent"
    LEFT_INVALID = "it left an invalid index"
    IN_DOUBT = "in doubt"


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict, and in doubt the sentences that say what was found."""

    verdict: Verdict
    found: tuple[str, ...] = ()


def judge(connection: sa.Connection, statement: Statement, image: str | None) -> Finding:
    """What became of a statement whose intent is on record; `image` is that of its tables before it. Reads only."""
    if statement.took_effect is not None:
        took_effect = _answer(connection, statement.took_effect)
        return Finding(Verdict.TOOK_EFFECT if took_effect else Verdict.TO_BE_SENT)
    if statement.repeatable or image_of(connection, statement) == image:
        return Finding(Verdict.TO_BE_SENT)
    if _left_invalid(connection, statement):
        return Finding(Verdict.LEFT_INVALID)
    expected = _expected(statement)
    wrong = differences(connection, expected)
    if _is_told(statement, expected) and not wrong:
        return Finding(Verdict.TOOK_EFFECT)
    if all(change.act in _STATES for change in statement.changes) or _is_absent(connection, expected):
        return Finding(Verdict.TO_BE_SENT)
    return Finding(Verdict.IN_DOUBT, wrong or ("its tables are not as they were, and its effect has no name",))


def missing_effects(connection: sa.Connection, statement: Statement) -> tuple[str, ...]:
    """What a statement that was just sent must have left, and did not: one sentence each."""
    if statement.repeatable:
        return ()
    if statement.took_effect is not None:
        if _answer(connection, statement.took_effect):
            return ()
        return (f"the query that tells whether it took effect says no: {statement.took_effect}",)
    return differences(connection, _expected(statement))


def image_of(connection: sa.Connection, statement: Statement) -> str:
    """How the tables look that a statement changes, in a few characters. The same look is the same text."""
    inspector = sa.inspect(connection)
    invalid = invalid_indexes(connection)
    seen: list[object] = [_index_names(connection, statement)]
    for schema, name in statement.tables:
        there = inspector.has_table(name, schema=schema)
        seen.append((schema, name, _look(inspector, schema, name, invalid) if there else None))
    return hashlib.blake2b(repr(seen).encode(), digest_size=_DIGEST_BYTES).hexdigest()


def _look(inspector: Any, schema: str | None, name: str, invalid: frozenset[str]) -> list[object]:
    options = inspector.get_table_options(name, schema=schema)
    indexes = inspector.get_indexes(name, schema=schema)
    return [
        _sorted(inspector.get_columns(name, schema=schema)),
        inspector.get_pk_constraint(name, schema=schema),
        _sorted(inspector.get_foreign_keys(name, schema=schema)),
        _sorted(inspector.get_unique_constraints(name, schema=schema)),
        _sorted(inspector.get_check_constraints(name, schema=schema)),
        _sorted(indexes),
        sorted(invalid & {str(index["name"]) for index in indexes}),
        sorted((key, str(value)) for key, value in options.items() if not key.lower().endswith("auto_increment")),
    ]


def _sorted(described: Iterable[object]) -> list[str]:
    return sorted(map(repr, described))


def _index_names(connection: sa.Connection, statement: Statement) -> list[str]:
    """Those of the indexes that a statement drops without saying of which table, as PostgreSQL knows them."""
    names = [change.name for change in statement.changes if change.act is Act.DROP_INDEX and not change.table]
    if not names or connection.dialect.name != "postgresql":
        return []
    query = sa.text("SELECT relname FROM pg_class WHERE relkind = 'i' AND relname = ANY(:names) ORDER BY relname")
    return list(connection.execute(query, {"names": names}).scalars())


def _left_invalid(connection: sa.Connection, statement: Statement) -> bool:
    created = {change.name for change in statement.changes if change.act is Act.CREATE_INDEX}
    return bool(created & invalid_indexes(connection))


def _expected(statement: Statement) -> tuple[Expectation, ...]:
    catalog = ExpectedCatalog()
    catalog.add("", statement.changes)
    return catalog.expectations()


def _is_told(statement: Statement, expected: tuple[Expectation, ...]) -> bool:
    """Whether what is expected says enough: something of it is there, or is not, only because of the statement."""
    without_table = all(change.act is Act.DROP_INDEX and not change.table for change in statement.changes)
    return bool(expected) or (bool(statement.changes) and without_table)


def _is_absent(connection: sa.Connection, expected: tuple[Expectation, ...]) -> bool:
    """Whether nothing of what is expected is so: what must be there is missing, what must be gone is there."""
    if not expected or any(not each.name and each.thing is not Thing.TABLE for each in expected):
        return False
    return all(is_there(connection, each) != each.present for each in expected)


def _answer(connection: sa.Connection, query: str) -> bool:
    """Whether the first value of the first row is true."""
    row = connection.execute(sa.text(query)).first()
    return row is not None and bool(row[0])
