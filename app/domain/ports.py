"""The hard boundaries of the data plane, as the phases see them. Adapters are named in `app/main.py` only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.domain.identity import VirtualKey

RawHeaders = list[tuple[bytes, bytes]]
"""Header names and values as bytes; names lower-case. A name may stand more than once."""

OutgoingBody = bytes | AsyncIterator[bytes] | None
"""A request body: whole, or in pieces of at least one byte each, or none at all (None, which is not b"")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long an upstream may take for each step. None of them limits a whole transfer."""

    connect_seconds: float = 5.0
    """Resolving the name, connecting and the TLS handshake, together."""
    read_seconds: float = 600.0
    """The longest silence while the upstream owes us bytes."""
    write_seconds: float = 60.0
    """The longest time for which the upstream takes no byte of the request."""
    pool_seconds: float = 10.0
    """Waiting for a free connection."""
    keepalive_seconds: float = 4.0
    """A connection that was idle for longer is closed rather than used again."""


class UpstreamReply(Protocol):
    """An upstream's answer whose head has arrived and whose body is still to be read.

    Whoever holds one must call `aclose`, also after an error; it may be called twice.
    """

    status: int
    headers: RawHeaders

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end (and from then on).

        Content-Length and chunked framing are already taken off and have been verified when b"" is returned. Memory is
        bounded: what is not read is not taken from the upstream.

        Raises UpstreamFault where the upstream breaks off, breaks the framing or is silent for too long.
        """
        ...

    async def aclose(self) -> None:
        """Let go: the connection is used again if the exchange ended cleanly, and dropped otherwise."""
        ...


class Upstream(Protocol):
    """A pooled client of one origin (scheme, host and port), which also verifies its certificate."""

    async def send(self, method: bytes, target: bytes, headers: RawHeaders, body: OutgoingBody = None) -> UpstreamReply:
        """Send one request and return when the head of the final answer is here (1xx are skipped).

        `target` is the path and query exactly as it goes on the wire (b"/v1/containers?limit=1"). `headers` go out as
        they are, in order; `host` and the framing are the adapter's: `content-length` for bytes, chunked for an
        iterator unless `headers` hold a `content-length`, and nothing for None except `content-length: 0` on POST.
        An upstream may answer before it has taken the whole body: the reply is returned at once, and the rest of the
        body is sent for as long as the upstream takes it.

        Raises UpstreamFault, or whatever the body's iterator raised (the request is then cut off, so the upstream
        never takes half a body for a whole one). The iterator is closed in every case.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection. Replies still being read fail."""
        ...


class KeyStore(Protocol):
    """Where virtual keys live. Every method may raise StoreUnavailable."""

    async def add(self, key: VirtualKey) -> None:
        """Keep a new key. Raises AliasTaken where another key has its alias."""
        ...

    async def get(self, key_id: str) -> VirtualKey | None:
        """The key with this id."""
        ...

    async def find_by_alias(self, alias: str) -> VirtualKey | None:
        """The key with this alias (aliases are unique)."""
        ...

    async def change(self, key_id: str, edit: Callable[[VirtualKey], VirtualKey]) -> VirtualKey | None:
        """Read a key, edit it and write it as one step that no other change can come between.

        Returns the key as it is now, or None where it does not exist. `edit` leaves `key_id` as it is, and may run on
        another thread; what it raises comes through, and nothing is written. Raises AliasTaken where another key has
        the new alias.
        """
        ...

    async def delete(self, key_ids: Sequence[str]) -> list[str]:
        """Remove keys; returns the ids that existed."""
        ...

    async def page(
        self,
        *,
        offset: int,
        limit: int,
        user_id: str | None = None,
        team_id: str | None = None,
        alias: str | None = None,
    ) -> tuple[list[VirtualKey], int]:
        """One page of keys, newest first, and how many there are in all."""
        ...


class AliasTaken(Exception):
    """Another key has this alias."""


class StoreUnavailable(Exception):
    """The database did not answer. The message never holds its address."""
