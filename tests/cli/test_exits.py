"""Exit codes: each means one thing."""

import pytest

from orchestrator.cli.answers import Blocker
from orchestrator.cli.blockers import lines_of
from orchestrator.cli.exits import ERROR_CODES, NEVER_CODES, Exit, exit_of
from orchestrator.cli.failures import sentences
from orchestrator.cli.waiting import Waiting, not_yet
from orchestrator.client.errors import ClientError, NotYet, Unreachable, refusal
from orchestrator.domain import errors


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (503, "not_yet_admitted", Exit.NOT_YET),
        (503, "upgrade_not_begun", Exit.NOT_YET),
        (503, "database_unreachable", Exit.ERROR),
        (409, "upgrade_running", Exit.NOT_YET),
        (409, "release_too_old", Exit.NEVER),
        (409, "stale_revision", Exit.ERROR),
        (410, "gate_closed_for_good", Exit.NEVER),
        (401, "token_required", Exit.ERROR),
        (403, "role_insufficient", Exit.ERROR),
        (404, "schema_unknown", Exit.ERROR),
        (404, "release_unknown", Exit.ERROR),
        (409, "release_unknown", Exit.NEVER),
        (422, "body_invalid", Exit.ERROR),
        (500, "internal_error", Exit.ERROR),
    ],
)
def test_a_daemons_refusal_has_one_exit_code(status: int, code: str, exit_code: Exit) -> None:
    assert exit_of(refusal(status, {"code": code}, place="GET /")) is exit_code


def test_a_kind_that_the_daemon_states_decides() -> None:
    assert exit_of(refusal(409, {"code": "new", "kind": "never"}, place="GET /")) is Exit.NEVER
    assert exit_of(refusal(409, {"code": "new", "kind": "conflict"}, place="GET /")) is Exit.NOT_YET
    assert exit_of(refusal(503, {"code": "new", "kind": "unavailable"}, place="GET /")) is Exit.ERROR
    assert exit_of(refusal(503, {"code": "new", "kind": "from the future"}, place="GET /")) is Exit.ERROR


def test_a_proxys_503_is_an_error() -> None:
    assert exit_of(refusal(503, {}, place="GET /")) is Exit.ERROR


def test_what_is_raised_here_has_the_same_codes() -> None:
    assert exit_of(errors.ConfigurationError("x", "x", remedy="x")) is Exit.ERROR
    assert exit_of(errors.Conflict("x", "x", remedy="x")) is Exit.NOT_YET
    assert exit_of(errors.Never("x", "x", remedy="x")) is Exit.NEVER


def test_no_code_means_two_things() -> None:
    assert not NEVER_CODES & ERROR_CODES


def test_blockers_of_a_refusal_are_told_with_what_clears_them() -> None:
    blocker = {"code": "paused", "sentence": "it is paused", "remedy": "resume it", "culprits": ["a-1", "b"]}
    told = list(sentences(refusal(409, {"code": "blocked", "detail": "no", "blockers": [blocker]}, place="POST /")))
    assert told == ["orchestrator: no (blocked)", "  it is paused", "      a-1, b", "    > resume it"]


def test_a_culprit_that_the_sentence_names_is_not_repeated() -> None:
    assert list(lines_of(Blocker("x", "database a-1 is away", culprits=("a-1",)))) == ["  database a-1 is away"]
    assert list(lines_of(Blocker("x", "database a-10 is away", culprits=("a-1",)))) == [
        "  database a-10 is away",
        "      a-1",
    ]


def test_many_culprits_are_counted() -> None:
    told = list(lines_of(Blocker("x", "some are away", culprits=tuple("abcdefgh"))))
    assert told[1] == "      a, b, c, d, e and 3 more"


def test_blockers_that_make_no_sense_do_not_hide_the_refusal() -> None:
    told = list(sentences(refusal(409, {"code": "blocked", "detail": "no", "blockers": 7}, place="POST /")))
    assert told == ["orchestrator: no (blocked)"]


class Time:
    """A clock that moves when somebody pauses."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, _: object, seconds: float) -> None:
        self.now += seconds


def unreachable() -> ClientError:
    return Unreachable("daemon_unreachable", "nobody is there", remedy="Start it.", maybe_done=False)


def test_waiting_outlives_a_daemon_that_comes_late_and_tells_each_reason_once() -> None:
    time = Time()
    answers: list[ClientError | str] = [
        unreachable(),
        unreachable(),
        not_yet("fenced", "not now", ""),
        not_yet("fenced", "not now", ""),
        "ready",
    ]
    told: list[str] = []

    def ask(_: float) -> str:
        answer = answers.pop(0)
        if isinstance(answer, str):
            return answer
        raise answer

    waiting = Waiting(60.0, clock=time, pause=time.pause, chance=lambda: 0.5)
    assert waiting.until_yes(ask, told.append) == "ready"
    assert told == ["waiting: nobody is there", "waiting: not now"]


def test_waiting_ends_with_the_last_reason() -> None:
    time = Time()

    def ask(_: float) -> str:
        raise not_yet("fenced", f"not at {time.now:.0f}", "")

    with pytest.raises(NotYet):
        Waiting(20.0, clock=time, pause=time.pause, chance=lambda: 0.5).until_yes(ask, lambda _: None)
    assert 20.0 <= time.now < 21.0


def test_a_question_never_waits_longer_than_the_time_that_is_left() -> None:
    time = Time()
    asked: list[float] = []

    def ask(seconds: float) -> str:
        asked.append(seconds)
        time.now += seconds
        raise not_yet("fenced", "not now", "")

    with pytest.raises(NotYet):
        Waiting(45.0, clock=time, pause=time.pause, chance=lambda: 0.5).until_yes(ask, lambda _: None)
    assert asked[0] == 30.0
    assert asked[1] < 15.0
