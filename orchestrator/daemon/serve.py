"""Serving: the whole life of one daemon process, from its settings to its exit code."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from contextlib import closing

import uvicorn
from oslo_log import log

from orchestrator.api.application import ApiServices, ApiSettings, create_application
from orchestrator.api.auth import Tokens
from orchestrator.conf.settings import Settings
from orchestrator.daemon.composition import Services, address_of, compose
from orchestrator.daemon.connections import Connection, most_connections
from orchestrator.daemon.garbage import collect_seldom
from orchestrator.daemon.jobs import Jobs
from orchestrator.daemon.notify import notify
from orchestrator.daemon.place import held
from orchestrator.domain.errors import ConfigurationError

LOG = log.getLogger(__name__)

SHUTDOWN_SECONDS = 5
"""How long requests under way may take to end once the daemon was asked to stop."""

MOST_WAITERS = 5000
"""How many requests may wait for a change; fewer where the system grants fewer connections: half are for the others."""


def serve(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT, then let running work end and give up leadership. Returns the exit code.

    Raises `OrchestratorError` where it cannot start; nothing is left running then.
    """
    stopping = threading.Event()
    signals = _Signals()
    channel = _bind(settings)
    with closing(channel), held(address_of(settings)) as place:
        tokens = Tokens.read(settings.tokens_file) if settings.tokens_file else None
        services = compose(settings, stopping, place)
        jobs = _jobs(services, stopping, settings, signals.end)
        server = signals.server = _server(services, jobs, stopping, settings, tokens)
        collect_seldom()
        try:
            jobs.start()
            server.run(sockets=[channel])
        finally:
            jobs.stop()
    if not signals.asked_to_stop and (signals.is_over or not server.started):
        return 1
    LOG.info("stopped")
    return 0


class _Signals:
    """SIGTERM and SIGINT end the start at once, later the server. While it serves, the server has its own handlers."""

    def __init__(self) -> None:
        self.server: _Server | None = None
        self.asked_to_stop = False
        self.is_over = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)

    def _ask_to_stop(self, number: int, frame: object) -> None:
        if self.server is None:
            raise SystemExit(0)
        self.asked_to_stop = True
        self.server.should_exit = True

    def end(self) -> None:
        """This daemon was counted out: it stops, and that is a failure."""
        self.is_over = True
        if self.server is not None:
            self.server.should_exit = True


class _Server(uvicorn.Server):
    """Says when it is ready and when it stops, to the jobs too, and lets nobody wait when it ends."""

    def __init__(self, config: uvicorn.Config, stopping: threading.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            for channel in sockets or ():  # here, since an event loop may keep to itself that it could not
                channel.listen(self.config.backlog)
            await super().startup(sockets)
        except OSError as error:  # two that started together were both let to bind
            raise _unusable(self.config.host, self.config.port, error) from error
        if self.started:
            notify("READY=1")
            where = {"action": "serve", "host": self.config.host, "port": self.config.port}
            LOG.info("serving at http://%(host)s:%(port)d", where)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping.set()
        notify("STOPPING=1")
        LOG.info("stopping: what is under way ends first")
        self.config.app.state.watch.close()  # type: ignore[union-attr]  # it is our Starlette application
        await super().shutdown(sockets)


def _server(
    services: Services, jobs: Jobs, stopping: threading.Event, settings: Settings, tokens: Tokens | None
) -> _Server:
    connections = most_connections()
    application = create_application(
        ApiServices(
            upgrades=services.upgrades,
            leases=services.leases,
            renewing=services.renewing,
            fleets=services.fleets,
            board=services.board,
            data_migrations=services.data_migrations,
            rows_control=services.rows_control,
            daemons=services.daemons,
            is_healthy=lambda: jobs.is_running,
            nudge=jobs.nudge,
        ),
        ApiSettings(
            tokens=tokens,
            most_waiters=min(MOST_WAITERS, connections // 2),
        ),
    )
    return _Server(
        uvicorn.Config(
            application,
            http=Connection,
            ws="none",
            limit_concurrency=connections,
            host=settings.bind,
            port=settings.port,
            log_config=None,
            log_level="error",  # one line of ours says that it serves; what strangers send wrong is theirs to know
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        ),
        stopping,
    )


def _jobs(services: Services, stopping: threading.Event, settings: Settings, end: Callable[[], None]) -> Jobs:
    return Jobs(
        services.context,
        services.elections,
        services.advancing,
        services.data_migrations,
        services.evicting,
        services.sweep,
        services.daemons,
        stopping,
        contract_own_tables=services.contract_own_tables,
        end=end,
        cycle_seconds=settings.cycle_seconds,
        campaign_seconds=settings.leadership_ttl_seconds / 3,
        row_workers=services.row_workers,
    )


def _bind(settings: Settings) -> socket.socket:
    """The socket that the API is served on, before anything else is begun. Raises `ConfigurationError`.

    It does not listen yet: a daemon that is only starting refuses, so that whoever has another one to ask does so at
    once, instead of waiting for this one.
    """
    is_six = ":" in settings.bind
    channel = socket.socket(socket.AF_INET6 if is_six else socket.AF_INET)
    try:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_six:
            channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        channel.bind((settings.bind, settings.port))
    except OSError as error:
        channel.close()
        raise _unusable(settings.bind, settings.port, error) from error
    return channel


def _unusable(host: str, port: int, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        "address_unusable",
        f"cannot listen on {host} port {port}: {error.strerror}",
        remedy="Is another daemon running there? Choose another [api] bind or port.",
    )
