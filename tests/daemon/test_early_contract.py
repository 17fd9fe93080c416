"""Contracting too early: refused, whoever approved it, until every row, instance and fleet is accounted for."""

from __future__ import annotations

import sqlalchemy as sa

from orchestrator.client import Member
from orchestrator.demo.example import SCHEMA
from tests.daemon.daemons import Daemon, Site, until
from tests.daemon.inventory import API, WORKER, Stock, assert_migrated, stocks

ROWS = 100

SPOIL = {
    # Somebody's forgotten trigger: it takes the last name of one row away, as often as it is written.
    "sqlite": (
        "CREATE TRIGGER spoil AFTER UPDATE OF last_name ON customers WHEN NEW.id = 7 AND NEW.last_name IS NOT NULL "
        "BEGIN UPDATE customers SET last_name = NULL WHERE id = 7; END",
    ),
    "postgresql": (
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.id = 7 THEN NEW.last_name := NULL; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER spoil BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION spoil()",
    ),
}
MEND = {"sqlite": "DROP TRIGGER spoil", "postgresql": "DROP TRIGGER spoil ON customers"}


def plan(daemon: Daemon) -> str:
    """The plan, as a person reads it: the exit code says that the next move may not happen yet."""
    return daemon.orchestrator("upgrade", "plan", SCHEMA, code=3)


def assert_not_contracted(stock: Stock) -> None:
    assert "name" in stock.columns("customers")
    assert "status" in stock.columns("items")


def let_lease_run_out(site: Site, instance_id: str | None) -> None:
    """Turn the instance's clock forward, in the state database."""
    engine = sa.create_engine(site.state_url)
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE instances SET expires_at = expires_at - 1000 WHERE id = :id"), {"id": instance_id}
        )
    engine.dispose()


def test_contract_waits_for_every_row_instance_and_fleet_and_plan_names_them(any_site: Site) -> None:
    site, daemon = any_site, any_site.ready()
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
    with stocks(site.databases["main"]) as (stock,):
        stock.fill(2 * ROWS)
        daemon.orchestrator("upgrade", "begin", SCHEMA, "--release", "2")
        daemon.orchestrator("upgrade", "approve", SCHEMA, "--phase", "contracted", "--reason", "cannot wait")
        assert_unknown_fleets_are_named(daemon)
        assert_stale_instance_is_named(site, daemon)
        kind = stock.engine.dialect.name
        stock.execute(*SPOIL[kind])
        daemon.orchestrator("fleet", "report", SCHEMA, WORKER, "--release", "1", "--instances", "0")
        assert_unmigrated_row_is_named(daemon)
        assert_not_contracted(stock)
        stock.execute(MEND[kind])
        daemon.orchestrator("data-migration", "retry", SCHEMA, "split_name")
        daemon.until_status("completed")  # the approval counts as soon as it is the last thing that was missing
        assert_migrated(stock)


def assert_unknown_fleets_are_named(daemon: Daemon) -> None:
    """Nothing was ever reported of either fleet: silence is not nobody."""
    daemon.until_blocked("fleet_unknown")
    said = plan(daemon)
    for fleet in (API, WORKER):
        assert f"nothing was ever reported of fleet {fleet}" in said
        assert f"orchestrator fleet report {SCHEMA} {fleet} --release 1 --instances N" in said
    assert daemon.upgrade()["phase"] == "base"


def assert_stale_instance_is_named(site: Site, daemon: Daemon) -> None:
    """An instance that stopped renewing stays in the way until somebody vouches for its end."""
    member = Member(daemon.url, schema=SCHEMA, fleet=API, release="1", host="cell07")
    member.join(in_background=False)
    let_lease_run_out(site, member.instance_id)
    daemon.orchestrator("fleet", "report", SCHEMA, WORKER, "--release", "1", "--instances", "0")
    daemon.until_phase("expanded")
    until(lambda: "instance_expired" in codes(daemon), "the instance expires", also=daemon.account)
    said = plan(daemon)
    command = f"orchestrator instance evict {SCHEMA} {API} {member.instance_id}"
    assert f"1 instance of {API} with release 1 stopped renewing" in said
    assert f"{member.instance_id} on cell07" in said
    assert f"{command} --attest-dead --reason" in said
    words = command.split()[1:]
    assert "--attest-dead" in daemon.orchestrator(*words, "--reason", "it was stopped", code=1)
    assert "reason" in daemon.orchestrator(*words, "--attest-dead", code=2)
    path = f"/v1/schemas/{SCHEMA}/fleets/{API}/instances/{member.instance_id}/evict"
    refused = daemon.ask("POST", path, {"reason": "it was stopped", "attest_dead": False})
    assert (refused.status, refused.body["code"]) == (422, "attestation_required")
    assert [each["code"] for each in daemon.upgrade()["blockers"]] == ["instance_expired"]
    daemon.orchestrator(*words, "--attest-dead", "--reason", "its machine is gone")
    evicted = [each for each in daemon.ask("GET", "/v1/events").body["events"] if each["action"] == "instance.evict"]
    assert [each["reason"] for each in evicted] == ["its machine is gone"]


def assert_unmigrated_row_is_named(daemon: Daemon) -> None:
    """One row that does not hold the new shape is found by comparison, whatever the counters say."""
    until(lambda: "data_migration_failed" in codes(daemon), "the comparison fails", also=daemon.account)
    said = plan(daemon)
    assert f"1 of {ROWS} rows of customers do not hold" in said
    assert "id = 7" in said or "7" in said.partition("the first:")[2]
    assert f"orchestrator data-migration retry {SCHEMA} split_name" in said
    assert daemon.upgrade()["phase"] == "backfill"


def codes(daemon: Daemon) -> set[str]:
    """The codes of what stands in the way."""
    return {each["code"] for each in daemon.upgrade()["blockers"]}
