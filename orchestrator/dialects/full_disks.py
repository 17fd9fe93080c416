"""Full disks: how the error of a database that has no room left is recognised."""

from __future__ import annotations

import shutil
import sqlite3

from orchestrator.dialects.driver_errors import layers

_SQLITE_CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_PRIMARY_CODE = 0xFF
_SQLSTATE = "53100"
_MYSQL_NUMBERS = (1021, 28)
"""ER_DISK_FULL, and the number of the system's own error (ENOSPC)."""


def says_full(error: BaseException) -> bool:
    """Whether a database says so. SQLite may mean another failure of the disk."""
    return any(_is_full(layer) for layer in layers(error))


def _is_full(layer: BaseException) -> bool:
    if isinstance(layer, sqlite3.Error):
        return getattr(layer, "sqlite_errorcode", 0) & _PRIMARY_CODE in _SQLITE_CODES
    if type(layer).__module__ == "pymysql.err":
        return bool(layer.args) and layer.args[0] in _MYSQL_NUMBERS
    return getattr(layer, "sqlstate", None) == _SQLSTATE


def free_bytes(directory: str) -> int | None:
    """How much may still be written there; None where that cannot be told."""
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return None
