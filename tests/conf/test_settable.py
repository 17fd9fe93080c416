"""What may be set while rows are moved: what it may be, and in the words of the configuration why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.conf import data_migrations, throttling
from orchestrator.conf.settable import options_of
from orchestrator.domain.overlay import Option
from tests.conf.test_throttles import MARIADB, POSTGRESQL, SQLITE, THROTTLE, loaded


def options(tmp_path: Path, schema: str, rest: str = "") -> dict[str, Option]:
    found = loaded(tmp_path, schema, rest)
    return {each.name: each for each in options_of(found, 0.5, found.databases[0])}


def test_every_limit_and_the_pace_may_be_set_with_what_is_configured_beside(tmp_path: Path) -> None:
    rest = f"{THROTTLE}query = SELECT 1\nmax = 10\n[throttle:nova:gate]\nurl = http://127.0.0.1/\n"
    found = options(tmp_path, POSTGRESQL + "nice_ratio = 2\nmax_lock_waits = 3\n", rest)
    assert {name: option.configured for name, option in found.items()} == {
        "batch_seconds": 0.2, "batch_rows": 100000, "batch_bytes": 16 * 2**20, "pause_seconds": 0.5, "nice_ratio": 2.0,
        "max_replica_lag_seconds": -1, "max_active_sessions": -1, "max_lock_waits": 3, "max_transaction_seconds": -1,
        "max_wal_backlog_mib": -1, "throttle:jobs": 10.0, "throttle:gate": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [("nice_ratio", 101), ("nice_ratio", -1), ("batch_rows", 2_000_000), ("max_lock_waits", -2)]
)
def test_out_of_range_is_refused_in_the_words_of_the_configuration(tmp_path: Path, name: str, value: float) -> None:
    opt = next(each for each in (*data_migrations.OPTIONS, *throttling.OPTIONS) if each.name == name)
    with pytest.raises(ValueError) as words:
        opt.type(str(value))
    refused = options(tmp_path, POSTGRESQL)[name].refusal(value)
    assert refused is not None
    assert (refused.code, refused.why) == ("option_value_invalid", f"its value cannot be used: {words.value}")
    assert str(opt.help) in refused.remedy


def test_a_number_that_is_to_be_whole_is(tmp_path: Path) -> None:
    refused = options(tmp_path, POSTGRESQL)["batch_rows"].refusal(1.5)
    assert refused is not None
    assert "whole number" in refused.remedy
    assert options(tmp_path, POSTGRESQL)["batch_rows"].refusal(2.0) is None


@pytest.mark.parametrize(
    ("schema", "name", "code"),
    [
        (SQLITE, "max_active_sessions", "option_without_effect"),
        (MARIADB, "max_wal_backlog_mib", "option_without_effect"),
        (MARIADB, "max_replica_lag_seconds", "replicas_unnamed"),
    ],
)
def test_limits_that_a_database_does_not_have_are_refused_but_can_be_lifted(
    tmp_path: Path, schema: str, name: str, code: str
) -> None:
    option = options(tmp_path, schema)[name]
    refused = option.refusal(4)
    assert refused is not None
    assert refused.code == code
    assert option.refusal(-1) is None


@pytest.mark.parametrize("max", ["10", "0", "-5"])
def test_a_throttle_of_the_operators_is_switched_off_with_minus_one(tmp_path: Path, max: str) -> None:
    option = options(tmp_path, POSTGRESQL, f"{THROTTLE}query = SELECT 1\nmax = {max}\n")["throttle:jobs"]
    assert option.configured == float(max)
    assert [option.refusal(value) for value in (-1, 0, 0.5, 1000)] == [None] * 4
    refused = option.refusal(-2)
    assert refused is not None
    assert "-1 (off): rows do not wait for it" in refused.remedy


@pytest.mark.parametrize("asks", ["query = SELECT true", "url = http://127.0.0.1/"])
def test_a_throttle_without_a_number_is_on_or_off(tmp_path: Path, asks: str) -> None:
    option = options(tmp_path, POSTGRESQL, f"{THROTTLE}{asks}\n")["throttle:jobs"]
    assert [option.refusal(value) for value in (-1, 1)] == [None, None]
    for value in (0, 2, -2, 0.5):
        refused = option.refusal(value)
        assert refused is not None
        assert refused.code == "option_value_invalid"
