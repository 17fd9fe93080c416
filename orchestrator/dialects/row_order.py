"""Row order: several columns compared as one value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement


def whole(row: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
    """The row as one value; a single column is itself one."""
    return row[0] if len(row) == 1 else sa.tuple_(*row)
