"""Our own tables: two trees in the state database, one in each managed database. Expanded at once, contracted later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

from orchestrator.daemon.refusals import explained
from orchestrator.dialects import Database
from orchestrator.domain.daemons import OwnTree
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.releases import Releases
from orchestrator.resources import state_migrations_directory
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from orchestrator.schema_migrations.own_tables import begin, bookkeeping_driver, bring_to_newest

STATE_SCHEMA = "orchestrator_state"
STATE_VERSION_TABLE = "orchestrator_state_version"

MayContract = Callable[[OwnTree, str], bool]


@cache
def _state_driver(directory: Path) -> AlembicDriver:
    """Read once: the files travel with the program."""
    return AlembicDriver(directory, schema=STATE_SCHEMA, version_table=STATE_VERSION_TABLE)


class OwnTables:
    """Our tables in the state database, and in the managed ones. Reads our trees when it is made; connects later."""

    def __init__(self, state: Database) -> None:
        self._state = state
        self._drivers = {
            OwnTree.BOOKKEEPING: bookkeeping_driver(),  # first: it holds the journal of the other one
            OwnTree.STATE: _state_driver(state_migrations_directory()),
        }
        self._contracted: set[tuple[OwnTree, str]] = set()

    @property
    def releases(self) -> Mapping[OwnTree, Releases]:
        """What this version knows of each tree."""
        return {tree: driver.releases for tree, driver in self._drivers.items()}

    def open_door(self) -> None:
        """Make the state database's tables of the first release, with which daemons register. Raises `Never`."""
        with explained(self._state):
            for driver in self._drivers.values():
                begin(driver, self._state)

    def bring_forward(self, may_contract: MayContract) -> None:
        """Take the state database's tables as far as they may be taken now. Raises `Never`, `NotYet`, `Unavailable`."""
        for tree in self._drivers:
            self._bring(tree, self._state, may_contract)

    def contract(self, managed: Iterable[Database], may_contract: MayContract) -> None:
        """Take all tables that are not at their end yet as far as they may be; a database that is away waits.

        What it has seen at its end it does not look at again.
        """
        places = (
            *((tree, self._state) for tree in self._drivers),
            *((OwnTree.BOOKKEEPING, database) for database in managed),
        )
        for tree, database in places:
            has_contract = any(release.has_contract for release in self.releases[tree].ordered)
            if not has_contract or (tree, database.place) in self._contracted:
                continue
            try:
                self._bring(tree, database, may_contract)
            except Unavailable:
                continue  # it is said elsewhere, and tried again

    def _bring(self, tree: OwnTree, database: Database, may_contract: MayContract) -> None:
        with explained(database):
            waits_for = bring_to_newest(
                self._drivers[tree], database, may_contract=lambda release: may_contract(tree, release)
            )
        if waits_for is None:
            self._contracted.add((tree, database.place))
