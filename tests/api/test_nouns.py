"""Fleets, databases, data migrations, events and health over HTTP."""

from dataclasses import replace

import pytest

from orchestrator.api.auth import Role
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.overlay import Option
from orchestrator.domain.throttling import Reading
from orchestrator.domain.view import MigrationState, QuarantinedRow
from orchestrator.domain.windows import Windows
from tests.api.world import SCHEMA, UPGRADE, World, assert_problem, tokens_for_all_roles
from tests.fakes import FakeSchema
from tests.windows import Every

REPORT = f"{SCHEMA}/fleets/inventory-worker/report"


def test_a_report_is_stored_under_the_name_of_who_says_it(world: World) -> None:
    answer = world.at_rest().client().post(REPORT, {"release": "1", "instances": 3, "reason": "I looked"})
    body = answer.json()
    assert (answer.status_code, body["fleet"], body["instances"]) == (200, "inventory-worker", 3)
    assert (body["actor"], body["reason"], body["violation"]) == ("local", "I looked", None)
    assert world.nudged == ["inventory"]


def test_a_report_of_what_may_not_run_is_stored_and_says_so(world: World) -> None:
    answer = world.waiting_for_approval().client().post(REPORT, {"release": "1", "instances": 1})
    assert answer.status_code == 200
    assert "could live only up to expanded" in answer.json()["violation"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"release": "1", "instances": -1}, 422, "body_invalid"),
        ({"release": "1", "instances": 1.5}, 422, "body_invalid"),
        ({"release": "1"}, 422, "body_invalid"),
        ({"release": "9", "instances": 1}, 404, "release_unknown"),
    ],
)
def test_a_wrong_report_is_refused(world: World, body: dict[str, object], status: int, code: str) -> None:
    assert_problem(world.at_rest().client().post(REPORT, body), status, code)


def test_databases_show_copy_and_step() -> None:
    world = World(managed=FakeSchema(databases=("cell1", "cell2")))
    assert world.client().get(f"{SCHEMA}/databases").json()["databases"][0]["copy_revision"] is None
    world.begun()
    world.cycle()
    world.managed.on["cell2"].error = "connection refused"
    world.cycle()
    first, second = world.client().get(f"{SCHEMA}/databases").json()["databases"]
    assert (first["database"], first["phase"], first["fence"]) == ("cell1", "backfill", "backfill")
    assert (second["database"], second["error"], second["remedy"]) == (
        "cell2", "connection refused", "Start it again.",
    )  # fmt: skip


def test_data_migrations_are_listed_for_each_database(world: World) -> None:
    world.begun()
    before = world.client().get(f"{SCHEMA}/data-migrations").json()["data_migrations"]
    assert [(each["name"], each["database"], each["state"]) for each in before] == [("split_name", "main", "absent")]
    world.cycle()
    world.move_rows()
    world.cycle()
    (after,) = world.client().get(f"{SCHEMA}/data-migrations/split_name").json()["data_migrations"]
    assert (after["state"], after["rows_done"], after["rows_total"], after["rows_verified"]) == (
        "complete", 100, 100, 100,
    )  # fmt: skip


def test_what_rows_wait_for_is_shown_beside_their_state(world: World) -> None:
    lag = Reading("replica lag", 12.4, 5.0, "s", "replica db2")
    gate = Reading("throttle gate", objection="answers 503")
    world.managed.on["main"].signals = (lag, gate)
    world.begun()
    world.cycle()
    world.move_rows()
    reasons = ["replica lag is 12.4 s, more than 5 s on replica db2", "throttle gate answers 503"]
    (found,) = world.client().get(f"{SCHEMA}/data-migrations/split_name").json()["data_migrations"]
    assert (found["state"], found["throttled_by"]) == ("pending", reasons)
    upgrade = world.client().get(f"{SCHEMA}/upgrade").json()
    assert upgrade["data_migrations"][0]["throttled_by"] == reasons
    assert upgrade["sentence"] == f"rows wait at 0%: {'; '.join(reasons)}"


