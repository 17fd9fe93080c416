"""Holders of locks: other people's sessions that keep ours waiting, in words that tell nothing private."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.domain.visible import visible

STATEMENT_LENGTH = 100
RUNNING = "running a statement"

_PRIVATE = re.compile(
    r"""
      /\*.*?(?:\*/|\Z)  |  --[^\n]*  |  \#[^\n]*              # comments, as long as they go
    | \$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)                  # $$text$$
    | '(?:[^'\\]|''|\\.)*(?:'|\Z)                             # 'text', also one that was cut off
    | (?P<quoted>"(?:[^"\\]|""|\\.)*(?:"|\Z))                 # text on one kind of server, a name on the others
    | (?<![\w$.`"])[-+]?(?:0x[0-9a-f]+|\d[\d.]*(?:e[-+]?\d+)?)(?![\w$`"])
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Holder:
    """A session that holds what ours waits for. `sentence` is one line for people, `end` the command that ends it.

    `idle_seconds` is for how long it has done nothing in an open transaction, None while it works. `is_own` where it is
    an orchestrator's, as far as can be told; `certain` where the server says that it is in the way, and not only that
    it might be. `hint` says what would let the server tell more.
    """

    session: int
    sentence: str
    end: str
    idle_seconds: float | None = None
    is_own: bool = False
    certain: bool = True
    hint: str = ""


def describe(
    session: object,
    *,
    user: str | None,
    host: str | None,
    state: str,
    state_seconds: float | None,
    application: str | None = None,
    transaction_seconds: float | None = None,
    tables: str | None = None,
    statement: str | None = None,
) -> str:
    """`session 812 idle in transaction for 41 min (user nova from 10.0.0.7; holds instances; last statement: ...)`."""
    said = f"session {session} {state}"
    if state_seconds is not None:
        said += f" for {lasting(state_seconds)}"
    details = [f"user {user or 'unknown'} from {host or 'this host'}"]
    if application:
        details[0] += f", {_one_line(application)[:STATEMENT_LENGTH]}"
    if transaction_seconds is not None:
        details.append(f"its transaction began {lasting(transaction_seconds)} ago")
    if tables:
        details.append(f"holds {tables}")
    if statement:
        details.append(f"{'statement' if state == RUNNING else 'last statement'}: {statement}")
    return f"{said} ({'; '.join(details)})"


def lasting(seconds: float) -> str:
    """A length of time for people, in one unit."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    if whole < 90 * 60:
        return f"{round(whole / 60)} min"
    return f"{round(whole / 3600)} h"


def shortened(statement: str | None, *, quoted_is_text: bool) -> str | None:
    """The statement as people may see it: on one line, without its values and comments, not too long.

    `quoted_is_text` where double quotes hold text and not a name.
    """
    if not statement or not statement.strip():
        return None

    def hide(found: re.Match[str]) -> str:
        whole = found.group()
        if found["quoted"] is not None:
            return "?" if quoted_is_text else whole
        return " " if whole.startswith(("/*", "--", "#")) and not whole[1:2].isdigit() else "?"

    line = _one_line(_PRIVATE.sub(hide, statement))
    return line if len(line) <= STATEMENT_LENGTH else f"{line[:STATEMENT_LENGTH].rstrip()} ..."


def _one_line(words: str) -> str:
    return visible(" ".join(words.split()))
