"""Opening the deployments that the settings name: the embedded provider, and the upstreams' clients."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from app.config.deployments import DeploymentSettings
from app.config.settings import Settings
from app.domain.deployments import Deployment
from app.domain.ports import Timeouts, Upstream
from app.upstream.wire import WireUpstream
from quaymaster.providers import Credential, Endpoint, dialect_of


@dataclass(frozen=True, slots=True)
class Hosted:
    """Where another process serves an embedded deployment, and the key for it."""

    api_base: str
    api_key: str


async def open_deployments(
    settings: Settings, hosted: Mapping[str, Hosted], stack: AsyncExitStack
) -> dict[str, list[Deployment]]:
    """The deployments behind each provider name, in the order they are configured in. `stack` closes them.

    `hosted` are embedded ones that another process serves, by name. Raises DataDirInUse.
    """
    deployments: dict[str, list[Deployment]] = {}
    for configured in settings.deployments:
        if there := hosted.get(configured.name):
            deployment = _deployment(configured, there.api_base, Credential(api_key=there.api_key), stack)
        elif configured.provider == "local":
            deployment = await _open_local(configured, settings, stack)
        else:
            deployment = _open_remote(configured, stack)
        deployments.setdefault(configured.provider, []).append(deployment)
    if settings.stands_in_for_openai:
        deployments["openai"] = deployments["local"]
    return deployments


async def _open_local(configured: DeploymentSettings, settings: Settings, stack: AsyncExitStack) -> Deployment:
    """Start the embedded provider. It gets a key of its own, so that nobody goes round the gateway to it."""
    if configured.data_dir is None:
        raise ValueError("settings fill in data_dir for the local provider")
    from app.local.server import LocalServer  # 10 ms and 1 MB that a gateway of remote providers need not pay

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
        weight=configured.weight,
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
