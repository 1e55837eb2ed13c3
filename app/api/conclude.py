"""What every request has in common, whoever answers it: it is answered in one shape, and settled exactly once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from random import Random, SystemRandom
from typing import Final, Protocol

import structlog

from app.api.auth import PUBLIC_PATHS
from app.domain.errors import ClientGone, ErrorCode, GatewayError
from app.domain.exchange import Exchange, Outcome
from app.gateway.settle import Settler
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


async def conclude(exchange: Exchange, answer: Callable[[], Awaitable[None]], line: Line, settler: Settler) -> None:
    """Have an exchange answered, answer what is raised instead, and settle it in every case. Raises nothing."""
    settler.opened(exchange)
    try:
        if settler.is_behind and exchange.path not in PUBLIC_PATHS:
            await settler.let_in()
        await answer()
    except GatewayError as refusal:
        await _answer(exchange, refusal, line)
    except ClientGone:
        exchange.outcome = Outcome.CLIENT_GONE
    except asyncio.CancelledError:
        if exchange.outcome is not Outcome.CLIENT_GONE:  # the time to drain is over
            exchange.outcome = Outcome.CANCELLED
            exchange.error_code = ErrorCode.SHUTTING_DOWN.value
            if not line.started:
                await line.send_error(shutting_down(exchange))
    except Exception:
        log.exception("bug", request_id=exchange.request_id, path=shown_path(exchange.path))
        await _answer(exchange, bug(exchange), line)
    finally:
        settler.settle(exchange)


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
    """What a request is called in its answer and in the log."""
    return f"req_{_random_bits(128):032x}"
