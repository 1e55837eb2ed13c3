"""The clients: one pool of connections, one place to send to, many calls."""

from __future__ import annotations

from types import TracebackType
from typing import Self, Unpack

import httpx

from quaymaster.async_resources import AsyncContainers
from quaymaster.options import ClientOptions, Settings
from quaymaster.resources import Containers
from quaymaster.signatures import taking
from quaymaster.transport import AsyncTransport, Transport


class Quaymaster:
    """A client of the containers API: of a gateway, or of a provider.

        with Quaymaster() as client:
            container = client.containers.create(name="crate")
            client.containers.files.create(container.id, file="data.csv")

    Args:
        custom_llm_provider: whose API it is, such as "openai" or "azure". Default: openai, or what the gateway uses.
        api_key: the key. Default: QUAYMASTER_API_KEY for a gateway; OPENAI_API_KEY, AZURE_API_KEY, … for a provider.
        api_base: the base URL. Default: QUAYMASTER_API_BASE, a gateway's; else OPENAI_BASE_URL, AZURE_API_BASE, …
        api_version: sent as `api-version` (Azure). Default: AZURE_API_VERSION, else none.
        timeout: seconds to wait for the server at each step, or an httpx.Timeout. Default: 600, and 5 to connect.
        max_retries: how often to try again after a failure that may pass.
        default_headers, default_query: added to every request.
        http_client: send with this client of yours, which stays open; for proxies, certificates and the like.

    Threads may share it. Raises MissingCredentialError, which names the variable to set, and InvalidArgumentError.
    """

    @taking(ClientOptions)
    def __init__(self, *, http_client: httpx.Client | None = None, **options: Unpack[ClientOptions]) -> None:
        self._settings = Settings.of_client(options)
        self._transport = Transport(http_client)
        self.containers = Containers(self._transport, self._settings)

    @property
    def base_url(self) -> str:
        """Where requests go."""
        return self._settings.destination.base_url

    def close(self) -> None:
        """Close its connections. Further calls raise QuaymasterError."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"


class AsyncQuaymaster:
    """A client of the containers API whose methods are awaited: otherwise the same as `Quaymaster`.

        async with AsyncQuaymaster() as client:
            container = await client.containers.create(name="crate")

    It may be used in one event loop after another; each has connections of its own.
    """

    @taking(ClientOptions)
    def __init__(self, *, http_client: httpx.AsyncClient | None = None, **options: Unpack[ClientOptions]) -> None:
        self._settings = Settings.of_client(options)
        self._transport = AsyncTransport(http_client)
        self.containers = AsyncContainers(self._transport, self._settings)

    @property
    def base_url(self) -> str:
        """Where requests go."""
        return self._settings.destination.base_url

    async def aclose(self) -> None:
        """Close its connections in this event loop. Further calls raise QuaymasterError."""
        await self._transport.aclose()

    close = aclose

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"
