"""Services that bring their own migration tool, and tools that fail."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.demo.example import SCHEMA
from tests.recovery.entries import Entry, mends
from tests.recovery.place import Place
from tests.recovery.shops import TOOL, Shop


@mends(
    "The tool is not there",
    "The tool cannot be started",
    "The tool is of another release",
    "The tool says nothing that is known",
    "The tool fails",
    "The tool runs too long",
    "The tool was ended by somebody else",
    "The tool works on another database",
    "The tool ends well and is not done",
    "The tool and its version table contradict each other",
    "The tool contracted when it was to expand",
    "What the tool had done is gone",
    "A command of a daemon that was killed still runs",
)
def test_tool_that_fails(place: Place, entries: tuple[Entry, ...]) -> None:
    left = list(entries)
    shop = Shop(place)
    place.open()
    shop.begin()

    def shows_next(mend: Callable[[], object]) -> None:
        entry = left.pop(0)
        place.work()
        entry.assert_shown(place.status())
        mend()
        place.type(entry)

    shop.program.unlink()
    shows_next(lambda: shop.write_tool("#!/nowhere/sh\n"))
    shows_next(lambda: shop.write_tool(TOOL).verb("version", "echo shop 1.4.2"))
    shows_next(lambda: shop.verb("version", "echo a fine day"))
    shows_next(lambda: shop.verb("version", "echo shop 2.0.0").verb("expand", "echo orders is locked; exit 1"))
    shows_next(lambda: shop.verb("expand", "sleep 600").restart_with(0.1))
    shows_next(lambda: shop.verb("expand", "kill $PPID; sleep 600").restart_with(60))
    shows_next(lambda: shop.verb("expand", "exit 0"))
    shows_next(lambda: shop.moves("expand", "x9", check="exit 2"))
    shows_next(lambda: shop.stands_at("e1", "c1").verb("check", "exit 0"))
    shows_next(lambda: shop.verb("check", "exit 2").moves("expand", "e2", "c2", check="exit 0"))
    shows_next(lambda: shop.stands_at("e1", "c1").verb("check", "exit 2"))
    shows_next(lambda: shop.stands_at("e2", "c1").verb("check", "exit 4"))
    place.orchestrator("upgrade", "approve", SCHEMA, "--phase", "contracted", "--reason", "test")
    shop.moves("contract", "e2", "c2", check="exit 0")
    with shop.still_runs():
        shows_next(lambda: shop)
    place.work()
    assert "upgraded to 2" in place.status()
    assert not left
