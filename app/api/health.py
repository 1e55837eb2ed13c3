"""Probes and metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def health_routes(
    is_ready: Callable[[], Awaitable[bool]],
    render_metrics: Callable[[], Awaitable[bytes]],
    deployments: Callable[[], list[dict[str, Any]]],
) -> APIRouter:
    """Routes that need no key. `is_ready` says whether the database answers, `deployments` how each of them is."""
    router = APIRouter(tags=["health"])

    @router.get("/health/liveness", include_in_schema=False)
    @router.get("/health/liveliness", summary="The process runs")
    async def liveliness(request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    @router.get("/health/readiness", summary="The process can serve; ?details says how each deployment is")
    async def readiness(request: Request) -> Response:
        ready = await is_ready()
        answer: dict[str, Any] = {
            "status": "ready" if ready else "not ready",
            "database": "ok" if ready else "not answering",
        }
        if "details" in request.query_params:
            answer["deployments"] = deployments()
        return JSONResponse(answer, status_code=200 if ready else 503)

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def metrics(request: Request) -> Response:
        return Response(await render_metrics(), media_type=METRICS_TYPE)

    return router
