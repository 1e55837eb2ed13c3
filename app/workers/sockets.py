"""The sockets that workers listen on, made before them and kept longer than any of them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

BACKLOG: Final = 2048


def listen(host: str, port: int, count: int) -> list[list[socket.socket]]:
    """For each of `count` workers, its own sockets on every address of `host`; port 0 takes one that is free.

    The kernel spreads new connections over them (SO_REUSEPORT): of one socket that all share, a single worker was seen
    to take every connection. Connections to a worker that died wait in its sockets for the one that follows it.

    Raises OSError where the address cannot be had, also where other programs share the port in the same way.
    """
    addresses = [
        (family, address)
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    ]
    with ExitStack() as stack:
        port = _claim(addresses, port)
        found = [[stack.enter_context(_listening(*_at(each, port))) for each in addresses] for _ in range(count)]
        stack.pop_all()
    return found


def listen_privately() -> socket.socket:
    """A socket on a free port of the loopback interface."""
    return _listening(socket.AF_INET, ("127.0.0.1", 0), shared=False)


def port_of(listening: Sequence[socket.socket]) -> int:
    """The port that these sockets listen on."""
    port: int = listening[0].getsockname()[1]
    return port


def _claim(addresses: Sequence[tuple[int, tuple[object, ...]]], port: int) -> int:
    """The port, once it is sure that nobody has it: binding a shared port does not fail where somebody shares it."""
    for address in addresses:
        with _bound(*_at(address, port), shared=False) as probe:
            port = probe.getsockname()[1]
    return port


def _at(address: tuple[int, tuple[object, ...]], port: int) -> tuple[int, tuple[object, ...]]:
    family, (host, _, *rest) = address
    return family, (host, port, *rest)


def _listening(family: int, address: tuple[object, ...], *, shared: bool = True) -> socket.socket:
    bound = _bound(family, address, shared=shared)
    bound.listen(BACKLOG)
    bound.setblocking(False)
    return bound


def _bound(family: int, address: tuple[object, ...], *, shared: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound
