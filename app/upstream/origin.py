"""Where an upstream is: scheme, host and port."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Origin:
    """`secure` says https. `host` is the Host header: the port is left out where it is the scheme's own."""

    secure: bool
    hostname: str
    port: int
    host: bytes

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Read `http://host[:port]` or `https://host[:port]`. Raises ValueError for anything else."""
        parts = urlsplit(text)
        hostname = parts.hostname
        if (
            parts.scheme not in ("http", "https")
            or not hostname
            or not text.isascii()
            or not text.isprintable()
            or " " in text
        ):
            raise ValueError("an origin is http://host[:port] or https://host[:port]")
        if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("an origin has no credentials, path, query or fragment")
        default_port = 443 if parts.scheme == "https" else 80
        port = default_port if parts.port is None else parts.port
        host = f"[{hostname}]" if ":" in hostname else hostname
        if port != default_port:
            host = f"{host}:{port}"
        return cls(parts.scheme == "https", hostname, port, host.encode())
