"""The program itself: help, usage, failures, and that it starts quickly because it imports little."""

import subprocess
import sys

import pytest

import orchestrator
from orchestrator.cli.command import Plain
from orchestrator.cli.nouns import NOUNS, commands_of
from tests.cli.conftest import Run

COMMANDS = [name for noun in NOUNS for name in commands_of(noun)]


def test_help_lists_every_command_and_the_exit_codes(run: Run) -> None:
    for said in (run("--help"), run("help"), run("-h")):
        assert said.code == 0
        assert not said.err
        for name in COMMANDS:
            assert f"  {name} " in said.out
        assert "0 yes, 1 error, 2 usage, 3 not yet or blocked, 4 never" in said.out


def test_help_fits_a_terminal_of_100_columns(run: Run) -> None:
    assert max(map(len, run("--help").out.splitlines())) <= 100


def test_no_command_is_a_usage_error_with_the_help_on_stderr(run: Run) -> None:
    said = run()
    assert (said.code, said.out) == (2, "")
    assert "upgrade begin" in said.err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example_that_it_understands(run: Run, name: str) -> None:
    said = run(*name.split(), "--help")
    assert said.code == 0
    factory = commands_of(name.split(maxsplit=1)[0])[name]
    assert issubclass(factory, Plain)
    assert factory.EXAMPLE.startswith(f"orchestrator {name}")
    assert f"example:\n  {factory.EXAMPLE}" in said.out
    assert run("help", *name.split()).out == said.out


def test_help_of_a_noun_lists_its_verbs(run: Run) -> None:
    said = run("help", "wait")
    assert said.code == 0
    assert [line.split()[1:3] for line in said.out.splitlines()] == [
        ["wait", "readiness"],
        ["wait", "gate"],
        ["wait", "phase"],
    ]


def test_version(run: Run) -> None:
    assert run("--version").out == f"orchestrator {orchestrator.__version__}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("stats",), "Did you mean: status?"),
        (("upgrade",), "upgrade begin"),
        (("upgrade", "start", "inventory"), "'upgrade start inventory' is no command"),
        (("--no-such-option", "status"), "--no-such-option"),
        (("status", "--no-such-option"), "--no-such-option"),
        (("upgrade", "begin", "inventory"), "--release"),
        (("upgrade", "begin", "inventory", "--rel", "2"), "--release"),
        (("upgrade", "pause", "inventory"), "--reason"),
        (("upgrade", "pause", "inventory", "--reason", " "), "--reason may not be empty"),
        (("instance", "evict", "inventory", "f", "i"), "--reason"),
        (("fleet", "report", "inventory", "f", "--release", "1", "--instances", "many"), "--instances"),
        (("database", "evict", "inventory", "cell07"), "--reason"),
        (("database", "evict", "inventory", "cell07", "--reason", "closed down"), "--attest-gone"),
        (("data-migration", "assume", "inventory", "split_name"), "--reason"),
        (("data-migration", "assume", "inventory", "split_name", "--reason", "restored"), "--attest-done"),
        (("token", "new", "ci", "--role", "root"), "--role"),
        (("help", "nothing"), "no command"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused_before_anything_is_asked(
    run: Run, words: tuple[str, ...], says: str
) -> None:
    said = run(*words)
    assert (said.code, said.out) == (2, "")
    assert says in said.err


def test_a_daemon_that_is_not_there_is_named_with_what_to_do(run: Run) -> None:
    said = run("--url", "http://127.0.0.1:9", "status")
    assert (said.code, said.out) == (1, "")
    assert "http://127.0.0.1:9" in said.err
    assert "orchestrator serve" in said.err
    assert "--url" in said.err


def test_the_address_may_stand_after_the_noun_too(run: Run) -> None:
    assert "http://127.0.0.1:9" in run("status", "--url", "http://127.0.0.1:9").err


def test_an_address_that_is_none_is_refused(run: Run) -> None:
    said = run("--url", "127.0.0.1:8776", "status")
    assert said.code == 1
    assert "daemon_url_invalid" in said.err


def test_a_token_file_that_cannot_be_read_is_named(run: Run) -> None:
    said = run("--token-file", "/no/such/file", "status")
    assert said.code == 1
    assert "/no/such/file" in said.err


def test_a_mistake_of_the_program_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("what nobody expected")

    monkeypatch.setattr("orchestrator.cli.status.Status.take_action", fail)
    said = run("status")
    assert (said.code, said.out) == (1, "")
    assert "what nobody expected" in said.err
    assert "--debug" in said.err


def test_completion_knows_every_command(run: Run) -> None:
    said = run("complete")
    assert said.code == 0
    for noun in NOUNS:
        assert f"cmds_{noun.replace('-', '_')}=" in said.out


def test_the_exit_code_survives_a_reader_that_goes_away() -> None:
    program = f"{sys.executable} -m orchestrator config sample | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] in {"0", "141"}
    assert not done.stderr


@pytest.mark.parametrize("words", [("--help",), ("status", "--help"), ("wait", "readiness", "--help")])
def test_commands_that_ask_a_daemon_import_neither_servers_nor_sql(words: tuple[str, ...]) -> None:
    script = (
        "import sys\nfrom orchestrator.cli.main import main\n"
        f"main({list(words)!r})\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    heavy = {"sqlalchemy", "alembic", "oslo_config", "oslo_log", "starlette", "uvicorn", "apscheduler", "sqlglot"}
    assert heavy & set(done.stderr.split()) == set()
