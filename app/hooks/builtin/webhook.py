"""Request lines, posted in batches, signed."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore

from app.hooks.builtin.outlet import NotSent
from app.hooks.builtin.pen import Written

TIMEOUT_SECONDS: Final = 10.0
MAX_ROWS: Final = 200
EVERY_SECONDS: Final = 1.0
GIVE_UP_SECONDS: Final = 300.0
MAX_PENDING_BYTES: Final = 16 * 2**20

_AGAIN: Final = frozenset({408, 425, 429})


class Webhook:
    """Posts batches to `url` as lines of JSON, with the headers

        x-quaymaster-timestamp: unix seconds
        x-quaymaster-signature: v1=HMAC-SHA256(secret, timestamp "." body) in hex
        x-quaymaster-delivery:  the same when a batch is sent again

    Unless `allow_private`, only public addresses are connected to, whatever the name resolves to at that moment.
    Redirects are not followed. `clock` gives unix seconds. Used by one thread.
    """

    def __init__(
        self, url: str, secret: bytes, *, allow_private: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self._url = url
        self._secret = secret
        self._clock = clock
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context() if urlsplit(url).scheme == "https" else None,
            max_connections=1,
            network_backend=PublicNetwork(allow_private=allow_private),
        )

    def send(self, batch: Sequence[Written]) -> None:
        """Post a batch. Raises NotSent where it may be sent again, Refused where not; no message holds an address."""
        body = b"".join([written.line for written in batch])
        timestamp = f"{self._clock():.0f}"
        headers: dict[bytes | str, bytes | str] = {
            "host": urlsplit(self._url).netloc,
            "content-type": "application/x-ndjson",
            "content-length": str(len(body)),
            "user-agent": "quaymaster",
            "x-quaymaster-timestamp": timestamp,
            "x-quaymaster-signature": f"v1={signature(self._secret, timestamp, body)}",
            "x-quaymaster-delivery": hashlib.sha256(body).hexdigest()[:32],
        }
        limits = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_SECONDS)
        try:
            with self._pool.stream(
                "POST", self._url, headers=headers, content=body, extensions={"timeout": limits}
            ) as answer:
                status = answer.status
        except PrivateAddress:
            raise Refused("the webhook's address is private, and webhook_allow_private is false") from None
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            raise NotSent(type(error).__name__) from None
        if status >= 500 or status in _AGAIN:
            raise NotSent(f"status {status}")
        if status >= 300:
            raise Refused(f"status {status}")

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """What a receiver computes, and compares in constant time."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class Refused(Exception):
    """A batch was refused for good."""


class PrivateAddress(Exception):
    """A name leads to an address that is not to be connected to."""


class PublicNetwork(httpcore.NetworkBackend):
    """Connects to public addresses only: what a name resolves to is looked at, and that very address connected to."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect. Raises PrivateAddress where an address of this name is private, and httpcore's errors."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(type(error).__name__) from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise PrivateAddress
        for address in addresses[:-1]:
            try:
                return self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._network.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """Never."""
        raise PrivateAddress

    def sleep(self, seconds: float) -> None:
        """Block so long."""
        self._network.sleep(seconds)


def is_public(address: str) -> bool:
    """Whether an address is one of the open Internet, also where IPv4 is wrapped into IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if wrapped is None and ip in _NAT64:
            wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(str(wrapped))
        return ip in _UNICAST and ip.is_global
    return ip.is_global and not ip.is_multicast and ip not in _PROTOCOLS


_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All that is given out. Elsewhere are networks of one's own, and IPv4 in clothes that went out of use."""
_PROTOCOLS: Final = ipaddress.IPv4Network("192.0.0.0/24")
"""Python calls some of it global; one cloud answers for its machines' identities there."""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
