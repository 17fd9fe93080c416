"""Times: what a column would not keep of one, and its driver drops silently."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Table


def refuse_losses(
    table: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, keeps_offsets: bool = False
) -> None:
    """Raise `ValueError` for a date with a time of day in a column of dates, and for a time with an offset from UTC.

    With `keeps_offsets` the server knows columns that keep one: those that say so do, and those of no time at all are
    left to it. The rows end with values of these columns.

    An offset is not turned into UTC: what zone a column without one means, only its services know.
    """
    for at, name in enumerate(columns, start=-len(columns)):
        kind = table.c[name].type
        kind = getattr(kind, "data_type", kind)  # of a domain
        drops_time = isinstance(kind, sa.Date)
        drops_offset = not keeps_offsets or (isinstance(kind, sa.DateTime | sa.Time) and not kind.timezone)
        if not drops_time and not drops_offset:
            continue
        timed = [kind for kind in set(map(type, (row[at] for row in rows))) if issubclass(kind, datetime | time)]
        for value in (row[at] for row in rows if type(row[at]) in timed):
            if drops_time and isinstance(value, datetime) and value.time() != time():
                raise ValueError(f"column {name} would lose the time of day of {value.isoformat()}: return a date")
            if drops_offset and value.tzinfo is not None:
                raise ValueError(
                    f"column {name} would lose the offset of {value.isoformat()}: return it in the zone that the "
                    "column means, without one, as in value.astimezone(UTC).replace(tzinfo=None)"
                )
