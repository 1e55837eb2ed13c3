"""The composition root: the one place that knows every part by name and puts them together."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Final

from starlette.types import ASGIApp

from app.api.admin.administration import KeyAdministration
from app.api.admin.keys import key_routes
from app.api.application import build_edge
from app.api.health import health_routes
from app.config.deployments import DeploymentSettings
from app.config.settings import Settings
from app.domain.deployments import Deployment
from app.domain.ports import StoreUnavailable, Timeouts, Upstream
from app.gateway.authenticate import Authenticator
from app.gateway.pipeline import Gateway
from app.gateway.resolve import Resolver
from app.gateway.settle import Settler
from app.hooks.builtin.log import RequestLog
from app.hooks.runner import HookRunner, load_plugin
from app.hooks.spec import Hooks
from app.local.server import LocalServer
from app.storage.engine import Database
from app.storage.keys import SqlKeyStore
from app.tasks import Tasks
from app.telemetry.metrics import Metrics
from app.upstream.wire import WireUpstream
from quaymaster.providers import Credential, Endpoint, dialect_of

VERSION: Final = version("quaymaster")
_DRAIN_TASKS_SECONDS: Final = 5.0


@asynccontextmanager
async def create_app(
    settings: Settings, master_key: str, *, log_lines_dropped: Callable[[], int] = lambda: 0
) -> AsyncIterator[ASGIApp]:
    """The gateway as an ASGI application, with everything it needs open for as long as the context lasts.

    `log_lines_dropped` tells metrics how many log lines found no room.

    Raises StoreUnavailable, UnsupportedDatabase, DataDirInUse, and what loading a plugin raises.
    """
    async with AsyncExitStack() as stack:
        metrics = Metrics(version=VERSION, log_lines_dropped=log_lines_dropped)
        tasks = Tasks()
        hooks = HookRunner(_plugins(settings), metrics, timeout_seconds=settings.hooks.timeout_seconds)
        spool_dir = settings.data_dir / "spool"
        await asyncio.to_thread(spool_dir.mkdir, mode=0o700, parents=True, exist_ok=True)

        database = Database.open(settings.database_url.get_secret_value())
        stack.push_async_callback(database.close)
        await database.migrate()
        store = SqlKeyStore(database)
        authenticator = Authenticator(store, master_key)
        stack.push_async_callback(authenticator.aclose)

        deployments = await _open_deployments(settings, stack)
        resolver = Resolver(
            deployments,
            settings.default_provider,
            max_json_bytes=settings.server.max_json_bytes,
            max_upload_bytes=settings.server.max_upload_bytes,
            spool_dir=str(spool_dir),
        )

        async def database_answers() -> bool:
            try:
                await store.get("0" * 16)
            except StoreUnavailable:
                return False
            return True

        await hooks.startup()
        stack.push_async_callback(hooks.shutdown)
        stack.push_async_callback(tasks.drain, _DRAIN_TASKS_SECONDS)
        yield build_edge(
            Gateway(deployments, resolver, hooks),
            authenticator,
            Settler(metrics, hooks, tasks),
            [
                key_routes(KeyAdministration(store, authenticator.forget)),
                health_routes(database_answers, metrics.render),
            ],
            VERSION,
        )


def _plugins(settings: Settings) -> list[Hooks]:
    log = RequestLog(bodies=settings.logging.bodies, max_body_bytes=settings.logging.max_body_bytes)
    return [log, *(load_plugin(plugin.use, plugin.options) for plugin in settings.hooks.plugins)]


async def _open_deployments(settings: Settings, stack: AsyncExitStack) -> dict[str, Deployment]:
    """Every deployment by the provider name it answers to."""
    deployments: dict[str, Deployment] = {}
    for configured in settings.deployments:
        if configured.provider == "local":
            deployment = await _open_local(configured, settings, stack)
        else:
            deployment = _open_remote(configured, stack)
        deployments[configured.provider] = deployment
    if settings.stands_in_for_openai:
        deployments["openai"] = deployments["local"]
    return deployments


async def _open_local(configured: DeploymentSettings, settings: Settings, stack: AsyncExitStack) -> Deployment:
    """Start the embedded provider. It gets a key of its own, so that nobody goes round the gateway to it."""
    if configured.data_dir is None:
        raise ValueError("settings fill in data_dir for the local provider")
    api_key = secrets.token_urlsafe(32)
    server = LocalServer(configured.data_dir, api_key=api_key, max_file_bytes=settings.server.max_upload_bytes)
    api_base = await server.start()
    stack.push_async_callback(server.stop)
    return _deployment(configured, api_base, Credential(api_key=api_key), stack)


def _open_remote(configured: DeploymentSettings, stack: AsyncExitStack) -> Deployment:
    if configured.api_base is None:
        raise ValueError("settings require api_base for every remote provider")
    credential = Credential(
        api_key=configured.api_key.get_secret_value() if configured.api_key else None,
        bearer_token=configured.bearer_token.get_secret_value() if configured.bearer_token else None,
        organization=configured.organization,
        project=configured.project,
    )
    return _deployment(configured, configured.api_base, credential, stack)


def _deployment(
    configured: DeploymentSettings, api_base: str, credential: Credential, stack: AsyncExitStack
) -> Deployment:
    endpoint = Endpoint.parse(api_base)
    dialect = dialect_of(configured.provider)
    upstream = _upstream(configured, endpoint.origin)
    stack.push_async_callback(upstream.aclose)
    return Deployment(
        name=configured.name,
        provider=configured.provider,
        upstream=upstream,
        base_path=endpoint.base_path,
        query_suffix=dialect.query(configured.api_version),
        credential_headers=dialect.headers(credential),
    )


def _upstream(configured: DeploymentSettings, origin: str) -> Upstream:
    limits = configured.timeouts
    timeouts = Timeouts(
        connect_seconds=limits.connect_seconds,
        read_seconds=limits.read_seconds,
        write_seconds=limits.write_seconds,
        pool_seconds=limits.pool_seconds,
    )
    context = ssl.create_default_context(cafile=str(configured.ca_file)) if configured.ca_file else None
    if configured.transport == "wire":
        return WireUpstream(
            origin=origin, timeouts=timeouts, max_connections=configured.max_connections, ssl_context=context
        )
    from app.upstream.client import ClientUpstream  # httpx takes 60 ms and 8 MB that most gateways never need

    return ClientUpstream(
        origin=origin,
        timeouts=timeouts,
        max_connections=configured.max_connections,
        ssl_context=context,
        proxy=configured.proxy.get_secret_value() if configured.proxy else None,
        http2=configured.http2,
    )
