"""Phase 4: send it, and say in the gateway's own words what went wrong where nothing came back."""

from __future__ import annotations

import time
from typing import Final

from app.domain.deployments import Deployment
from app.domain.errors import ErrorCode, FaultKind, GatewayError, UpstreamFault
from app.domain.exchange import Attempt, Exchange
from app.domain.ids import encode_id
from app.domain.ports import OutgoingBody, RawHeaders, UpstreamReply
from app.gateway.upload import Upload
from app.hooks.runner import HookRunner
from quaymaster.operations import Operation

FORWARDED_HEADERS: Final = frozenset(
    {
        b"accept",
        b"content-type",
        b"idempotency-key",
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
"""The only request headers that go upstream. Credentials, cookies, OpenAI-Organization and hop-by-hop ones do not."""

_IDENTITY: Final = (b"accept-encoding", b"identity")


async def forward(exchange: Exchange, operation: Operation, deployment: Deployment, hooks: HookRunner) -> UpstreamReply:
    """Make one attempt. Raises GatewayError where the deployment gives no answer, ClientGone where nobody waits."""
    attempt = Attempt(len(exchange.attempts) + 1, deployment, time.perf_counter())
    exchange.attempts.append(attempt)
    try:
        if hooks.attempt:
            await hooks.attempt(exchange, attempt)
        reply = await deployment.upstream.send(
            operation.method.encode(),
            deployment.target(path_of(operation, exchange), exchange.upstream_query),
            outgoing_headers(exchange, deployment),
            exchange.upstream_body,
        )
    except UpstreamFault as fault:
        attempt.fault = fault.detail
        attempt.ended_at = time.perf_counter()
        if hooks.attempt_failed:
            await hooks.attempt_failed(exchange, attempt)
        raise explained(fault, operation, deployment) from fault
    except BaseException:
        await let_go(exchange.upstream_body)
        raise
    finally:
        attempt.ended_at = time.perf_counter()
    attempt.status = reply.status
    return reply


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
    headers = [header for header in exchange.headers if header[0] in FORWARDED_HEADERS]
    if exchange.upstream_body is None:
        headers = [header for header in headers if header[0] != b"content-type"]
    elif exchange.upstream_body_bytes is not None and not isinstance(exchange.upstream_body, bytes):
        headers.append((b"content-length", b"%d" % exchange.upstream_body_bytes))
    headers.append(_IDENTITY)
    headers += deployment.credential_headers
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
