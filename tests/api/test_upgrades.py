"""Upgrades over HTTP: begin, look, wait, plan, steer."""

import asyncio
from typing import Any

import pytest

from orchestrator.domain.errors import StepFailed
from orchestrator.domain.ladder import Phase, Step
from tests.api.world import SCHEMA, UPGRADE, World, assert_problem


def test_begin_answers_201_once_and_200_when_it_is_repeated(world: World) -> None:
    client = world.at_rest().client()
    first = client.post(UPGRADE, {"release": "2", "reason": "spring"})
    assert (first.status_code, first.json()["phase"], first.json()["status"]) == (201, "base", "running")
    again = client.post(UPGRADE, {"release": "2"})
    assert (again.status_code, again.json()["upgrade"]) == (200, first.json()["upgrade"])
    (said,) = set(again.json()["notes"]) - set(first.json()["notes"])
    assert said.startswith("the upgrade of inventory to 2 had already been begun by ") and "(reason: spring)" in said
    assert world.nudged == ["inventory", "inventory"]


def test_another_target_while_one_runs_is_refused(world: World) -> None:
    assert_problem(world.begun().client().post(UPGRADE, {"release": "3"}), 409, "upgrade_running")


def test_a_release_that_does_not_follow_is_refused(world: World) -> None:
    problem = assert_problem(world.at_rest().client().post(UPGRADE, {"release": "3"}), 409, "release_not_next")
    assert problem["kind"] == "conflict"


def test_the_upgrade_is_shown_in_words(world: World) -> None:
    body = world.expanded().client().get(UPGRADE).json()
    assert (body["phase"], body["stage"], body["fence"], body["next"], body["goal"]) == (
        "expanded", "expand", "expanded", "backfill", "contracted",
    )  # fmt: skip
    assert body["phase_words"].startswith("The new shape exists beside the old one")
    assert [(rung["phase"], rung["state"]) for rung in body["ladder"]] == [
        ("base", "passed"), ("expanded", "current"), ("backfill", "next"), ("read_new", "ahead"),
        ("write_new", "ahead"), ("sealed", "ahead"), ("contracted", "ahead"),
    ]  # fmt: skip
    blocker = next(each for each in body["blockers"] if each["code"] == "instance_unsupported")
    assert (blocker["culprits"], blocker["policy"]) == (["old-1"], False)
    assert body["sentence"].startswith("waiting for 1 instance of inventory-api that still runs 1")
    assert body["databases"][0]["step"]["state"] == "done"
    assert body["databases"][0]["copy_revision"] == body["revision"]
    assert [(each["name"], each["state"]) for each in body["data_migrations"]] == [("split_name", "pending")]
    assert any("no way back" in note for note in body["notes"])


def test_the_entity_tag_is_the_revision(world: World) -> None:
    answer = world.begun().client().get(UPGRADE)
    assert answer.headers["etag"] == f'"{answer.json()["revision"]}"'


@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', '"0", "{}"'])
def test_a_known_revision_is_answered_with_304(world: World, form: str) -> None:
    client = world.begun().client()
    revision = client.get(UPGRADE).json()["revision"]
    answer = client.get(UPGRADE, headers={"If-None-Match": form.format(revision)})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", f'"{revision}"')


def test_a_wait_ends_as_soon_as_the_revision_is_another(world: World) -> None:
    world.begun()
    client = world.client()
    revision = client.get(UPGRADE).json()["revision"]

    async def wait_and_pause() -> int:
        async with client.connect() as connection:
            waiting = asyncio.create_task(
                connection.get(f"{UPGRADE}?wait=300", headers={"If-None-Match": f'"{revision}"'})
            )
            while client.watch.waiters == 0:
                await asyncio.sleep(0)
            await connection.post(f"{UPGRADE}/pause", json={"reason": "lunch"})
            answer = await waiting
            assert answer.json()["paused"] == "lunch"
            return answer.status_code

    assert asyncio.run(wait_and_pause()) == 200


def test_without_a_known_revision_nothing_is_waited_for(world: World) -> None:
    assert world.begun().client().get(f"{UPGRADE}?wait=300").status_code == 200


def test_a_wait_that_sees_no_change_ends_with_304(world: World) -> None:
    client = world.begun().client()
    revision = client.get(UPGRADE).json()["revision"]
    answer = client.get(f"{UPGRADE}?wait=0.01", headers={"If-None-Match": f'"{revision}"'})
    assert answer.status_code == 304


def test_a_schema_without_upgrade_has_revision_0(world: World) -> None:
    answer = world.at_rest().client().get(UPGRADE)
    assert (answer.status_code, answer.headers["etag"]) == (200, '"0"')
    assert (answer.json()["status"], answer.json()["upgrade"]) == ("none", None)
    assert answer.json()["sentence"] == "inventory is at release 1; no upgrade of it has begun"


def test_the_plan_says_what_would_run(world: World) -> None:
    plan = world.begun().client().get(f"{SCHEMA}/plan").json()
    assert (plan["blockers"], plan["next"]) == ([], "expanded")
    assert plan["statements"] == ["main: expand e002"]


def test_the_plan_of_a_blocked_move_is_an_answer_with_blockers(world: World) -> None:
    answer = world.expanded().client().get(f"{SCHEMA}/plan")
    assert answer.status_code == 200
    assert "instance_unsupported" in [blocker["code"] for blocker in answer.json()["blockers"]]


def test_there_is_no_plan_without_an_upgrade(world: World) -> None:
    assert_problem(world.at_rest().client().get(f"{SCHEMA}/plan"), 409, "no_upgrade")


