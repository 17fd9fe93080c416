"""The pages show how a service joins: what they show works as it stands."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.client.daemon_stand_in import StandIn, problem, serving

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["README.md", "docs/joining-a-fleet.md"])
def shown(request: pytest.FixtureRequest) -> Callable[[str], dict[str, Any]]:
    """Runs the first service of a page against the daemon at that address, and gives its names."""
    text = (ROOT / request.param).read_text()
    code = next(each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "member.join" in each)

    def run(url: str) -> dict[str, Any]:
        asked: list[str] = []
        names: dict[str, Any] = {"engine": sa.create_engine("sqlite://"), "asked": asked}
        for name in ("read_old", "read_new", "write_old", "write_new"):
            names[name] = lambda *_, name=name: asked.append(name)
        exec(compile(code.replace("http://127.0.0.1:8776", url), request.param, "exec"), names)
        return names

    return run


def test_service_of_the_page_joins_works_and_leaves(shown: Callable[[str], dict[str, Any]]) -> None:
    daemon = StandIn()
    with serving(daemon.answer) as url:
        assert shown(url)["asked"] == ["read_old", "write_old", "write_new"]
    assert [asked.method for asked in daemon.asked] == ["POST", "DELETE"]


def test_service_of_the_page_does_not_start_where_its_release_does_not_belong(
    shown: Callable[[str], dict[str, Any]],
) -> None:
    daemon = StandIn()
    daemon.next_answers = [problem(409, "release_too_old")]
    with serving(daemon.answer) as url, pytest.raises(SystemExit, match="because release_too_old") as ended:
        shown(url)
    assert str(ended.value.code).startswith("not started: ")
    assert len(daemon.asked) == 1
