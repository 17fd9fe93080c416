"""Signatures: by which a daemon knows again what a daemon told, when an instance says that it was told that."""

from __future__ import annotations

import hmac
import json

from orchestrator.domain.ladder import Phase

LENGTH = 32
"""In hexadecimal digits: 128 bits, as many as guessing would take."""


def signature(secret: str, schema: str, upgrade_id: int, publication: int, phase: Phase) -> str:
    """The signature of what is told to an instance: HMAC-SHA256 (RFC 2104), cut to `LENGTH`."""
    told = json.dumps([schema, upgrade_id, publication, phase.word]).encode()
    return hmac.digest(secret.encode(), told, "sha256").hex()[:LENGTH]


def is_signature(given: str, expected: str) -> bool:
    """Whether it is the right one. Takes as long whatever is given."""
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())
