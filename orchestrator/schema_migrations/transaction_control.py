"""Transaction control: what a revision may not say of its transaction, which is the runner's. Pure decisions.

The intent, the lock timeouts and the mark of a revision hold as long as its transaction is the one that was begun for
it. Where statements commit by themselves, rows wait in a transaction of the journal for the mark that they commit with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import sqlglot
from sqlglot import TokenType
from sqlglot.errors import SqlglotError

from orchestrator.domain.errors import MigrationRefused
from orchestrator.schema_migrations.places import Place, refused

_COMMENTS = re.compile(r"--[^\n]*(?:\n|$)|#[^\n]*(?:\n|$)|/\*(?!M?!).*?\*/|/\*M?!\d*|\*/", re.DOTALL)
"""Those of MariaDB and MySQL that the server carries out lose their brackets only."""

_HEAD_CHARACTERS = 4000
_TOLD_CHARACTERS = 100

_ENDS = re.compile(
    r"COMMIT\b|END\b|ABORT\b|BEGIN\b|START\s+TRANSACTION\b|PREPARE\s+TRANSACTION\b|XA\b"
    r"|ROLLBACK\b(?!\s+(?:(?:WORK|TRANSACTION)\s+)?TO\b)"
    r"|SET\b.*?[\s,.@]AUTOCOMMIT\s*:?=",
    re.IGNORECASE | re.DOTALL,
)
_SAVES = re.compile(r"SAVEPOINT\b|RELEASE\b|ROLLBACK\b", re.IGNORECASE)
_LOCKS = re.compile(r"(?:UN)?LOCK\b|FLUSH\b.*\bTABLES?\b.*\b(?:LOCK|EXPORT)\b", re.IGNORECASE | re.DOTALL)
_ATOMIC = re.compile(r"\bBEGIN\s+ATOMIC\b", re.IGNORECASE)

_LEAVE_IT_OUT = (
    "Leave it out: what the revision does is committed together with its mark, or statement by statement, each on "
    "record. What cannot run in a transaction goes into `with op.get_context().autocommit_block():`."
)
_NO_SAVEPOINT = "Leave it out, and SELECT before you write instead of undoing what was written."
_NO_LOCK = "Leave it out: every statement takes its own locks, under a short timeout."


def refusal(
    revision: str, place: Place, text: str, *, alone: bool, several: bool = False, **fields: object
) -> MigrationRefused | None:
    """Why this text must not be sent; None where it may. `alone`: statements commit by themselves just now.

    `several`: the driver takes several statements in one text, as PostgreSQL's does.
    """
    for statement in _statements(text) if several else (text,):
        head = _COMMENTS.sub(" ", statement[:_HEAD_CHARACTERS]).lstrip(" \t\r\n(")
        if _ENDS.match(head):
            return ends(revision, place, statement, **fields)
        if alone and _SAVES.match(head):
            what = "there is no transaction that it could be part of, since statements commit by themselves there"
            return _refused(revision, place, statement, what, _NO_SAVEPOINT, **fields)
        if alone and _LOCKS.match(head):
            what = "locks of that kind end with the next statement, which is committed by itself, or stop it"
            return _refused(revision, place, statement, what, _NO_LOCK, **fields)
    return None


def ends(revision: str, place: Place, statement: str, **fields: object) -> MigrationRefused:
    """The refusal of what ends the transaction, or begins another one."""
    what = "what it has done by then would stand without being on record, and be done twice after a crash"
    return _refused(revision, place, statement, what, _LEAVE_IT_OUT, **fields)


def _refused(revision: str, place: Place, statement: str, what: str, remedy: str, **fields: object) -> MigrationRefused:
    words = " ".join(_COMMENTS.sub(" ", statement).split())[:_TOLD_CHARACTERS]
    sentence = f"revision {revision} is not to say {words}: {what}"
    return refused("transaction_control", place, sentence, remedy=remedy, revision=revision, **fields)


def _statements(text: str) -> Iterator[str]:
    if ";" not in text or _ATOMIC.search(text):
        yield text
        return
    start = 0
    try:
        for token in sqlglot.tokenize(text, read="postgres"):
            if token.token_type is TokenType.SEMICOLON:
                yield text[start : token.start]
                start = token.end + 1
    except SqlglotError:
        pass
    yield text[start:]
