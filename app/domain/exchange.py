"""One request and its reply: the object that carries them through the phases.

Each attribute is written by one phase, named in its comment, and read by those after it. `settle` reads them all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from app.domain.containers import Ownership
from app.domain.deployments import Deployment
from app.domain.identity import Principal
from app.domain.limiting import Verdict
from app.domain.ports import OutgoingBody, RawHeaders
from app.telemetry.digests import Digest
from quaymaster.operations import Operation


class IncomingBody(Protocol):
    """The body of a client's request, taken from the client only as fast as it is read."""

    declared_bytes: int | None
    """Content-Length, None where the client sent none."""
    bytes_read: int
    ended: bool
    """Whether all of it has been read; True from the start where there is none."""
    meter: Callable[[int], None] | None
    """Told the length of each piece; the GatewayError that it raises ends the reading."""

    async def read(self) -> bytes:
        """The next piece, b"" at the end. Raises ClientGone, and GatewayError past the limit of `allow`."""
        ...

    def allow(self, max_bytes: int) -> None:
        """Set how large the whole body may be. Raises GatewayError REQUEST_TOO_LARGE where it says it is larger."""
        ...


class Outcome(StrEnum):
    """How an exchange ended, seen from the client."""

    ANSWERED = "answered"
    """The whole answer was handed to the client's connection."""
    CLIENT_GONE = "client_gone"
    """The client closed its connection first."""
    CUT_OFF = "cut_off"
    """The upstream broke off after the answer had begun, so the client's connection was broken too."""
    CANCELLED = "cancelled"
    """This process was told to stop and the time to finish was over."""


@dataclass(slots=True, eq=False)
class Attempt:
    """One try at one deployment. Times are `time.monotonic` seconds."""

    number: int
    deployment: Deployment
    started_at: float
    ended_at: float | None = None
    status: int | None = None
    fault: str | None = None
    """Why there is no whole answer."""
    unsent: bool = False
    """Whether it is certain that no byte of it reached the upstream."""


@dataclass(slots=True, eq=False)
class Exchange:
    """One request and its reply."""

    # the edge, when the request's head has arrived
    request_id: str
    method: str
    path: str
    """As it was asked for: undecoded, without the query."""
    headers: RawHeaders
    query: str
    """The raw query string, without the question mark."""
    body: IncomingBody
    started_at: float = field(default_factory=time.monotonic)
    started_at_unix: float = field(default_factory=time.time)

    # authenticate
    principal: Principal | None = None

    # the edge, where the path is one of the nine operations
    operation: Operation | None = None
    container_id: str | None = None
    """Decoded and checked; of a create, the new one, once the upstream has said it."""
    file_id: str | None = None

    # authorize
    ownership: Ownership | None = None
    """Whose the container in the path is, and where it lives; None where there is none, or it is not registered."""

    # admit
    verdict: Verdict | None = None
    """What the rate limits said; None where nothing is limited."""
    on_settled: Callable[[str], None] | None = None
    """Called once with the request's id when the exchange is over, whatever happened: gives its parallel slots back."""
    on_content: Callable[[int], None] | None = None
    """Told the length of each piece of a file that goes down."""

    # create, record
    cost_nanousd: int = 0
    """What this request committed: spent, for good."""

    # resolve
    provider: str | None = None
    provider_is_named: bool = False
    """Whether the client named it."""
    request_json: Any = None
    """The parsed JSON body, where there was one, with a `Digest` in the place of each very long string.

    May hold secrets: only `redact` may show it.
    """
    request_text: bytes | None = None
    """The body that an admin route was sent. May hold secrets: only the log's own thread looks into it."""
    request_digest: Digest | None = None
    """Of the uploaded file."""

    upstream_query: str = ""
    """The raw query without what was the gateway's own."""
    upstream_body: OutgoingBody = None
    """The body without what was the gateway's own."""
    upstream_body_bytes: int | None = None
    """How long a streamed body will be; None where the client did not say, or where the body is whole."""

    # place
    deployment: Deployment | None = None

    # create
    on_lost: Callable[[], None] | None = None
    """Called once by the edge where the client's connection ends before the answer is out, or so soon after it that the
    answer may not have arrived. It outlives the exchange: it must not hold it."""

    # forward
    attempts: list[Attempt] = field(default_factory=list)
    upstream_request_id: str | None = None

    # relay
    response_json: bytes | None = None
    """The JSON body that went to the client, where it is small enough to be kept."""
    response_object: dict[str, Any] | None = None
    """The same of a single container or container file, parsed, before anything was added."""
    response_digest: Digest | None = None
    """Of the downloaded file."""
    bytes_out: int = 0

    # whoever gave the answer
    status: int | None = None
    overhead_seconds: float | None = None
    """What the gateway itself took: from the request's head to the answer's, less the time spent on upstreams."""
    error_code: str | None = None
    error_detail: str | None = None
    """For the log only."""

    # settle
    outcome: Outcome | None = None
    """None while it goes on."""
    ended_at: float | None = None

    @property
    def upstream_seconds(self) -> float:
        """Time spent waiting for upstreams to answer, over all attempts; once where some went on at the same time."""
        attempts = self.attempts
        if len(attempts) == 1:  # nearly always
            only = attempts[0]
            return (only.ended_at or time.monotonic()) - only.started_at
        now = time.monotonic()
        total = until = 0.0
        for attempt in attempts:
            ended_at = attempt.ended_at or now
            if ended_at > until:
                total += ended_at - max(attempt.started_at, until)
                until = ended_at
        return total

    @property
    def duration_seconds(self) -> float:
        """From the request's head to now, or to its end."""
        return (self.ended_at or time.monotonic()) - self.started_at
