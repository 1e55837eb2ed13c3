"""The edge put together: the data plane, and beside it FastAPI behind pure ASGI layers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from starlette.types import ASGIApp

from app.api.auth import Callers, VirtualKeyAuth
from app.api.data_plane import DataPlane
from app.api.health import Health, Probes
from app.api.late import Late
from app.api.middleware import Bounds, Exchanges
from app.domain.addresses import Network
from app.gateway.authenticate import Authenticator
from app.gateway.pipeline import Gateway
from app.gateway.settle import Settler


class Edge(NamedTuple):
    """What a server serves."""

    data_plane: DataPlane
    """The nine operations."""
    control_plane: ASGIApp
    """Everything else."""
    load: Callable[[], Awaitable[None]]
    """Loads on a thread what the control plane needs, so that nobody who asks has to wait for it."""


def build_edge(
    gateway: Gateway,
    authenticator: Authenticator,
    settler: Settler,
    health: Health,
    make_framework: Callable[[], ASGIApp],
    *,
    trusted_proxies: Sequence[Network] = (),
) -> Edge:
    """Both planes. On the control plane: exchanges, then authentication, then bounds, then probes, then FastAPI.

    `make_framework` is called on a thread, by `Edge.load` or when the first request comes as far as FastAPI.
    `trusted_proxies` are those whose X-Forwarded-For is believed.
    """
    callers = Callers(authenticator, trusted_proxies)
    framework = Late(make_framework)
    control_plane = Exchanges(VirtualKeyAuth(Bounds(Probes(framework, health)), callers), settler)
    return Edge(DataPlane(gateway, callers, settler), control_plane, framework.load)
