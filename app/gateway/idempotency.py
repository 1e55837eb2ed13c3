"""When is a create the same as an earlier one, and what is it answered then?"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Final

import orjson

from app.domain.containers import Answer, Container, Sighting
from app.domain.deployments import Deployment
from app.domain.errors import ErrorCode, GatewayError
from app.domain.exchange import Exchange
from app.domain.ports import RawHeaders
from app.gateway.relay import Reply, amended
from quaymaster.operations import CONTAINERS_CREATE

HEADER: Final = b"idempotency-key"
RETRY_COUNT: Final = b"x-stainless-retry-count"
"""How often OpenAI's SDKs have sent this request before. It is all they say: neither sends an idempotency key."""
MAX_KEY_LENGTH: Final = 255
MAX_KEPT_BYTES: Final = 512 * 1024
"""An answer that is larger is not kept."""

_INLINE_BYTES: Final = 64 * 1024
_REPLAYED: Final = (b"idempotent-replayed", b"true")


def idempotency_key(headers: RawHeaders) -> str | None:
    """The client's idempotency key; None where it sent none.

    Raises GatewayError INVALID_VALUE for one that is empty, too long or not printable, and for two.
    """
    found = [value.decode("latin-1").strip() for name, value in headers if name == HEADER]
    if not found:
        return None
    key = found[0]
    if len(found) > 1 or not 0 < len(key) <= MAX_KEY_LENGTH or not key.isprintable():
        raise GatewayError(
            ErrorCode.INVALID_VALUE,
            f"Idempotency-Key must be one text of 1 to {MAX_KEY_LENGTH} printable characters.",
            param="Idempotency-Key",
        )
    return key


def is_retry(headers: RawHeaders) -> bool:
    """Whether an SDK says that it has sent this request before."""
    count = next((value.strip() for name, value in headers if name == RETRY_COUNT), b"0")
    return count.isdigit() and len(count) <= 9 and int(count) > 0


async def fingerprint(exchange: Exchange, provider: str, named: Deployment | None) -> bytes:
    """SHA-256 of what is asked for: the provider, the deployment if one is named, the query and the body."""
    body = exchange.upstream_body if isinstance(exchange.upstream_body, bytes) else b""
    asked = (provider, "" if named is None else named.name, exchange.upstream_query)
    digest = sha256("\0".join((*asked, "")).encode())
    if len(body) <= _INLINE_BYTES:
        digest.update(body)
    else:
        await asyncio.to_thread(digest.update, body)
    return digest.digest()


def answer_of(reply: Reply) -> Answer | None:
    """What is kept of a reply for whoever asks the same again; None where it cannot be kept."""
    headers = dict(reply.headers)
    if reply.whole is None or len(reply.whole) > MAX_KEPT_BYTES or b"content-encoding" in headers:
        return None
    content_type = headers.get(b"content-type", b"application/json").decode("latin-1")
    return Answer(status=reply.status, content_type=content_type[:256], body=reply.whole)


def was_used(container: Container, answer: Answer) -> bool:
    """Whether anything was done with a container since this answer told of it."""
    try:
        told = Sighting.of(orjson.loads(answer.body), container.seen_at)
    except orjson.JSONDecodeError:
        return False
    if container.ending is not None or told is None or container.last_active_at is None:
        return container.ending is not None
    return container.last_active_at > (told.last_active_at or told.created_at)


def replayed(exchange: Exchange, answer: Answer) -> Reply:
    """An earlier answer once more, marked as such. A container in it is noted on the exchange."""
    body = amended(answer.body, exchange, CONTAINERS_CREATE) if answer.status == 200 else answer.body
    reply = Reply.own(exchange, answer.status, body, answer.content_type)
    reply.headers.append(_REPLAYED)
    return reply
