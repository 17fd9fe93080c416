"""A query of the operator's: one number, which is compared with a limit, or without a limit a yes or no."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from orchestrator.dialects import Database
from orchestrator.domain.errors import Invalid
from orchestrator.throttles import Sample
from orchestrator.throttles.asking import asking

_MEND = "Mend what its query reads; or the query, and restart the daemon."

_TRUTHS = {"true": True, "t": True, "yes": True, "1": True, "false": False, "f": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class SqlQuery:
    """Implements `orchestrator.throttles.Signal`. `is_question`: it answers yes (rows may move) or no."""

    name: str
    database: Database
    query: str
    is_question: bool
    timeout_seconds: float
    unit: str = ""

    def read(self) -> tuple[Sample, ...]:
        """Runs the query alone, in a transaction that can write nothing, under a timeout."""
        with asking(self.database, self.timeout_seconds, _MEND) as connection:
            answer = connection.exec_driver_sql(self.query, execution_options={"no_parameters": True})
            rows = answer.fetchmany(2)
        if len(rows) != 1 or len(rows[0]) != 1:
            shape = "no row" if not rows else "several rows" if len(rows) > 1 else f"{len(rows[0])} columns"
            raise _unclear(f"its query returns {shape}, and not one value")
        value = rows[0][0]
        if self.is_question:
            return (Sample(objection=None if _truth(value) else "says no"),)
        return (Sample(_number(value)),)


def _number(value: Any) -> float:
    try:
        return float(Decimal(value.decode() if isinstance(value, bytes) else str(value)))
    except (InvalidOperation, UnicodeDecodeError) as error:
        raise _unclear(f"its query returns {_shown(value)}, which is no number") from error


def _truth(value: Any) -> bool:
    if isinstance(value, bytes) and len(value) == 1 and value in (b"\0", b"\1"):
        return value == b"\1"
    found = _TRUTHS.get(str(value).strip().lower())
    if found is None:
        raise _unclear(f"its query returns {_shown(value)}, neither true nor false")
    return found


def _shown(value: Any) -> str:
    return "NULL" if value is None else repr(value)[:100]


def _unclear(why: str) -> Invalid:
    return Invalid("signal_unreadable", why, remedy=_MEND)
