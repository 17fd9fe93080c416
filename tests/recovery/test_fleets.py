"""Fleets that are silent, wrongly reported, or gone without a word; and upgrades that a person holds up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from orchestrator.demo.example import SCHEMA
from tests.daemon.daemons import until
from tests.recovery.entries import Entry, mends
from tests.recovery.place import END_OTHERS, Place, execute


@mends("Nothing was ever reported of a fleet")
def test_silent_fleet(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs("inventory-api").work()
    entry.assert_shown(place.status())
    place.type(entry)
    assert place.goes_on()


@mends("A fleet was reported with the wrong release")
def test_wrong_report(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs("inventory-api")
    place.orchestrator("fleet", "report", SCHEMA, "inventory-worker", "--release", "1", "--instances", "3")
    place.work()
    entry.assert_shown(place.status())
    place.type(entry)
    assert place.goes_on()


@mends("An instance vanished")
def test_instance_that_vanished(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs("inventory-worker")
    newcomer = {"id": "api-1", "nonce": "n" * 32, "release": "1", "host": "host-1"}
    place.ask("POST", f"/v1/schemas/{SCHEMA}/fleets/inventory-api/instances", newcomer)
    place.in_state("UPDATE instances SET expires_at = expires_at - 300")  # five minutes go by
    place.work()
    entry.assert_shown(place.status())
    place.type(entry)
    assert place.goes_on()


@mends("An instance vanished whose sessions can be told")
def test_tagged_instance_that_vanished(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs("inventory-worker")
    join_tagged(place)
    place.work()
    entry.assert_shown(place.status())
    place.type(entry)
    assert place.goes_on()


@pytest.mark.xdist_group("postgresql_roles")
@mends("Sessions of an evicted instance stay")
def test_sessions_that_stay(server_place: Place, postgresql_roles: tuple[str, str], entry: Entry) -> None:
    owner, service = postgresql_roles
    superuser = sa.make_url(server_place.site.databases["main"])
    server_place.site.databases["main"] = superuser.set(username=owner).render_as_string(hide_password=False)
    server_place.open().begin().nobody_runs("inventory-worker")
    tag = join_tagged(server_place)
    name = {"application_name": f"orchestrator:{tag}"[:63]}
    engine = sa.create_engine(superuser.set(username=service).update_query_dict(name))
    with engine.connect() as session:
        session.execute(sa.text("SELECT 1"))
        server_place.orchestrator("instance", "evict", SCHEMA, "inventory-api", "api-1", "--reason", "silent")
        server_place.work()
        entry.assert_shown(server_place.status())
        execute(superuser.render_as_string(hide_password=False), *entry.statements())
        assert server_place.goes_on()
        session.invalidate()
    engine.dispose()


@pytest.mark.xdist_group("postgresql_roles")
@mends("Somebody is connected under the old release's role")
def test_role_in_use(server_place: Place, postgresql_roles: tuple[str, str], entry: Entry) -> None:
    _, service = postgresql_roles
    server_place.site.more[f"schema:{SCHEMA}"] = {"roles": f"{service}: 1"}
    engine = sa.create_engine(sa.make_url(server_place.site.databases["main"]).set(username=service))
    with engine.connect() as session:
        session.execute(sa.text("SELECT 1"))
        server_place.open().begin().nobody_runs().work()
        entry.assert_shown(server_place.status())
        session.invalidate()
    engine.dispose()
    until(server_place.goes_on, "its session has ended")


@pytest.mark.xdist_group("postgresql_roles")
@mends("A role cannot be locked")
def test_role_that_cannot_be_locked(server_place: Place, postgresql_roles: tuple[str, str], entry: Entry) -> None:
    owner, service = postgresql_roles
    superuser = sa.make_url(server_place.site.databases["main"])
    server_place.site.databases["main"] = superuser.set(username=owner).render_as_string(hide_password=False)
    server_place.site.more[f"schema:{SCHEMA}"] = {"roles": f"{service}: 1"}
    server_place.open().begin().nobody_runs().work()
    entry.assert_shown(server_place.status())
    execute(superuser.render_as_string(hide_password=False), *entry.statements())
    assert server_place.goes_on()


def join_tagged(place: Place) -> str:
    """A process joins and says that its sessions can be told; five minutes go by. Its tag."""
    newcomer = {"id": "api-1", "nonce": "n" * 32, "release": "1", "host": "host-1", "sessions": "tagged"}
    epoch = place.ask("POST", f"/v1/schemas/{SCHEMA}/fleets/inventory-api/instances", newcomer)["epoch"]
    place.in_state("UPDATE instances SET expires_at = expires_at - 300")
    return hashlib.sha256(epoch.encode()).hexdigest()


@pytest.fixture
def postgresql_roles(server_place: Place) -> Iterator[tuple[str, str]]:
    """The role that owns the database, and one of a service: neither may do anything to the other's sessions."""
    roles = ("inventory_owner", "inventory_service")
    url = server_place.site.databases["main"]
    name = sa.make_url(url).database
    for role in roles:
        execute(url, f"CREATE ROLE {role} LOGIN")
    execute(url, f"ALTER DATABASE {name} OWNER TO {roles[0]}", f"ALTER SCHEMA public OWNER TO {roles[0]}")
    yield roles
    server_place.close()
    execute(url, END_OTHERS)
    execute(url, f"ALTER DATABASE {name} OWNER TO postgres", f"REASSIGN OWNED BY {roles[0]} TO postgres")
    for role in roles:
        execute(url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@mends("Somebody paused the upgrade")
def test_paused_upgrade(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs()
    place.orchestrator("upgrade", "pause", SCHEMA, "--reason", "disk full on cell02")
    place.work()
    entry.assert_shown(place.status())
    place.type(entry)
    assert place.goes_on()


@mends("Processes of the old release still run", "Processes have not drained yet")
def test_processes_that_are_not_there_yet(place: Place, entries: tuple[Entry, ...]) -> None:
    still_run, not_drained = entries
    place.begun().nobody_runs("inventory-worker")
    instances = f"/v1/schemas/{SCHEMA}/fleets/inventory-api/instances"

    def joined(name: str, release: str) -> dict[str, str]:
        newcomer = {"id": name, "nonce": "n" * 32, "release": release, "host": "host-1"}
        return {"Lease-Epoch": place.ask("POST", instances, newcomer)["epoch"]}

    old = joined("api-1", "1")
    place.work()
    still_run.assert_shown(place.status())
    new = joined("api-2", "2")
    place.ask("DELETE", f"{instances}/api-1/lease", headers=old)
    place.work_until("backfill").turn()
    not_drained.assert_shown(place.status())
    standing = place.ask("PUT", f"{instances}/api-2/lease", {"ack": None}, headers=new)["standing"]
    place.ask("PUT", f"{instances}/api-2/lease", {"ack": standing["publication"]}, headers=new)
    assert place.goes_on()


@mends("A fleet that needs leases was reported")
def test_report_of_what_needs_leases(place: Place, entry: Entry) -> None:
    place.open().orchestrator("schema", "init", SCHEMA, "--release", "1")
    place.nobody_runs("inventory-api")
    place.orchestrator("fleet", "report", SCHEMA, "inventory-worker", "--release", "2", "--instances", "3", code=3)
    place.orchestrator("upgrade", "begin", SCHEMA, "--release", "2")
    place.work()
    entry.assert_shown(place.status())
    place.type(entry)
    assert place.goes_on()


@mends("The upgrade waits for an approval", "The upgrade waits for its soak time", "There is no way back")
def test_upgrade_that_waits_for_the_policy(place: Place, entries: tuple[Entry, ...]) -> None:
    approval, soaking, no_way_back = entries
    place.site.more["policy"] = {"soak_seconds": 3600}
    place.without_a_way_back().open().begin().nobody_runs().work()
    approval.assert_shown(place.status())
    refused = place.orchestrator("upgrade", "cancel", SCHEMA, "--reason", "test", code=4)
    place.type(approval)
    place.work()
    soaking.assert_shown(place.status())
    place.execute("CREATE VIEW names AS SELECT name FROM customers")  # so contract fails
    place.type(soaking)
    place.work()
    refused += place.orchestrator("upgrade", "cancel", SCHEMA, "--reason", "test", code=4)
    place.execute("DROP VIEW names")
    place.orchestrator("upgrade", "retry", SCHEMA)
    place.work()
    refused += place.orchestrator("upgrade", "rollback", SCHEMA, "--to", "base", "--reason", "test", code=4)
    no_way_back.assert_shown(refused)
