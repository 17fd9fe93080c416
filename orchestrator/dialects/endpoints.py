"""Endpoints: an address may lead to a database in which nothing can be written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """Why nothing can be written there, and what to do about it."""

    why: str
    remedy: str = "Let its URL name the server that takes writes; it is tried again by itself."
