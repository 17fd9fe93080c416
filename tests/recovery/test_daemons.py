"""Daemons of two versions: what a dead old one keeps from going on, and an old one that comes too late."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.cli.exits import Exit
from orchestrator.cli.failures import sentences
from orchestrator.domain.errors import Never, NotYet
from orchestrator.resources import state_migrations_directory
from tests.daemon.next_version import add_release
from tests.recovery.entries import Entry, mends
from tests.recovery.place import Place

OLDER = (
    "INSERT INTO daemons (id, host, address, version, state_release, bookkeeping_release, state,"
    " started_at, renewed_at, expires_at) VALUES"
    " ('control-2:8123:1f0c77aa', 'control-2', '0.0.0.0:8776', '0.1.0', '1', '1', 'alive', 1, 1, 11)"
)


def upgrade_ourselves(place: Place, patch: pytest.MonkeyPatch, directory: Path, *, skipping: bool = False) -> None:
    """Restart it as a version that knows one more release of the state tables; or two, so that one was skipped."""
    tree = directory / "next"
    shutil.copytree(state_migrations_directory(), tree)
    add_release(
        tree,
        "state",
        'op.add_column("schemas", sa.Column("joins", sa.BigInteger(), server_default="0", nullable=False))',
        'op.drop_index("ix_events_schema_id", "events")',
    )
    if skipping:
        with (tree / "releases.toml").open("a") as manifest:
            manifest.write('\n[[release]]\nname = "later"\nexpand = "state_next"\n')
    patch.setattr("orchestrator.daemon.own_tables.state_migrations_directory", lambda: tree)
    place.reopen()


@mends("A daemon of an older version was killed")
def test_older_daemon_that_was_killed(
    place: Place, entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place.open().in_state(OLDER)
    upgrade_ourselves(place, monkeypatch, tmp_path)
    assert place.services.contract_own_tables()
    entry.assert_shown(place.status())
    place.type(entry)
    assert not place.services.contract_own_tables()
    assert not entry.is_shown(place.status())
    assert not place.in_state("SELECT name FROM sqlite_master WHERE name = 'ix_events_schema_id'")
    place.close()


@mends("A daemon is too old to start")
def test_daemon_that_is_too_old(place: Place, entry: Entry, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        place.open()
        upgrade_ourselves(place, patch, tmp_path)
    place.close()
    late = place.site.start()
    assert late.ended() == Exit.NEVER
    entry.assert_shown(place.hear(late.log))


@mends("A version of the orchestrator was skipped")
def test_version_that_was_skipped(place: Place, entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place.open().in_state(OLDER)
    with pytest.MonkeyPatch.context() as patch:
        with pytest.raises(NotYet) as refusal:
            upgrade_ourselves(place, patch, tmp_path, skipping=True)
        entry.assert_shown(place.hear("\n".join(sentences(refusal.value))))
    place.open().type(entry)
    upgrade_ourselves(place, monkeypatch, tmp_path / "again", skipping=True)
    assert not place.in_state("SELECT name FROM sqlite_master WHERE name = 'ix_events_schema_id'")


@mends("A daemon that was counted out is alive")
def test_daemon_that_was_counted_out(place: Place, entry: Entry) -> None:
    place.open()
    place.orchestrator("daemon", "evict", place.services.daemons.me.id, "--attest-dead", "--reason", "host is gone")
    with pytest.raises(Never) as refusal:
        place.services.daemons.renew()
    entry.assert_shown(place.hear(str(refusal.value)))


@mends("A daemon does not start")
def test_daemon_that_does_not_start(place: Place, entry: Entry) -> None:
    place.site.more["policy"] = {"soak_second": 3600}
    wrong = place.site.configure()
    entry.assert_shown(place.orchestrator("config", "check", "--config-file", str(wrong), code=1))
    place.site.more.clear()
    place.orchestrator(*entry.commands()[0].split()[1:3], "--config-file", str(place.site.configure()))
