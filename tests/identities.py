"""Who a daemon is, for tests: a name, a place, and the releases of our own tables that its version knows."""

from __future__ import annotations

from orchestrator.domain.daemons import OwnTree
from orchestrator.domain.releases import Release, Releases
from orchestrator.services.daemons import Identity


def own_releases(newest: int) -> Releases:
    """Releases 1 to that one; each but the first contracts."""
    return Releases(
        "own", tuple(Release(str(number), has_contract=number > 1) for number in range(1, newest + 1))
    )  # fmt: skip


def identity(name: str, *, knows: int = 1, host: str = "host", address: str = "", place: str | None = None) -> Identity:
    """A daemon that knows the own releases up to that one, on a host, at an address of its own unless one is given."""
    trees = {tree: own_releases(knows) for tree in OwnTree}
    return Identity(name, host, address or name, f"0.{knows}.0", trees, place)
