"""Phase 5: send it, try again where that is safe, and say in the gateway's own words what went wrong in the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from random import Random
from typing import Final

from app.domain.deployments import Deployment
from app.domain.errors import ErrorCode, FaultKind, GatewayError, UpstreamFault
from app.domain.exchange import Attempt, Exchange
from app.domain.ids import encode_id
from app.domain.ports import OutgoingBody, RawHeaders, UpstreamReply
from app.gateway.relay import Reply, relay, relay_at_hand
from app.gateway.upload import Upload
from app.hooks.runner import HookRunner
from app.routing.health import failure_of, failure_of_fault
from app.routing.retries import RETRIED_STATUSES, RetryBudget, parse_retry_after, wait_before_retry
from app.routing.track import Track
from quaymaster.operations import OPERATIONS, Operation

FORWARDED_HEADERS: Final = frozenset(
    {
        b"accept",
        b"content-type",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"openai-beta",
        b"range",
        b"traceparent",
        b"tracestate",
        b"user-agent",
        b"x-client-request-id",
    }
)
"""The only request headers that go upstream. Credentials, cookies, OpenAI-Organization and hop-by-hop ones do not.

Nor does Idempotency-Key, which the gateway answers for: upstream, two owners' equal keys would be one.
"""

_FORWARDED_WITHOUT_BODY: Final = FORWARDED_HEADERS - {b"content-type"}
_METHODS: Final = {operation: operation.method.encode() for operation in OPERATIONS}

MAX_RETRIES: Final = 3

Elsewhere = Callable[[Collection[str]], Awaitable[Deployment | None]]
"""Where to go instead of the deployments of these names; None for nowhere."""


class Forwarder:
    """Makes attempts, and decides whether there is another.

    GET and DELETE are tried again, within `deadline_seconds`. What makes something is tried again only where no byte of
    it has reached an upstream: elsewhere, if the caller says where, else at the same deployment.
    """

    def __init__(
        self, tracks: Mapping[str, Track], hooks: HookRunner, *, deadline_seconds: float, random: Random
    ) -> None:
        self._tracks = tracks
        self._hooks = hooks
        self._deadline_seconds = deadline_seconds
        self._random = random
        self._budget = RetryBudget()

    async def forward(
        self, exchange: Exchange, operation: Operation, deployment: Deployment, elsewhere: Elsewhere | None = None
    ) -> Reply:
        """The reply that goes down, whose holder must close it.

        Raises GatewayError where no deployment gives an answer, ClientGone where nobody waits for one.
        """
        self._budget.request()
        now = time.monotonic()
        deadline = now + self._deadline_seconds
        while True:
            exchange.deployment, exchange.upstream_request_id = deployment, None
            attempt = Attempt(len(exchange.attempts) + 1, deployment, now)
            exchange.attempts.append(attempt)
            try:
                upstream = await self._send(exchange, operation, attempt)
                wait = None if upstream.status < 400 else self._wait_after(exchange, operation, upstream, deadline)
                if wait is None:
                    return relay_at_hand(exchange, operation, upstream) or await relay(exchange, operation, upstream)
                await upstream.aclose()
            except UpstreamFault as fault:
                wait = await self._wait_after_fault(exchange, operation, attempt, fault, deadline)
                if wait is None:
                    raise explained(fault, operation, deployment) from fault
                if elsewhere is not None:
                    other = await elsewhere([attempt.deployment.name for attempt in exchange.attempts])
                    deployment, wait = (deployment, wait) if other is None else (other, 0.0)
            await asyncio.sleep(wait)
            now = time.monotonic()

    async def _send(self, exchange: Exchange, operation: Operation, attempt: Attempt) -> UpstreamReply:
        """Make one attempt. Raises UpstreamFault."""
        deployment, body = attempt.deployment, exchange.upstream_body
        track = self._tracks[deployment.name]
        token = track.begin(attempt.started_at, streamed=isinstance(body, Upload))
        try:
            if self._hooks.attempt:
                await self._hooks.attempt(exchange, attempt)
            reply = await deployment.upstream.send(
                _METHODS[operation],
                deployment.target(path_of(operation, exchange), exchange.upstream_query),
                outgoing_headers(exchange, deployment),
                body,
            )
        except UpstreamFault as fault:
            attempt.ended_at = time.monotonic()
            track.answered(token, attempt.ended_at, failure_of_fault(fault.kind))
            raise
        except BaseException:
            attempt.ended_at = time.monotonic()
            track.abandoned(token, attempt.ended_at)
            await let_go(body)
            raise
        now = attempt.ended_at = time.monotonic()
        status = attempt.status = reply.status
        failure = failure_of(status)
        retry_after = None if failure is None else parse_retry_after(reply.headers, time.time())
        track.answered(token, now, failure, retry_after)
        return reply

    def _wait_after(
        self, exchange: Exchange, operation: Operation, upstream: UpstreamReply, deadline: float
    ) -> float | None:
        """How many seconds to wait before asking again; None where the answer is to be passed on."""
        if upstream.status not in RETRIED_STATUSES or not operation.idempotent:
            return None
        return self._wait(exchange, deadline, parse_retry_after(upstream.headers, time.time()))

    async def _wait_after_fault(
        self, exchange: Exchange, operation: Operation, attempt: Attempt, fault: UpstreamFault, deadline: float
    ) -> float | None:
        """How many seconds to wait before asking again; None where that may not be."""
        if attempt.status is not None:  # its head came, and then it broke off
            self._tracks[attempt.deployment.name].circuit.failed(time.monotonic(), failure_of_fault(fault.kind))
        attempt.fault, attempt.unsent = fault.detail, not fault.request_sent
        if self._hooks.attempt_failed:
            await self._hooks.attempt_failed(exchange, attempt)
        if not operation.idempotent and (fault.request_sent or isinstance(exchange.upstream_body, Upload)):
            return None
        return self._wait(exchange, deadline, None)

    def _wait(self, exchange: Exchange, deadline: float, retry_after: float | None) -> float | None:
        retries = len(exchange.attempts)
        if retries > MAX_RETRIES:
            return None
        wait = wait_before_retry(retries, self._random, retry_after, deadline - time.monotonic())
        return wait if wait is not None and self._budget.take() else None


async def let_go(body: OutgoingBody) -> None:
    """Close a body that may never have been handed to an upstream; one that was is closed already."""
    if isinstance(body, Upload):
        await body.aclose()


def path_of(operation: Operation, exchange: Exchange) -> str:
    """The operation's path with this exchange's ids in it, each encoded as one segment."""
    path = operation.path
    if exchange.container_id is not None:
        path = path.replace("{container_id}", encode_id(exchange.container_id))
    if exchange.file_id is not None:
        path = path.replace("{file_id}", encode_id(exchange.file_id))
    return path


def outgoing_headers(exchange: Exchange, deployment: Deployment) -> RawHeaders:
    """What goes upstream: the client's headers by allow-list, and the deployment's credential."""
    forwarded = _FORWARDED_WITHOUT_BODY if exchange.upstream_body is None else FORWARDED_HEADERS
    headers = [header for header in exchange.headers if header[0] in forwarded]
    if exchange.upstream_body_bytes is not None and isinstance(exchange.upstream_body, Upload):
        headers.append((b"content-length", b"%d" % exchange.upstream_body_bytes))
    headers += deployment.constant_headers
    return headers


def explained(fault: UpstreamFault, operation: Operation, deployment: Deployment) -> GatewayError:
    """What the client is told. SDKs must not repeat by themselves what may already have been done."""
    code = ErrorCode(fault.kind.value)
    what = {
        FaultKind.UNREACHABLE: "could not be reached",
        FaultKind.TIMEOUT: "took too long",
        FaultKind.PROTOCOL: "gave an answer that is not valid HTTP",
    }[fault.kind]
    should_retry = False if fault.request_sent and not operation.idempotent else None
    return GatewayError(code, f"The deployment '{deployment.name}' {what}: {fault.detail}.", should_retry=should_retry)
