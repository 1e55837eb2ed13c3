"""What the functions send with: one pool for the process, and one for each event loop."""

from __future__ import annotations

from typing import Final

from quaymaster.async_resources import AsyncContainers
from quaymaster.options import CallOptions, Settings
from quaymaster.resources import Containers
from quaymaster.transport import AsyncTransport, Transport

_TRANSPORT: Final = Transport()
_ASYNC_TRANSPORT: Final = AsyncTransport()


def containers(options: CallOptions) -> Containers:
    """What a blocking function sends with. Raises MissingCredentialError and InvalidArgumentError."""
    return Containers(_TRANSPORT, Settings.of_call(options))


def async_containers(options: CallOptions) -> AsyncContainers:
    """What an asynchronous function sends with. Raises MissingCredentialError and InvalidArgumentError."""
    return AsyncContainers(_ASYNC_TRANSPORT, Settings.of_call(options))
