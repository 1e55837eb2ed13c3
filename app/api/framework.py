"""FastAPI: the control plane's routes, and the description of everything at /docs."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp

from app.api import container_files, containers
from app.api.errors import rendered
from app.api.failing import bug
from app.api.health import Health
from app.domain.errors import ErrorCode, GatewayError
from app.domain.exchange import Exchange
from app.telemetry.redaction import shown_path
from quaymaster.operations import BASE_PATH


def build_framework(control_plane: Sequence[APIRouter], health: Health, version: str) -> ASGIApp:
    """FastAPI with all routes. Its requests have an exchange in their scope's state."""
    framework = FastAPI(title="Quaymaster", version=version, redirect_slashes=False, redoc_url=None)
    for router in (containers.router, container_files.router):
        framework.include_router(router, prefix=BASE_PATH)
        framework.include_router(router, include_in_schema=False)
    for router in (*control_plane, _probes(health)):
        # As they are: include_router makes a second, equal one of each at the first request.
        framework.router.routes.extend(router.routes)
    framework.add_exception_handler(GatewayError, _answer)
    framework.add_exception_handler(HTTPException, _answer)
    framework.add_exception_handler(Exception, _answer)
    return framework


def _probes(health: Health) -> APIRouter:
    """For the description; `app.api.health` answers them before they come here, all but those of a wrong method."""
    router = APIRouter(tags=["health"])
    router.get("/health/liveness", include_in_schema=False)(health.liveliness)
    router.get("/health/liveliness", summary="The process runs")(health.liveliness)
    router.get("/health/readiness", summary="The process can serve; ?details says how each deployment is")(
        health.readiness
    )
    router.get("/metrics", summary="Prometheus metrics", response_class=Response)(health.metrics)
    return router


async def _answer(request: Request, error: Exception) -> Response:
    """What routes and the framework itself raise, in the one shape of `app.api.errors`."""
    exchange: Exchange = request.scope["state"]["exchange"]
    if isinstance(error, ClientDisconnect):  # nobody is there to be told
        raise error
    if not isinstance(error, GatewayError):
        error = _translated(request, exchange, error)
    exchange.error_code = error.code.value
    status, headers, body = rendered(error)
    exchange.response_json = body
    response = Response(body, status)
    response.raw_headers = headers
    return response


def _translated(request: Request, exchange: Exchange, error: Exception) -> GatewayError:
    """The framework's own refusals: no such path, no such method."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        allow = tuple(
            sorted(name.strip() for name in (error.headers or {}).get("Allow", "").split(",") if name.strip())
        )
        return GatewayError(ErrorCode.METHOD_NOT_ALLOWED, f"{request.method} is not allowed here.", allow=allow)
    if isinstance(error, HTTPException) and error.status_code == 404:
        return GatewayError(
            ErrorCode.ROUTE_NOT_FOUND, f"Invalid URL ({request.method} {shown_path(exchange.path[:1024])[:256]})."
        )
    return bug(exchange)
