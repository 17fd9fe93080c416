"""Sharing: two schemas in one physical database, which they may be only where neither touches what is the other's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.conf.reading import SectionReader
from orchestrator.conf.settings import SchemaSettings

_PORTS = {"postgresql": 5432, "mysql": 3306}
_KINDS = {"postgres": "postgresql", "mariadb": "mysql"}

Identity = tuple[str, ...]


def refuse_shared(schemas: Sequence[SchemaSettings], reader: Callable[[str, str], SectionReader]) -> None:
    """Refuse two schemas that would run the same revisions, or keep their positions in one table, in one database.

    `reader` gives the section in which the connection of a schema's database stands. Our own tables are kept by the
    schema's name, so schemas with trees and version tables of their own share a database. Raises `ConfigurationError`.
    """
    seen: dict[Identity, list[SchemaSettings]] = {}
    for schema in schemas:
        for database in schema.databases:
            identity = _identity(database.connection)
            if identity is None:
                continue
            for other in seen.setdefault(identity, []):
                shared = _shared(schema, other)
                if shared is not None:
                    what, remedy = shared
                    reader(schema.name, database.name).refuse(
                        "connection",
                        "database_shared",
                        f"it is a database of schema {other.name} too, and both have {what}",
                        remedy=remedy,
                    )
            seen[identity].append(schema)


def _shared(schema: SchemaSettings, other: SchemaSettings) -> tuple[str, str] | None:
    """What of both is one thing, and what to do about it."""
    if schema is other:
        return None  # that is refused where its databases are read
    if schema.migrations.resolve() == other.migrations.resolve():
        return f"migrations = {schema.migrations}", "Name each database in one schema only."
    if schema.driver == other.driver == "alembic" and schema.version_table == other.version_table:
        return (
            f"version_table = {schema.version_table}",
            f"Give [schema:{schema.name}] a version_table of its own, or the database to one schema only.",
        )
    return None


def _identity(connection: str) -> Identity | None:
    """What is the same for two URLs of one database; None where it cannot be told, or nobody else can reach it.

    On PostgreSQL user and options count, since they may lead to tables of their own in the same database.
    """
    try:
        url = urlsplit(connection)
        kind = url.scheme.partition("+")[0]
        kind = _KINDS.get(kind, kind)
        if kind == "sqlite":
            path = url.path.removeprefix("/")
            return None if path in ("", ":memory:") else (kind, str(Path(path).resolve()))
        port = url.port or _PORTS.get(kind, 0)
    except ValueError:
        return None  # it is refused where it is used
    own = (url.username or "", url.query) if kind == "postgresql" else ()
    return kind, url.hostname or url.query, str(port), url.path, *own
