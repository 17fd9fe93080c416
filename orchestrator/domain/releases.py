"""Releases: the named, ordered points of a schema, and the order between them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from orchestrator.domain.errors import NotFound
from orchestrator.domain.ladder import InStepBy, Profile


@dataclass(frozen=True, slots=True)
class Link:
    """A data migration of a release as far as others of that release are concerned.

    `after` names those that are complete before it begins; None stands for all that the manifest has before it. No
    `table`: it is not known, nor what it reads and writes, as of a function of the service. `shares_table`: others that
    say so too may work on its table at the same time. `writes` are columns of its table, and `reads` columns with the
    table of each, without regard to capital letters; the column `*` stands for all of them.
    """

    name: str
    table: str | None = None
    after: tuple[str, ...] | None = None
    shares_table: bool = False
    reads: frozenset[tuple[str, str]] = frozenset()
    writes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Release:
    """One release as its manifest records it.

    `expand_head` and `contract_head` are revision ids of the migration tree, or None where the release changes
    nothing in that branch or brings its own tool. `data_migrations` are names, in the order in which they run unless
    their authors say otherwise.
    `old_shape` lists what this release stops using, as `table` or `table.column`. `reverse_data_migrations` make a
    stale old shape valid again, on the way back from write_new.
    """

    name: str
    expand_head: str | None = None
    contract_head: str | None = None
    data_migrations: tuple[str, ...] = ()
    in_step_by: InStepBy = InStepBy.CLIENT
    old_shape: tuple[str, ...] = ()
    fleets: tuple[str, ...] = ()
    has_contract: bool = False
    reverse_data_migrations: tuple[str, ...] = ()

    @property
    def profile(self) -> Profile:
        """What an upgrade to this release needs of the ladder."""
        return Profile(
            in_step_by=self.in_step_by,
            has_data_migrations=bool(self.data_migrations),
            has_contract=self.has_contract,
            seals=self.contract_head is not None and self.has_contract and bool(self.old_shape),
            reverses=bool(self.reverse_data_migrations),
        )

    @property
    def all_data_migrations(self) -> tuple[str, ...]:
        """Those that move rows into the new shape, and then those that move them back."""
        return self.data_migrations + self.reverse_data_migrations

    def recorded(self) -> str:
        """What an upgrade to this release depends on, as text that is kept with it."""
        return json.dumps(self._promises())

    def differences(self, recorded: str) -> tuple[str, ...]:
        """What is not any more as `recorded` has it, in words. What only one of the two knows is not compared."""
        before, now = json.loads(recorded), json.loads(self.recorded())
        return tuple(
            f"{name} was {_said(before[name])} and is {_said(now[name])}"
            for name in now
            if name in before and before[name] != now[name]
        )

    def _promises(self) -> dict[str, object]:
        return {
            "expand": self.expand_head,
            "contract": self.contract_head,
            "data_migrations": self.data_migrations,
            "reverse_data_migrations": self.reverse_data_migrations,
            "in_step_by": self.in_step_by.value,
            "old_shape": self.old_shape,
            "fleets": self.fleets,
            "has_contract": self.has_contract,
        }


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "empty"
    return "not there" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Releases:
    """All releases of one schema, oldest first."""

    schema: str
    ordered: tuple[Release, ...]

    def __getitem__(self, name: str) -> Release:
        """The release of that name. Raises `NotFound` (code `release_unknown`)."""
        for release in self.ordered:
            if release.name == name:
                return release
        known = ", ".join(release.name for release in self.ordered)
        raise NotFound(
            "release_unknown",
            f"the manifest of {self.schema} has no release {name!r}",
            remedy=f"It lists: {known}. The daemon reads it when it starts: restart it after a change.",
            schema=self.schema,
            release=name,
        )

    def __contains__(self, name: str) -> bool:
        return any(release.name == name for release in self.ordered)

    def index(self, name: str) -> int:
        """The position of a release, oldest 0. Raises `NotFound`."""
        return self.ordered.index(self[name])

    def beside(self, data_migration: str) -> tuple[str, ...]:
        """The data migrations that move rows in the same direction for the same release, itself among them.

        In the manifest's order; none where no release has it.
        """
        lists = (names for each in self.ordered for names in (each.data_migrations, each.reverse_data_migrations))
        return next((names for names in lists if data_migration in names), ())

    def after(self, name: str) -> Release | None:
        """The release that follows, or None at the newest."""
        following = self.index(name) + 1
        return self.ordered[following] if following < len(self.ordered) else None