def test_a_failed_data_migration_is_sent_back_on_request(world: World) -> None:
    world.begun()
    world.cycle()
    facts = world.managed.on["main"].migrations["split_name"]
    world.managed.on["main"].migrations["split_name"] = replace(facts, state=MigrationState.FAILED, error="3 differ")
    world.cycle()
    client = world.client()
    assert client.get(UPGRADE).json()["data_migrations"][0]["error"] == "3 differ"
    assert client.post(f"{SCHEMA}/data-migrations/split_name/retry", {"reason": "mended"}).status_code == 200
    assert ("retry_migration", "main", "split_name") in world.managed.calls
    assert world.nudged == ["inventory"]


def test_rows_that_could_not_be_moved_are_listed_while_their_database_answers(world: World) -> None:
    world.begun()
    world.cycle()
    main = world.managed.on["main"]
    main.quarantine = (QuarantinedRow("id=15", "division by zero", 60.0),)
    client = world.client()
    path = f"{SCHEMA}/data-migrations"
    (shown,) = client.get(f"{path}/split_name").json()["data_migrations"]
    assert (shown["rows_quarantined"], shown["quarantine"]) == (0, [])
    assert ("quarantined", "main", "split_name") not in world.managed.calls  # nobody is asked for nothing
    facts = main.migrations["split_name"]
    main.migrations["split_name"] = replace(facts, state=MigrationState.FAILED, error="1 row", rows_quarantined=1)
    world.cycle()
    (shown,) = client.get(f"{path}/split_name").json()["data_migrations"]
    assert shown["rows_quarantined"] == 1
    assert shown["quarantine"] == [{"key": "id=15", "error": "division by zero", "failed_at": 60.0}]
    (listed,) = client.get(path).json()["data_migrations"]
    assert (listed["rows_quarantined"], listed["quarantine"]) == (1, None)
    main.error = "connection refused"
    (shown,) = client.get(f"{path}/split_name").json()["data_migrations"]
    assert (shown["rows_quarantined"], shown["quarantine"]) == (1, None)


def test_a_data_migration_is_held_over_http_and_says_who_holds_it(world: World) -> None:
    client, path = world.expanded().client(), f"{SCHEMA}/data-migrations/split_name"
    (held,) = client.post(f"{path}/pause", {"reason": "month-end"}).json()["data_migrations"]
    since = held["intention"].pop("since")
    assert held["intention"] == {"wish": "paused", "by": "local", "reason": "month-end"}
    assert since == world.clock.now
    assert held["state"] == "pending", "what it does is another matter"
    assert client.get(UPGRADE).json()["data_migrations"][0]["intention"]["wish"] == "paused"
    (held,) = client.post(f"{path}/cancel", {"reason": "wrong"}).json()["data_migrations"]
    assert held["intention"]["wish"] == "cancelled"
    (free,) = client.post(f"{path}/resume", {"database": "main"}).json()["data_migrations"]
    assert free["intention"] is None
    (first,) = client.post(f"{path}/set", {"priority": 5}).json()["data_migrations"]
    assert first["priority"] == 5
    assert_problem(client.post(f"{path}/set", {"priority": 1.5}), 422, "body_invalid")
    assert_problem(client.post(f"{path}/set", {"priority": 1001}), 422, "option_value_invalid")
    assert_problem(client.post(f"{path}/pause", {}), 422, "body_invalid")
    assert_problem(client.post(f"{path}/pause", {"reason": " "}), 422, "reason_required")


