"""The application: routes, services and settings put together as one ASGI application."""

from __future__ import annotations

from functools import partial
from itertools import groupby

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Path

from orchestrator.api import upgrades
from orchestrator.api.desks import LeaseDesks
from orchestrator.api.edge import Edge
from orchestrator.api.endpoint import Endpoint, as_response
from orchestrator.api.exchange import ApiServices, Route
from orchestrator.api.faults import Refused, answer_to, not_found
from orchestrator.api.routes import ROUTES
from orchestrator.api.settings import ApiSettings
from orchestrator.api.turns import Turns
from orchestrator.api.watch import Watch

__all__ = ["ApiServices", "ApiSettings", "create_application"]


def create_application(services: ApiServices, settings: ApiSettings) -> Starlette:
    """The API as an ASGI application. Its `state.watch.close()` ends all waiting requests when the daemon stops."""
    watch = Watch(
        services.board.whereabouts,
        partial(upgrades.document, services),
        fresh_seconds=settings.fresh_seconds,
        interval_seconds=settings.watch_interval_seconds,
        most_waiters=settings.most_waiters,
    )

    turns = Turns(wait_seconds=settings.turn_wait_seconds)
    desks = LeaseDesks(services.leases, services.renewing, services.nudge, gather_seconds=settings.gather_seconds)

    def path_of(route: Route) -> str:
        return route.path

    paths = [
        Path(path, Endpoint(tuple(routes), services, settings, watch, turns, desks))
        for path, routes in groupby(sorted(ROUTES, key=path_of), path_of)
    ]
    application = Starlette(
        routes=paths,
        middleware=[Middleware(Edge, is_open=settings.tokens is None)],
        exception_handlers={HTTPException: _http_fault},
    )
    application.router.redirect_slashes = False  # a probe takes a redirect for a yes
    application.state.watch = watch
    return application


async def _http_fault(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses. Only unknown paths are left to it."""
    if isinstance(error, HTTPException) and error.status_code != 404:
        return as_response(
            answer_to(Refused(error.status_code, "request_refused", error.detail, remedy="/docs says what is asked."))
        )
    return as_response(answer_to(not_found()))
