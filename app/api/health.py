"""Probes and metrics, answered ahead of FastAPI, which describes them and is not there before somebody needs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """What is answered without a key. `is_ready` says whether the database answers, `deployments` how each one is."""

    def __init__(
        self,
        is_ready: Callable[[], Awaitable[bool]],
        render_metrics: Callable[[], Awaitable[bytes]],
        deployments: Callable[[], list[dict[str, Any]]],
    ) -> None:
        self._is_ready = is_ready
        self._render_metrics = render_metrics
        self._deployments = deployments

    async def liveliness(self, request: Request) -> Response:
        """The process runs."""
        return JSONResponse({"status": "alive"})

    async def readiness(self, request: Request) -> Response:
        """The process can serve, or 503; ?details says how each deployment is."""
        ready = await self._is_ready()
        answer: dict[str, Any] = {
            "status": "ready" if ready else "not ready",
            "database": "ok" if ready else "not answering",
        }
        if "details" in request.query_params:
            answer["deployments"] = self._deployments()
        return JSONResponse(answer, status_code=200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        """Everything that is counted, as Prometheus reads it."""
        return Response(await self._render_metrics(), media_type=METRICS_TYPE)


class Probes:
    """Answers GET of what `Health` has, and sends everything else to `app`."""

    def __init__(self, app: ASGIApp, health: Health) -> None:
        self.app = app
        self._answers = {
            "/health/liveness": health.liveliness,
            "/health/liveliness": health.liveliness,
            "/health/readiness": health.readiness,
            "/metrics": health.metrics,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what finding the answer raises, and what the application raises."""
        answer = self._answers.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if answer is None:
            await self.app(scope, receive, send)
            return
        response = await answer(Request(scope, receive))
        await response(scope, receive, send)
