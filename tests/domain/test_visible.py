"""What strangers wrote is shown, and steers nothing."""

import json
import shlex

from orchestrator.domain.throttling import Reading, reasons_to_wait
from orchestrator.domain.visible import typed, visible, visible_lines

HOSTILE = "\x1b]0;x\x07 \x9b31m \u202e\r\n\tend"


def test_what_is_not_seen_is_shown_in_words() -> None:
    assert visible(HOSTILE) == "\\u001b]0;x\\u0007 \\u009b31m \\u202e\\u000d\\u000a\\u0009end"
    assert visible_lines(HOSTILE) == "\\u001b]0;x\\u0007 \\u009b31m \\u202e\\u000d\n\tend"
    assert visible(visible(HOSTILE)) == visible(HOSTILE)
    assert visible("naïve 漢字 \\ 100 %") == "naïve 漢字 \\ 100 %"


def test_words_are_those_of_json() -> None:
    text = json.dumps("\x9b31m \u202e", ensure_ascii=False)
    assert json.loads(visible_lines(text)) == json.loads(text)


def test_objection_of_a_throttle_steers_no_terminal() -> None:
    (reason,) = reasons_to_wait([Reading("check", objection="answers 503 \x1b[2J")])
    assert reason.sentence == "check answers 503 \\u001b[2J"


def test_a_name_that_a_stranger_chose_is_one_word_of_a_command() -> None:
    assert typed("compute-1.rack:7_a") == "compute-1.rack:7_a"
    for name in ("x; reboot #", "$(reboot)", "`reboot`", "it's", "a b", "", "-x\n; reboot"):
        assert shlex.split(f"evict {typed(name)} --attest-dead") == ["evict", name, "--attest-dead"]
