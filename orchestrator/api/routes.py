"""All routes: who may ask what, where, and what is answered. The OpenAPI document and the reference come from here."""

from __future__ import annotations

from orchestrator.api import (
    daemons,
    dashboard,
    data_migrations,
    databases,
    events,
    fleets,
    gates,
    health,
    instances,
    inventories,
    leases,
    live,
    metrics,
    openapi,
    pace,
    readiness,
    reference,
    schemas,
    upgrades,
)
from orchestrator.api.auth import Role
from orchestrator.api.exchange import Route

_SCHEMA = "/v1/schemas/{schema}"
_UPGRADE = f"{_SCHEMA}/upgrade"
_INSTANCES = f"{_SCHEMA}/fleets/{{fleet}}/instances"
_LEASE = f"{_INSTANCES}/{{id}}/lease"
_MIGRATION = f"{_SCHEMA}/data-migrations/{{name}}"

READER, SERVICE, DEPLOYER, OPERATOR = Role.READER, Role.SERVICE, Role.DEPLOYER, Role.OPERATOR

OPERATIONS: tuple[Route, ...] = (
    Route("GET", "/v1/schemas", schemas.list_, READER, "What is managed", schemas.SchemaList),
    Route("GET", _SCHEMA, schemas.show, READER, "One schema, its releases and newest upgrade", schemas.SchemaView),
    Route(
        "POST", f"{_SCHEMA}/init", schemas.initialise, OPERATOR,
        "Give a schema its first release: install it, or adopt databases that are at it",
        schemas.InitView, schemas.InitRequest, asks_databases=True,
    ),
    Route(
        "POST", f"{_SCHEMA}/take-over", schemas.take_over, OPERATOR,
        "Let a state that forgot an upgrade take over what all its databases know of it",
        schemas.SchemaView, schemas.TakeOverRequest, asks_databases=True,
    ),
    Route(
        "GET", _UPGRADE, upgrades.show, READER,
        "The newest upgrade. With If-None-Match and wait, the answer waits for another revision",
        upgrades.UpgradeView, query=upgrades.UpgradeQuestion, statuses=(200, 304), needs=("If-None-Match",),
    ),
    Route(
        "POST", _UPGRADE, upgrades.begin, DEPLOYER,
        "Begin the upgrade to the next release; repeating it is harmless",
        upgrades.UpgradeView, upgrades.BeginRequest, statuses=(201, 200), asks_databases=True,
    ),
    Route(
        "GET", f"{_SCHEMA}/plan", upgrades.plan, READER,
        "Dry run: the next move, or what blocks it", upgrades.PlanView, asks_databases=True,
    ),
    Route(
        "POST", f"{_UPGRADE}/approve", upgrades.approve, OPERATOR,
        "Approve entering a phase", upgrades.UpgradeView, upgrades.ApproveRequest,
    ),
    Route(
        "POST", f"{_UPGRADE}/rollback", upgrades.rollback, OPERATOR,
        "Go back to an earlier phase, as the guards allow", upgrades.UpgradeView, upgrades.RollbackRequest,
    ),
    Route(
        "POST", f"{_UPGRADE}/pause", upgrades.pause, OPERATOR,
        "Let no further move begin", upgrades.UpgradeView, upgrades.SteerRequest,
    ),
    Route(
        "POST", f"{_UPGRADE}/resume", upgrades.resume, OPERATOR,
        "Go on after a pause or a rollback", upgrades.UpgradeView, upgrades.ResumeRequest,
    ),
    Route(
        "POST", f"{_UPGRADE}/retry", upgrades.retry, OPERATOR,
        "Run a failed step again", upgrades.UpgradeView, upgrades.RetryRequest,
    ),
    Route(
        "POST", f"{_UPGRADE}/cancel", upgrades.cancel, OPERATOR,
        "Go back to base and end the upgrade there", upgrades.UpgradeView, upgrades.SteerRequest,
    ),
    Route(
        "GET", f"{_SCHEMA}/databases", databases.list_, READER,
        "Each database: copy, step, error, position", databases.DatabaseList,
    ),
    Route(
        "POST", f"{_SCHEMA}/databases/{{database}}/evict", databases.evict, OPERATOR,
        "Count a database out that is not configured any more and gone for good",
        databases.DatabaseList, databases.EvictDatabaseRequest,
    ),
    Route(
        "GET", f"{_SCHEMA}/gates/{{gate}}", gates.show, READER,
        "deploy:FLEET:RELEASE, rollback:FLEET:RELEASE or phase:PHASE; always 200", gates.GateView,
        query=gates.GateQuestion,
    ),
    Route(
        "POST", f"{_SCHEMA}/gates/{{gate}}/check", gates.check, READER,
        "The same as a status: 200 open, 409 closed (or what blocked= asks for), 410 closed for good",
        gates.GateView, query=gates.CheckQuestion,
    ),
    Route(
        "GET", f"{_SCHEMA}/readiness", readiness.show, SERVICE,
        "May a release start: 200 yes, 503 not yet, 409 never", readiness.ReadinessView,
        query=readiness.ReadinessQuestion,
    ),
    Route(
        "GET", f"{_SCHEMA}/instances", instances.list_, READER,
        "The processes that may be alive", instances.InstanceList, query=instances.InstancesQuestion,
    ),
    Route(
        "POST", _INSTANCES, instances.join, SERVICE,
        "Register a process and get a lease; before its first statement",
        instances.JoinView, instances.JoinRequest, statuses=(201, 200),
    ),
    Route(
        "PUT", _LEASE, instances.renew, SERVICE,
        "Renew the lease, ack a publication, hear the present one",
        instances.LeaseView, instances.RenewRequest, needs=(instances.LEASE_EPOCH,),
    ),
    Route(
        "DELETE", _LEASE, instances.leave, SERVICE,
        "Leave: drained, with pools closed", None, statuses=(204,), needs=(instances.LEASE_EPOCH,),
    ),
    Route(
        "POST", "/v1/leases:renew", leases.renew_all, SERVICE,
        "Many renewals in one request, for agents that speak for all instances of a host",
        leases.RenewedList, leases.RenewAllRequest, many_places=True, most_body_bytes=4 * 1024 * 1024,
    ),
    Route(
        "POST", f"{_INSTANCES}/{{id}}/evict", instances.evict, OPERATOR,
        "Count a process out that is known to be dead", instances.InstanceView, instances.EvictRequest,
    ),
    Route(
        "POST", f"{_SCHEMA}/fleets/{{fleet}}/report", fleets.report, DEPLOYER,
        "Say what runs in a fleet without leases", fleets.ReportView, fleets.ReportRequest,
    ),
    Route("GET", f"{_SCHEMA}/fleets", fleets.list_, READER, "The phase that each fleet is told", fleets.FleetList),
    Route(
        "POST", f"{_SCHEMA}/fleets/{{fleet}}/pause", fleets.pause, OPERATOR,
        "Tell one fleet no further phase", fleets.FleetView, fleets.PauseRequest,
    ),
    Route(
        "POST", f"{_SCHEMA}/fleets/{{fleet}}/resume", fleets.resume, OPERATOR,
        "Tell a paused fleet what was published meanwhile", fleets.FleetView, fleets.ResumeFleetRequest,
    ),
    Route(
        "GET", f"{_SCHEMA}/inventories", inventories.list_, READER,
        "What runs in each fleet, and which source says so: leases, a report, a query",
        inventories.InventoryList, query=inventories.InventoryQuestion,
    ),
    Route(
        "GET", f"{_SCHEMA}/data-migrations", data_migrations.list_, READER,
        "All data migrations in all databases", data_migrations.DataMigrationList,
    ),
    Route(
        "GET", _MIGRATION, data_migrations.show, READER,
        "One data migration in all databases, with the rows that it could not move",
        data_migrations.DataMigrationList, asks_databases=True,
    ),
    Route(
        "POST", f"{_MIGRATION}/retry", data_migrations.retry, OPERATOR,
        "Try a failed data migration again: from its start, or only its rows in quarantine",
        data_migrations.DataMigrationList, data_migrations.RetryMigrationRequest, asks_databases=True,
    ),
    Route(
        "POST", f"{_MIGRATION}/pause", data_migrations.pause, OPERATOR,
        "Let no further batch of a data migration begin",
        data_migrations.DataMigrationList, data_migrations.HoldMigrationRequest, asks_databases=True,
    ),
    Route(
        "POST", f"{_MIGRATION}/resume", data_migrations.resume, OPERATOR,
        "Let a data migration run again; one that was cancelled begins at its start",
        data_migrations.DataMigrationList, data_migrations.ResumeMigrationRequest, asks_databases=True,
    ),
    Route(
        "POST", f"{_MIGRATION}/cancel", data_migrations.cancel, OPERATOR,
        "Let no further batch of a data migration begin, and send it back to its start; no row is touched",
        data_migrations.DataMigrationList, data_migrations.HoldMigrationRequest, asks_databases=True,
    ),
    Route(
        "POST", f"{_MIGRATION}/verify", data_migrations.verify, OPERATOR,
        "Compare all rows of a data migration with what it computes, in the background; nothing else changes",
        data_migrations.DataMigrationList, data_migrations.VerifyMigrationRequest, asks_databases=True,
    ),
    Route(
        "POST", f"{_MIGRATION}/set", data_migrations.set_, OPERATOR,
        "Set which of several data migrations that may run has its turn first",
        data_migrations.DataMigrationList, data_migrations.SetMigrationRequest, asks_databases=True,
    ),
    Route(
        "GET", f"{_SCHEMA}/pace", pace.show, READER,
        "What may be set while rows are moved, beside what is configured", pace.PaceView,
    ),
    Route(
        "POST", f"{_SCHEMA}/pace", pace.set_, OPERATOR,
        "Set limits and pace over the configuration, in force from the next batch on",
        pace.PaceView, pace.PaceRequest,
    ),
    Route(
        "POST", f"{_MIGRATION}/assume", data_migrations.assume, OPERATOR,
        "Let a data migration of an earlier release count as done, on somebody's word",
        data_migrations.DataMigrationList, data_migrations.AssumeMigrationRequest, asks_databases=True,
    ),
    Route(
        "GET", "/v1/events", events.list_, READER, "The audit log", events.EventList, query=events.EventsQuestion,
    ),
    Route(
        "GET", "/v1/watch", live.stream, READER, "All that changes in upgrades, as server-sent events", None,
        query=live.WatchQuestion, streams=True,
    ),
    Route(
        "GET", "/v1/daemons", daemons.list_, READER, "The daemons that may be alive, and who leads",
        daemons.DaemonList, query=daemons.DaemonsQuestion,
    ),
    Route(
        "POST", "/v1/daemons/{id}/evict", daemons.evict, OPERATOR,
        "Count a daemon out that is known to be dead", daemons.DaemonView, daemons.EvictDaemonRequest,
    ),
    Route("GET", "/healthz", health.alive, None, "Does the daemon work", health.HealthView),
    Route("GET", "/readyz", health.ready, None, "Does the state database answer", health.HealthView),
)  # fmt: skip
"""What programs call."""

ROUTES: tuple[Route, ...] = (
    *OPERATIONS,
    Route("GET", "/openapi.json", openapi.handler(OPERATIONS), None, "This API as an OpenAPI document", None),
    Route("GET", "/docs", reference.handler(OPERATIONS), None, "This API for people", None),
    Route("GET", "/metrics", metrics.show, READER, "How upgrades and their rows stand, for Prometheus", None),
    Route("GET", "/", dashboard.show, None, "The status page", None, query=dashboard.StatusQuestion),
)
"""Everything that is answered."""
