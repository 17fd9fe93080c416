"""Offsets from UTC, which no column of MariaDB, MySQL or SQLite keeps, and their drivers drop silently."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time
from typing import Any


def refuse_offsets(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Raise `ValueError` for a time of day, or of a date, with an offset. The rows end with values of these columns.

    It is not turned into UTC: what zone a column without one means, only its services know.
    """
    for at, name in enumerate(columns, start=-len(columns)):
        timed = [kind for kind in set(map(type, (row[at] for row in rows))) if issubclass(kind, datetime | time)]
        for value in (row[at] for row in rows if type(row[at]) in timed):
            if value.tzinfo is not None:
                raise ValueError(
                    f"column {name} would lose the offset of {value.isoformat()}: return it in the zone that the "
                    "column means, without one, as in value.astimezone(UTC).replace(tzinfo=None)"
                )
