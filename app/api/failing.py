"""What every request has in common, whoever answers it: a name, and one shape in which it fails."""

from __future__ import annotations

import asyncio
import os
import time
from random import Random, SystemRandom
from typing import Final, Protocol

import structlog
from starlette.requests import ClientDisconnect

from app.domain.errors import ClientGone, ErrorCode, GatewayError
from app.domain.exchange import Exchange, Outcome
from app.telemetry.redaction import shown_path

log = structlog.get_logger("app.api")

# Request ids are names and no secrets; asking the kernel for each costs ten times as much.
_random: Final = Random()  # noqa: S311
_random_bits: Final = _random.getrandbits


class Line(Protocol):
    """The way down to one client, for one answer."""

    started: bool
    """Whether the head of an answer is on its way."""
    finished: bool
    """Whether all of it is."""

    async def send_error(self, error: GatewayError) -> None:
        """Send one of the gateway's own errors."""
        ...


async def answer_instead(exchange: Exchange, raised: BaseException, line: Line) -> None:
    """Answer for what an answer has failed with, where there is somebody to tell. Raises what is nobody's answer."""
    match raised:
        case GatewayError():
            await _answer(exchange, raised, line)
        case ClientGone() | ClientDisconnect():
            exchange.outcome = Outcome.CLIENT_GONE
        case asyncio.CancelledError():
            if exchange.outcome is not Outcome.CLIENT_GONE:  # the time to drain is over
                exchange.outcome = Outcome.CANCELLED
                exchange.error_code = ErrorCode.SHUTTING_DOWN.value
                if not line.started:
                    await line.send_error(shutting_down(exchange))
        case Exception():
            log.error("bug", request_id=exchange.request_id, path=shown_path(exchange.path), exc_info=raised)
            await _answer(exchange, bug(exchange), line)
        case _:
            raise raised


async def _answer(exchange: Exchange, error: GatewayError, line: Line) -> None:
    if not line.started:
        await line.send_error(error)
    elif not line.finished:
        exchange.outcome = Outcome.CUT_OFF
        exchange.error_code = error.code.value


def bug(exchange: Exchange) -> GatewayError:
    """What a client is told of a fault in the gateway."""
    return GatewayError(ErrorCode.INTERNAL_ERROR, f"The gateway failed; its log says why, under {exchange.request_id}.")


def shutting_down(exchange: Exchange) -> GatewayError:
    """What a client is told whose request outlived the time to drain."""
    may_be_done = bool(exchange.attempts) and not (exchange.operation and exchange.operation.idempotent)
    return GatewayError(
        ErrorCode.SHUTTING_DOWN,
        "The gateway is shutting down and could not wait any longer.",
        retry_after_seconds=1,
        should_retry=False if may_be_done else None,
    )


def _begin_anew() -> None:
    """Forget which ids come next, which processes that part here would all give."""
    _random.seed(SystemRandom().getrandbits(256))


_begin_anew()
os.register_at_fork(after_in_child=_begin_anew)


def new_request_id() -> str:
    """What a request is called in its answer and in the log: a millisecond, and 80 bits that nobody else has.

    It grows with time, so that the log's index of it grows at its end: with ids in any order a row costs 9 µs more.
    """
    return f"req_{int(time.time() * 1000):012x}{_random_bits(80):020x}"
