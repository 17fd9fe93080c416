"""Killed anywhere: an upgrade goes on to its right end while daemons and services are killed at random moments."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon.daemons import Site
from tests.kill.upgrade import SHORT, WHOLE, KilledUpgrade

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site whose daemons are killed at the end, if they still run."""
    site = Site(tmp_path)
    site.is_prepared = False  # the first start is killed too
    yield site
    site.close()


@pytest.mark.kill
@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mysql"])
def test_upgrade_under_thirty_kills(site: Site, kind: str, request: pytest.FixtureRequest) -> None:
    create: Callable[[], str] = request.getfixturevalue(f"new_{kind}_url")
    site.state_url, site.databases = create(), {"main": create()}
    print(f"\n{kind}: seed {SEED}; to repeat: SEED={SEED} make test-kill ARGS='-k {kind}'")
    assert WHOLE.kills == 30
    print(KilledUpgrade(site, SEED, WHOLE).run())


def test_upgrade_under_a_few_kills(site: Site) -> None:
    print(f"seed {SEED}; to repeat: SEED={SEED}")
    print(KilledUpgrade(site, SEED, SHORT).run())