def test_pace_is_set_over_http_all_or_nothing(world: World) -> None:
    client, path = world.at_rest().client(), f"{SCHEMA}/pace"
    world.managed.on["main"].options = (
        Option("nice_ratio", 0.5, 0.0, 100.0, is_whole=False, help="How nice."),
    )  # fmt: skip
    (option,) = client.get(path).json()["options"]
    assert option == {
        "database": "main", "option": "nice_ratio", "configured": 0.5, "in_force": 0.5, "set": None,
    }  # fmt: skip
    (option,) = client.post(path, {"values": {"nice_ratio": 2}, "database": "main"}).json()["options"]
    assert (option["in_force"], option["set"]["by"], option["set"]["database"]) == (2, "local", "main")
    assert_problem(client.post(path, {"values": {"nice_ratio": 3, "other": 1}}), 422, "option_unknown")
    assert_problem(client.post(path, {"defaults": ["nice_ratio"]}), 404, "nothing_set")
    assert client.get(path).json()["options"] == [option]
    (option,) = client.post(path, {"defaults": ["nice_ratio"], "database": "main"}).json()["options"]
    assert option["in_force"] == 0.5


def test_windows_are_shown_over_http(world: World) -> None:
    client, path = world.at_rest().client(), f"{SCHEMA}/pace"
    assert client.get(path).json()["windows"] == []
    world.managed.on["main"].windows = Windows((Every(1000, 100, first=world.clock.now + 50),))
    (window,) = client.get(path).json()["windows"]
    opens_at = world.clock.now + 50
    assert window == {
        "database": "main", "windows": ["night"], "is_open": False, "opens_at": opens_at, "closes_at": opens_at + 100,
        "sentence": f"closed; opens second {opens_at:g}, until second {opens_at + 100:g}",
    }  # fmt: skip
    world.clock.advance(50)
    assert client.get(path).json()["windows"][0]["is_open"]


def test_an_unknown_data_migration_is_not_found(world: World) -> None:
    client = world.begun().client()
    assert_problem(client.get(f"{SCHEMA}/data-migrations/nothing"), 404, "data_migration_unknown")
    assert_problem(client.post(f"{SCHEMA}/data-migrations/split_name/retry"), 404, "nothing_to_retry")


def test_events_go_on_after_the_last_one_seen(world: World) -> None:
    client = world.begun().client()
    body = client.get("/v1/events?limit=2").json()
    assert [event["action"] for event in body["events"]] == ["fleet.report", "upgrade.begin"]
    assert client.get(f"/v1/events?after={body['last']}").json() == {"events": [], "last": body["last"]}
    client.post(f"{UPGRADE}/pause", {"reason": "tea"})
    (event,) = client.get(f"/v1/events?after={body['last']}&schema=inventory").json()["events"]
    assert (event["action"], event["actor"], event["reason"]) == ("upgrade.pause", "local", "tea")


@pytest.mark.parametrize("query", ["limit=0", "limit=100000", "after=-2", "after=x", f"after={2**70}", "schema=%00"])
def test_a_wrong_question_for_events_is_refused(world: World, query: str) -> None:
    assert_problem(world.client().get(f"/v1/events?{query}"), 422, "query_invalid")


def test_health_says_whether_the_daemon_works(world: World) -> None:
    assert world.client().get("/healthz").json() == {"ok": True}
    world.is_healthy = False
    assert_problem(world.client().get("/healthz"), 503, "daemon_unhealthy")


def test_readiness_of_the_daemon_asks_the_store(world: World) -> None:
    assert world.client().get("/readyz").json() == {"ok": True}
    world.store.is_broken = True
    answer = world.client().get("/readyz")
    assert_problem(answer, 503, "state_database_unavailable")
    assert answer.headers["retry-after"] == "5"


def test_strangers_are_not_told_where_the_state_database_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(work: object) -> None:
        raise Unavailable("state_database_unavailable", "postgresql://admin@db.internal/state is away", remedy="Go on.")

    monkeypatch.setattr(world.store, "read", refuse)
    tokens, secrets = tokens_for_all_roles()
    answer = world.client(tokens).get("/readyz")
    assert_problem(answer, 503, "state_database_unavailable")
    assert "internal" not in answer.text
    assert "db.internal" in world.client(tokens, token=secrets[Role.READER]).get("/v1/schemas").text
