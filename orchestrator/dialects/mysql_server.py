"""A MariaDB or MySQL server: which of the two it is, and by what number it names an error."""

from __future__ import annotations

import pymysql
from sqlalchemy import Connection


def is_mariadb(connection: Connection) -> bool:
    """Whether the server is MariaDB and not MySQL."""
    return bool(getattr(connection.dialect, "is_mariadb", False))


def code_of(error: BaseException) -> int | None:
    """The server's or the driver's number of an error."""
    if isinstance(error, pymysql.err.MySQLError) and error.args and isinstance(error.args[0], int):
        return error.args[0]
    return None
