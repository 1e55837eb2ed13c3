"""The admin routes on a real socket, over a real database, with whoever the test wants to be."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.admin.administration import KeyAdministration
from app.api.admin.container_administration import ContainerAdministration
from app.api.admin.containers import container_routes
from app.api.admin.keys import key_routes
from app.api.errors import rendered
from app.domain.errors import GatewayError
from app.domain.identity import MASTER, Principal
from app.domain.ports import KeyStore
from app.gateway.authenticate import Authenticator
from tests.exchanges import opened_exchange
from tests.gateway.gate import MASTER_KEY, Clock
from tests.registry.harbour import Harbour

DEPLOYMENTS = ("main", "azure-eu")


class Refused(Exception):
    """An answer in OpenAI's error envelope."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(f"{status} {error}")
        self.status = status
        self.code = error["code"]
        self.param = error["param"]
        self.message = error["message"]


class Posing:
    """In the place of the authentication middleware: everybody is `principal`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.principal: Principal = MASTER

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {}).update(principal=self.principal, exchange=opened_exchange(scope["path"]))
        await self.app(scope, receive, send)


@dataclass
class Admin:
    """The routes, and what stands behind them."""

    client: httpx.AsyncClient
    posing: Posing
    authenticator: Authenticator
    store: KeyStore
    clock: Clock

    async def post(self, path: str, fields: Any = None, *, content: bytes | None = None) -> Any:
        """Raises Refused."""
        if content is not None:
            return _answer(await self.client.post(path, content=content))
        return _answer(await self.client.post(path, json={} if fields is None else fields))

    async def get(self, path: str, **query: Any) -> Any:
        """Raises Refused."""
        return _answer(await self.client.get(path, params=query or None))

    async def works(self, key: str) -> bool:
        """Whether a request with this key would get through."""
        credential = key.encode()
        try:
            return bool(self.authenticator.cached(credential) or await self.authenticator.authenticate(credential))
        except GatewayError:
            return False


def _answer(response: httpx.Response) -> Any:
    if response.is_error:
        assert set(response.json()) == {"error"}, response.text
        raise Refused(response.status_code, response.json()["error"])
    return response.json()


async def _refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    status, _headers, body = rendered(error)
    return Response(body, status, media_type="application/json")


def _containers(keys: KeyStore, harbour: Harbour) -> ContainerAdministration:
    return ContainerAdministration(
        harbour.containers,
        keys,
        deployments=harbour.deployments,
        ownerships=harbour.ownerships,
        reaper=harbour.reaper,
        clock=harbour.clock,
    )


@asynccontextmanager
async def hosted(store: KeyStore, harbour: Harbour | None = None) -> AsyncIterator[Admin]:
    """Serve the key routes, and where there is a harbour the container routes."""
    clock = Clock() if harbour is None else harbour.clock
    authenticator = Authenticator(store, MASTER_KEY, clock)
    framework = FastAPI()
    framework.include_router(key_routes(KeyAdministration(store, authenticator.forget, DEPLOYMENTS, clock)))
    if harbour is not None:
        framework.include_router(container_routes(_containers(store, harbour)))
    framework.add_exception_handler(GatewayError, _refusal)
    posing = Posing(framework)
    server = uvicorn.Server(uvicorn.Config(posing, lifespan="off", log_level="warning"))
    # asyncio turns Nagle's delays off only where it is told that the protocol is TCP.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            async with httpx.AsyncClient(base_url=url, trust_env=False, verify=False) as client:
                yield Admin(client, posing, authenticator, store, clock)
        finally:
            server.should_exit = True
            await serving
            await authenticator.aclose()
