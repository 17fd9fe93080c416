"""Removals: the old shape was taken away by hand while an upgrade still needs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Removal:
    """What is known of it in one database.

    `revisions` are the contract revisions in its version table that were not run from here, `things` what the catalog
    lacks of the old shape, `statements` what puts the version table back.
    """

    revisions: tuple[str, ...]
    things: tuple[str, ...]
    statements: tuple[str, ...] = ()

    def told(self, database: str, release: str) -> str:
        """The sentence for people. `release` is the one that uses the old shape."""
        things, be = listed(self.things), "are" if len(self.things) > 1 else "is"
        if not self.revisions:
            return (
                f"database {database} has no {things} any more, which release {release} uses: somebody removed "
                f"{'them' if len(self.things) > 1 else 'it'} by hand"
            )
        gone = f"; {things} {be} gone" if things else ""
        several = "s" if len(self.revisions) > 1 else ""
        were = "were" if several else "was"
        return (
            f"database {database} has contract revision{several} {listed(self.revisions)} in its version table, which "
            f"{were} not run from here: somebody contracted it by hand{gone}"
        )

    def remedy(self, database: str) -> str:
        """What to do about it."""
        back = f"Put {listed(self.things)} back there with the values, from a backup or by hand." if self.things else ""
        table = f"Type in {database}: {' '.join(self.statements)}" if self.statements else ""
        return " ".join(part for part in (back, table, "Then it goes on by itself.") if part)


def listed(names: tuple[str, ...]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
