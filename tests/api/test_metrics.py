"""What Prometheus scrapes: the state alone, in both formats, for readers, and nothing for what is not known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from orchestrator.api.auth import Role
from orchestrator.domain.throttling import Reading
from tests.api.world import World, assert_problem, tokens_for_all_roles
from tests.fakes import FakeSchema

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]
OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}

NASTY = 'a"b\\c\nd{}'


def scraped(answer: httpx.Response) -> Samples:
    """Every sample, by its name and labels. Parses as Prometheus does."""
    assert answer.status_code == 200, answer.text
    is_open = answer.headers["content-type"].startswith("application/openmetrics-text")
    parse: Any = (openmetrics_parser if is_open else parser).text_string_to_metric_families
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in parse(answer.text):
        assert family.documentation, family.name
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float | None:
    """One of them, None where there is none. Of data migrations that of the only one, if none is named."""
    place = {"schema": "inventory"}
    if name.startswith(("data_migration_", "database_")):
        place["database"] = "main"
    if name.startswith("data_migration_"):
        place["data_migration"] = "split_name"
    return found.get((f"orchestrator_{name}", frozenset((place | labels).items())))


def moving(world: World, seconds: int) -> World:
    """An upgrade that has moved 100 of 10,000 rows each second, for so many."""
    database = world.managed.on["main"]
    database.rows, database.batch_rows = 10_000, 100
    world.begun().cycle()
    upgrade = world.board.schema("inventory").upgrade
    assert upgrade is not None
    for _ in range(seconds):
        world.clock.advance(1)
        world.managed.run_batch("main", "split_name", upgrade.upgrade.id, leads=True)
        world.daemons.renew()
        world.cycle()
    return world


@pytest.mark.parametrize("headers", [{}, OPENMETRICS])
def test_rows_that_move_are_told_with_their_speed(world: World, headers: dict[str, str]) -> None:
    answer = moving(world, 8).client().get("/metrics", headers=headers)
    found = scraped(answer)
    assert value(found, "data_migration_rows_moved") == 800
    assert value(found, "data_migration_rows_verified") == 0
    assert value(found, "data_migration_rows_counted") == 10_000
    assert value(found, "data_migration_progress_ratio") == 0.04
    assert value(found, "data_migration_rows_per_second") == pytest.approx(100)
    assert value(found, "data_migration_eta_seconds") == pytest.approx(92 + 100)
    assert value(found, "data_migration_differences") == 0
    assert value(found, "data_migration_rows_quarantined") == 0
    assert value(found, "data_migration_state", state="running") == 1
    assert value(found, "data_migration_state", state="complete") == 0
    assert value(found, "data_migration_throttled") == value(found, "data_migration_held") == 0
    assert value(found, "upgrade_running") == 1
    assert value(found, "upgrade_paused") == 0
    assert value(found, "upgrade_phase_number") == 2
    assert value(found, "upgrade_phase", phase="backfill") == 1
    assert value(found, "upgrade_phase", phase="sealed") == 0
    assert value(found, "upgrade_progress_ratio") == 0.04
    assert value(found, "upgrade_rows_per_second") == pytest.approx(100)
    assert value(found, "upgrade_eta_seconds") == pytest.approx(192)
    assert value(found, "upgrade_info", from_release="1", to_release="2") == 1
    assert value(found, "upgrade_blockers", code="data_migration_running") == 1
    assert value(found, "database_readable") == 1


def test_format_is_negotiated(world: World) -> None:
    client = world.begun().client()
    plain, open_metrics = client.get("/metrics"), client.get("/metrics", headers=OPENMETRICS)
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert open_metrics.text.endswith("# EOF\n") and "# EOF" not in plain.text


@pytest.mark.parametrize("version", ["abc", "1.x", "", "1.0.0;escaping=zzz", "99.0", "-", "1..0"])
@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
def test_versions_that_are_none_are_no_mistake_of_ours(world: World, kind: str, version: str) -> None:
    answer = world.begun().client().get("/metrics", headers={"Accept": f"{kind};version={version}"})
    assert answer.status_code == 200, answer.text


def test_what_is_not_known_is_absent(world: World) -> None:
    found = scraped(moving(world, 2).client().get("/metrics"))
    assert value(found, "data_migration_eta_seconds") is None
    assert value(found, "data_migration_rows_per_second") is None
    assert value(found, "upgrade_eta_seconds") is None
    assert value(found, "data_migration_rows_moved") == 200
    assert value(scraped(World().client().get("/metrics")), "upgrade_phase_number") is None


def test_rows_that_wait_say_for_which_signal(world: World) -> None:
    world.managed.on["main"].signals = (Reading("replica lag", 12.4, 5.0, "s", "replica db2"),)
    world.begun().cycle()
    world.move_rows()
    found = scraped(world.client().get("/metrics"))
    assert value(found, "data_migration_throttled") == 1
    assert value(found, "data_migration_throttled_by", signal="replica lag") == 1


def test_held_and_paused_are_told(world: World) -> None:
    moving(world, 8).upgrades.pause("inventory", actor="alice", reason="later")
    found = scraped(world.client().get("/metrics"))
    assert value(found, "upgrade_paused") == value(found, "data_migration_held") == 1
    assert value(found, "data_migration_eta_seconds") is None


def test_no_managed_database_is_asked(world: World) -> None:
    moving(world, 2)
    world.managed.on["main"].error = "connection refused"
    calls = list(world.managed.calls)
    assert value(scraped(world.client().get("/metrics")), "database_readable") == 1, "as it was last read"
    world.cycle()
    found = scraped(world.client().get("/metrics"))
    assert value(found, "database_readable") == 0
    assert value(found, "data_migration_state", state="unreadable") == 1
    assert value(found, "data_migration_rows_moved") is None
    assert world.managed.calls == calls


def test_an_ended_upgrade_is_still_told(world: World) -> None:
    world.waiting_for_approval()
    world.upgrades.approve("inventory", phase=None, actor="test", reason="yes")
    world.cycle()
    found = scraped(world.client().get("/metrics"))
    assert value(found, "upgrade_running") == 0
    assert value(found, "upgrade_phase", phase="contracted") == 1
    assert value(found, "data_migration_progress_ratio") == 1
    assert not [name for name, _ in found if name == "orchestrator_upgrade_blockers"]


@pytest.mark.parametrize("headers", [{}, OPENMETRICS])
def test_names_are_escaped(headers: dict[str, str]) -> None:
    world = World(managed=FakeSchema(databases=(NASTY,)))
    world.begun().cycle()
    found = scraped(world.client().get("/metrics", headers=headers))
    assert value(found, "database_readable", database=NASTY) == 1


def test_a_reader_may_scrape_and_a_stranger_may_not(world: World) -> None:
    tokens, secrets = tokens_for_all_roles()
    world.begun()
    assert world.client(tokens, token=secrets[Role.READER]).get("/metrics").status_code == 200
    assert_problem(world.client(tokens).get("/metrics"), 401, "token_required")


def test_scrape_fails_while_the_state_is_away(world: World) -> None:
    world.store.is_broken = True
    assert_problem(world.client().get("/metrics"), 503, "state_database_unavailable")


def test_names_follow_the_rules_and_the_documents_name_no_others(world: World) -> None:
    answer = moving(world, 8).client().get("/metrics")
    families = list(parser.text_string_to_metric_families(answer.text))
    names = {family.name for family in families}
    for family in families:
        assert re.fullmatch(r"orchestrator_[a-z_]+", family.name)
        assert not family.name.endswith("_total"), "nothing here only grows"
    guide = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    told = set(re.findall(r"\borchestrator_(?:upgrade|database|data_migration)_[a-z_]+", guide))
    assert told and told <= names
