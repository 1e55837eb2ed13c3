"""Hosts and URLs in settings: which are loopback, and which are what they should be."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

_NOT_IN_URL: Final = re.compile(r"[^\x21-\x7e]")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`: localhost, 127.0.0.0/8 and ::1. Any other name counts as public."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback if address.version == 4 else address == ipaddress.IPv6Address("::1")


def split_url(url: str, schemes: tuple[str, ...]) -> SplitResult:
    """The parts of an absolute URL with a host. Raises ValueError, whose message holds no part of it."""
    if _NOT_IN_URL.search(url):
        raise ValueError("must be a URL without spaces, control characters or letters outside ASCII")
    try:
        parts = urlsplit(url)
        reachable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        reachable = False
    if not reachable or parts.scheme not in schemes:
        raise ValueError(f"must be a URL with a host, starting with {' or '.join(f'{s}://' for s in schemes)}")
    return parts


def check_api_base(url: str) -> str:
    """An upstream's base URL without its trailing slashes. Raises ValueError where it is not one."""
    parts = split_url(url, ("https", "http"))
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password; the credential goes into api_key")
    if "?" in url or "#" in url:
        raise ValueError("must not have a query or a fragment")
    return url.rstrip("/")
