"""What the functions send with: one pool for the process, and one for each event loop."""

from __future__ import annotations

from typing import Final

from quaymaster.async_resources import AsyncContainers
from quaymaster.options import Settings, resolve
from quaymaster.resources import Containers
from quaymaster.transport import AsyncTransport, Transport

_TRANSPORT: Final = Transport()
_ASYNC_TRANSPORT: Final = AsyncTransport()


def containers(
    custom_llm_provider: str | None, api_key: str | None, api_base: str | None, api_version: str | None
) -> Containers:
    """What a blocking function sends with. Raises MissingCredentialError and InvalidArgumentError."""
    return Containers(_TRANSPORT, _settings(custom_llm_provider, api_key, api_base, api_version))


def async_containers(
    custom_llm_provider: str | None, api_key: str | None, api_base: str | None, api_version: str | None
) -> AsyncContainers:
    """What an asynchronous function sends with. Raises MissingCredentialError and InvalidArgumentError."""
    return AsyncContainers(_ASYNC_TRANSPORT, _settings(custom_llm_provider, api_key, api_base, api_version))


def _settings(provider: str | None, api_key: str | None, api_base: str | None, api_version: str | None) -> Settings:
    return Settings(
        destination=resolve(custom_llm_provider=provider, api_key=api_key, api_base=api_base, api_version=api_version)
    )
