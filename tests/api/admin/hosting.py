"""The admin routes on a real socket, over a real database, with whoever the test wants to be."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.admin.administration import KeyAdministration
from app.api.admin.audit import audit_routes
from app.api.admin.container_administration import ContainerAdministration
from app.api.admin.containers import container_routes
from app.api.admin.group_administration import TEAM, USER, GroupAdministration
from app.api.admin.groups import team_routes, user_routes
from app.api.admin.keys import key_routes
from app.api.admin.standings import Standings
from app.api.errors import rendered
from app.domain.errors import GatewayError
from app.domain.identity import MASTER, Principal
from app.domain.stores import AuditLog, KeyStore
from app.gateway.authenticate import Authenticator
from app.storage.audit import SqlAuditLog
from app.storage.engine import Database
from app.storage.groups import sql_teams, sql_users
from app.storage.keys import SqlKeyStore
from app.storage.ledger import SqlLedger
from tests.exchanges import opened_exchange
from tests.gateway.gate import MASTER_KEY, Clock
from tests.registry.harbour import Harbour

DEPLOYMENTS = ("main", "azure-eu")
LIMITS: dict[str, Any] = {
    "max_budget": 12.5,
    "soft_budget": 10.0,
    "budget_duration": "30d",
    "budget_timezone": "Europe/Berlin",
    "rpm_limit": 60,
    "max_parallel_requests": 4,
    "max_containers": 3,
    "max_memory_gb": 12,
    "max_creates_per_minute": 0,
    "max_upload_bytes_per_day": 2**40,
    "max_download_bytes_per_day": 2**41,
    "allowed_memory_limits": ["1g", "4g"],
    "max_file_bytes": 1000,
    "shadow": True,
}
"""Everything that may be limited, as it is asked for and answered."""
STANDING: dict[str, Any] = {
    "spend": 0.0,
    "total_spend": 0.0,
    "reserved": 0.0,
    "remaining": None,
    "containers": 0,
    "memory_gb": 0,
}
"""How something stands that nothing was counted for."""


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
    audit: AuditLog
    database: Database
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
async def hosted(database: Database, harbour: Harbour | None = None) -> AsyncIterator[Admin]:
    """Serve the key, team, user and audit routes, and where there is a harbour the container routes."""
    clock = Clock() if harbour is None else harbour.clock
    store, audit = SqlKeyStore(database), SqlAuditLog(database)
    ledger = SqlLedger(database, lambda: datetime.fromtimestamp(clock(), UTC))
    standings = Standings(ledger, audit, clock)
    authenticator = Authenticator(store, MASTER_KEY, clock)
    keys = KeyAdministration(store, authenticator.forget, standings, DEPLOYMENTS)
    teams = GroupAdministration(TEAM, sql_teams(database), authenticator.forget_team, standings)
    users = GroupAdministration(USER, sql_users(database), authenticator.forget_user, standings)
    framework = FastAPI()
    for router in (key_routes(keys), team_routes(teams, keys), user_routes(users, keys), audit_routes(audit)):
        framework.include_router(router)
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
                yield Admin(client, posing, authenticator, store, audit, database, clock)
        finally:
            server.should_exit = True
            await serving
            await authenticator.aclose()
