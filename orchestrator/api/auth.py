"""Who may ask what: bearer tokens with a role each, kept as hashes in a file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from orchestrator.domain.errors import ConfigurationError, Forbidden, Invalid, Unauthenticated

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HASH = re.compile(r"[0-9a-fA-F]{64}")
_SCOPE = re.compile(r"[^\s/]+(/[^\s/]+)?")


class Role(IntEnum):
    """What a token may do. Each role may do what the ones before it may."""

    READER = 1  # look at everything
    SERVICE = 2  # join, renew, leave, wait for readiness
    DEPLOYER = 3  # begin upgrades, report fleets
    OPERATOR = 4  # everything

    @property
    def word(self) -> str:
        """The name used in the tokens file and in documents."""
        return self.name.lower()

    @classmethod
    def from_word(cls, word: str) -> Role:
        """The role of that name. Raises `Invalid` (code `role_unknown`) with the list of names."""
        for role in cls:
            if role.word == word:
                return role
        known = ", ".join(role.word for role in cls)
        raise Invalid("role_unknown", f"there is no role {word!r}", remedy=f"Roles are: {known}.")


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a token may change anything: in one schema, or in one fleet of it. Everybody may look everywhere."""

    schema: str
    fleet: str | None = None

    @classmethod
    def read(cls, word: str) -> Scope:
        """`SCHEMA` or `SCHEMA/FLEET`."""
        schema, _, fleet = word.partition("/")
        return cls(schema, fleet or None)

    def __str__(self) -> str:
        return self.schema if self.fleet is None else f"{self.schema}/{self.fleet}"

    def covers(self, schema: str | None, fleet: str | None) -> bool:
        """Whether what concerns that fleet of that schema, None for all of them, lies within it."""
        return schema == self.schema and self.fleet in (None, fleet)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks. The name is written to the audit log. `scope` None: everywhere."""

    name: str
    role: Role
    scope: Scope | None = None


LOCAL = Actor("local", Role.OPERATOR)
"""Everybody, where nobody is asked: then only this machine can ask."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made: `secret` is shown once, `line` is what the tokens file keeps."""

    secret: str
    line: str


@dataclass(frozen=True, slots=True)
class _Entry:
    actor: Actor
    digest: bytes


class Tokens:
    """The tokens of one file. Only their hashes are in memory, and a token is compared with all of them."""

    def __init__(self, entries: tuple[_Entry, ...]) -> None:
        self._entries = entries

    @classmethod
    def read(cls, path: Path) -> Tokens:
        """Read `NAME ROLE SHA256HEX [SCHEMA[/FLEET]]` per line; `#` begins a comment.

        Raises `ConfigurationError` with file and line.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                "tokens_file_unreadable",
                f"the tokens file {path} cannot be read: {getattr(error, 'strerror', None) or error}",
                remedy="Name a readable file in [api] tokens_file.",
                file=str(path),
            ) from error
        return cls.parse(text, place=str(path))

    @classmethod
    def parse(cls, text: str, *, place: str) -> Tokens:
        """The tokens of a file's text. No message repeats what a line holds: somebody may have put a token there."""
        entries: dict[str, _Entry] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            is_line = len(words) in (3, 4) and _NAME.fullmatch(words[0]) and _HASH.fullmatch(words[2])
            if not is_line or not all(map(_SCOPE.fullmatch, words[3:])):
                raise _bad_line(place, number, "is not NAME ROLE SHA256HEX, with SCHEMA or SCHEMA/FLEET after it")
            name, role, digest, *scope = words
            try:
                actor = Actor(name, Role.from_word(role), Scope.read(scope[0]) if scope else None)
            except Invalid as error:
                raise _bad_line(place, number, f"names an unknown role. {error.remedy}") from error
            if name in entries:
                raise _bad_line(place, number, f"names {name} a second time")
            entries[name] = _Entry(actor, bytes.fromhex(digest))
        if not entries:
            raise ConfigurationError(
                "tokens_file_empty",
                f"the tokens file {place} holds no token, so nobody could ask anything",
                remedy="`orchestrator token new` makes a token and the line to add.",
                file=place,
            )
        return cls(tuple(entries.values()))

    def find(self, secret: str) -> Actor | None:
        """Whose token it is, or None. Takes the same time wherever in the file it is, or whether at all."""
        digest = _digest(secret)
        found: Actor | None = None
        for entry in self._entries:
            if hmac.compare_digest(entry.digest, digest):
                found = entry.actor
        return found


def new_token(name: str, role: Role, scope: str = "") -> NewToken:
    """Make a random token of 256 bits, for everything or for `SCHEMA[/FLEET]`.

    Raises `Invalid` (codes `name_invalid`, `scope_invalid`).
    """
    if scope and not _SCOPE.fullmatch(scope):
        raise Invalid("scope_invalid", f"the scope {scope!r} is not usable", remedy="Write SCHEMA, or SCHEMA/FLEET.")
    if not _NAME.fullmatch(name):
        raise Invalid(
            "name_invalid", f"the token name {name!r} is not usable", remedy="Use 1 to 64 letters, digits and . _ -"
        )
    secret = secrets.token_urlsafe(32)
    return NewToken(secret, " ".join(filter(None, (name, role.word, _digest(secret).hex(), scope))))


def identify(tokens: Tokens | None, headers: Mapping[str, str]) -> Actor | None:
    """Who sent these headers, or None when they carry no token that is known.

    A tool that can only be told a URL sends the token as the password of that URL; the user's name is not looked at.
    """
    if tokens is None:
        return LOCAL
    scheme, _, sent = headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return tokens.find(sent.strip())
        case "basic":
            return tokens.find(_password(sent))
    return None


def require(actor: Actor | None, role: Role) -> Actor:
    """Refuse who is not known, or may do less than `role`. Raises `Unauthenticated`, `Forbidden`."""
    if actor is None:
        raise Unauthenticated(
            "token_required",
            "this needs a token, and none that is known was sent",
            remedy="Send the header `Authorization: Bearer TOKEN`.",
        )
    if actor.role < role:
        raise Forbidden(
            "role_insufficient",
            f"{actor.name} is a {actor.role.word}; this needs a {role.word}",
            remedy=f"Use a token with role {role.word}.",
        )
    return actor


def require_scope(actor: Actor, schema: str | None, fleet: str | None) -> None:
    """Refuse to change anything beyond the token's scope. Raises `Forbidden`."""
    if actor.scope is not None and not actor.scope.covers(schema, fleet):
        raise Forbidden(
            "scope_exceeded",
            f"the token of {actor.name} is for {actor.scope} only",
            remedy="Use a token without a scope, or with this one.",
        )


def _password(sent: str) -> str:
    try:
        return base64.b64decode(sent, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _bad_line(place: str, number: int, what: str) -> ConfigurationError:
    return ConfigurationError(
        "tokens_file_invalid",
        f"line {number} of {place} {what}",
        remedy="`orchestrator token new` makes such a line.",
        file=place,
        line=number,
    )
