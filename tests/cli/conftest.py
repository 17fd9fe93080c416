"""The command line against a daemon: the real application over real services, served on a port of this machine."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import uvicorn
from starlette.applications import Starlette

from orchestrator.cli.main import main
from tests.api.world import World


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the program in this process, as a shell would."""

    def run(*words: str) -> Said:
        capsys.readouterr()
        code = main(words)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Said(code, said.out, said.err)

    return run


@pytest.fixture
def world() -> World:
    """An orchestrator without databases, at rest at release 1."""
    return World().at_rest()


@contextmanager
def serving(application: Starlette) -> Iterator[str]:
    """Serve the application; gives its address."""
    config = uvicorn.Config(application, port=0, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    started = threading.Event()
    original = server.startup

    async def startup(*args: object, **kwargs: object) -> None:
        await original(*args, **kwargs)  # type: ignore[arg-type]
        started.set()

    server.startup = startup  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert started.wait(30)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        application.state.watch.close()
        thread.join(30)


@pytest.fixture
def daemon(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The daemon of `world`, which every command asks by default."""
    with serving(world.application()) as url:
        monkeypatch.setenv("ORCHESTRATOR_URL", url)
        yield url
