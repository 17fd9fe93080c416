"""Columns that MariaDB and MySQL set by themselves whenever a row changes, which a data migration leaves alone."""

from __future__ import annotations

from sqlalchemy import Connection, Table

_STAMPED = "orchestrator_stamped"

# What stands in such a column stays, a date of zeros too, which an UPDATE of two tables would else refuse to copy. New
# values were checked when they were given. To MySQL the part between /*M! and */ is a comment.
KEEPING = (
    "/*M! SET STATEMENT sql_mode = REPLACE(REPLACE(REPLACE("
    "@@sql_mode, 'NO_ZERO_IN_DATE', ''), 'NO_ZERO_DATE', ''), 'TRADITIONAL', '') FOR */ "
)


def stamped(connection: Connection, table: Table) -> tuple[str, ...]:
    """Those with ON UPDATE CURRENT_TIMESTAMP, which some servers give the first TIMESTAMP of a table unasked."""
    if _STAMPED not in table.info:
        quoted = connection.dialect.identifier_preparer.format_table(table)
        described = connection.exec_driver_sql(f"SHOW COLUMNS FROM {quoted}").mappings()
        table.info[_STAMPED] = tuple(part["Field"] for part in described if "on update" in part["Extra"].lower())
    found: tuple[str, ...] = table.info[_STAMPED]
    return found
