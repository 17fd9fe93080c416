"""The known name that is nearest to a mistyped one, as a sentence for a remedy."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant; None where none is near."""
    by_lower = {each.lower(): each for each in known}
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def meant(name: str, known: Iterable[str]) -> str:
    """`Did you mean ...?` where a known name is near, else the list of all of them."""
    names = tuple(known)
    found = nearest(name, names)
    return f"Did you mean {found}?" if found else f"Known are: {', '.join(names) or 'none'}."