def test_an_approval_lets_the_upgrade_complete(world: World) -> None:
    world.waiting_for_approval()
    client = world.client()
    blocked = client.get(UPGRADE).json()
    assert [(each["code"], each["policy"]) for each in blocked["blockers"]] == [("approval_required", True)]
    answer = client.post(f"{UPGRADE}/approve", {"phase": "contracted", "reason": "looks good"})
    assert answer.status_code == 200
    (approval,) = answer.json()["approvals"]
    assert (approval["phase"], approval["actor"], approval["reason"]) == ("contracted", "local", "looks good")
    world.cycle()
    done = client.get(UPGRADE).json()
    assert (done["status"], done["phase"], done["next"]) == ("completed", "contracted", None)
    assert {rung["state"] for rung in done["ladder"]} == {"passed", "current"}


def test_verbs_refuse_a_revision_that_is_not_the_present_one(world: World) -> None:
    client = world.begun().client()
    for verb, more in (("pause", {}), ("cancel", {}), ("rollback", {"to": "base"}), ("approve", {}), ("resume", {}),
                       ("retry", {})):  # fmt: skip
        answer = client.post(f"{UPGRADE}/{verb}", {"reason": "why not", "if_revision": 999, **more})
        problem = assert_problem(answer, 409, "stale_revision")
        assert problem["expected"] == 999


def test_pause_and_resume(world: World) -> None:
    client = world.begun().client()
    paused = client.post(f"{UPGRADE}/pause", {"reason": "audit"}).json()
    assert (paused["paused"], paused["blockers"][0]["code"]) == ("audit", "paused")
    resumed = client.post(f"{UPGRADE}/resume", {})
    assert (resumed.status_code, resumed.json()["paused"]) == (200, None)


def test_rollback_goes_back_to_the_phase_that_is_named(world: World) -> None:
    world.expanded()
    answer = world.client().post(f"{UPGRADE}/rollback", {"to": "base", "reason": "not today"})
    assert (answer.status_code, answer.json()["goal"], answer.json()["next"]) == (200, "base", "base")
    assert [rung["state"] for rung in answer.json()["ladder"]][:2] == ["next", "current"]


def test_an_unknown_phase_is_named_with_those_there_are(world: World) -> None:
    answer = world.expanded().client().post(f"{UPGRADE}/rollback", {"to": "bottom", "reason": "x"})
    assert "base, expanded, backfill" in assert_problem(answer, 422, "phase_unknown")["remedy"]


def test_cancel_ends_the_upgrade_at_its_base(world: World) -> None:
    client = world.begun().client()
    assert client.post(f"{UPGRADE}/cancel", {"reason": "wrong release"}).status_code == 200
    world.cycle()
    assert client.get(UPGRADE).json()["status"] == "cancelled"


def test_a_step_that_failed_is_repeated_on_request(world: World) -> None:
    world.begun()
    database = world.managed.on["main"]
    database.fails[Step.EXPAND] = StepFailed("lock_timeout", "a lock was not granted", remedy="End session 812.")
    world.cycle()
    client = world.client()
    failed = client.get(UPGRADE).json()
    assert failed["databases"][0]["step"] == {
        "state": "failed", "attempts": 1, "code": "lock_timeout", "error": "a lock was not granted",
        "remedy": "End session 812.",
    }  # fmt: skip
    assert failed["blockers"][0]["code"] == "step_failed"
    database.fails.clear()
    assert client.post(f"{UPGRADE}/retry", {"database": "main"}).status_code == 200
    world.cycle()
    assert world.phase() > Phase.BASE


def test_a_reason_is_required_where_it_is_audited(world: World) -> None:
    client = world.begun().client()
    missing = assert_problem(client.post(f"{UPGRADE}/pause", {}), 422, "body_invalid")
    assert (missing["detail"], missing["field"]) == ("the body lacks the field reason", "reason")
    assert_problem(client.post(f"{UPGRADE}/pause", {"reason": " "}), 422, "reason_required")


def test_an_unknown_verb_is_not_found(world: World) -> None:
    assert_problem(world.begun().client().post(f"{UPGRADE}/explode", {"reason": "x"}), 404, "path_unknown")


def test_counts_and_time_left_are_those_of_now_also_where_nothing_else_changes(world: World) -> None:
    """One client asks twice within one percent; its answers share whatever the daemon keeps of the first."""
    database = world.managed.on["main"]
    database.rows, database.batch_rows = 1_000_000, 100
    world.begun().cycle()
    begun = world.board.schema("inventory").upgrade
    assert begun is not None
    client = world.client()

    def looked_at() -> Any:
        world.clock.advance(1)
        world.managed.run_batch("main", "split_name", begun.upgrade.id, leads=True)
        world.cycle()
        return client.get(UPGRADE).json()

    seen = [looked_at() for _ in range(8)]
    assert [each["data_migrations"][0]["rows_done"] for each in seen] == [100 * (number + 1) for number in range(8)]
    first, last = seen[0], seen[-1]
    assert (first["eta"], first["eta_seconds"]) == ({"state": "measuring", "seconds": None}, None)
    assert (last["eta"]["state"], last["rows_per_second"]) == ("estimated", pytest.approx(100))
    assert last["eta_seconds"] == last["eta"]["seconds"] == pytest.approx(1_999_200 / 100)
    (found,) = last["data_migrations"]
    assert (found["progress"], found["rows_per_second"]) == (pytest.approx(0.0004), pytest.approx(100))
    assert found["eta"] == last["eta"] and not found["reverse"]
