"""Where a request comes from: addresses and networks. Pure.

An IPv4 address that came in IPv6's clothes (`::ffff:192.0.2.7`) is the IPv4 address, in requests and in lists alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAX_CHARS: Final = 64
"""No address with its port is longer."""
_MAPPED: Final = IPv6Network("::ffff:0:0/96")


def parse_network(text: str) -> Network:
    """A network in CIDR notation, or a single address. Raises ValueError."""
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError("expected an address or a network, such as 192.0.2.7 or 10.0.0.0/8") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFF_FFFF, network.prefixlen - 96))
    return network


def parse_address(text: str) -> Address | None:
    """An address as a socket or a proxy says it; a proxy may add the port. None for what is no address."""
    return _parsed(text) if len(text) <= _MAX_CHARS else None


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def client_address(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> Address | None:
    """Who asks: the peer, or where that is a trusted proxy the last one before the trusted proxies.

    `forwarded` are the values of X-Forwarded-For, in their order. Each proxy adds whom it heard from at the end, so
    they are believed from the right for as long as who said so is trusted. None where that cannot be told.
    """
    address = None if peer is None else parse_address(peer)
    heard = [part for value in forwarded for part in value.split(",")]
    while address is not None and heard and _is_among(address, trusted):
        address = parse_address(heard.pop().strip())
    return address


def is_allowed(address: Address | None, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of these networks; one that could not be told is in none."""
    return address is not None and _is_among(address, networks)


def _is_among(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
