"""The last phase: write down what happened, whatever happened."""

from __future__ import annotations

import time
from typing import Final, Protocol

import structlog

from app.domain.errors import ErrorCode
from app.domain.exchange import Attempt, Exchange, Outcome
from app.hooks.runner import HookRunner
from app.tasks import Tasks
from app.telemetry.metrics import Metrics

_OWN_CODES: Final = frozenset(code.value for code in ErrorCode)
_ANSWERED: Final = Outcome.ANSWERED  # looked up in their class they cost 0.1 µs each
_CLIENT_GONE: Final = Outcome.CLIENT_GONE
_RESULTS: Final = tuple(f"{hundreds}xx" for hundreds in range(10))
"""What came of an attempt that was answered, by the first of its status' three digits."""


class Backlog(Protocol):
    """What is still to be written down of requests that are over."""

    @property
    def is_full(self) -> bool:
        """Whether new requests are to wait for `room`."""
        ...

    async def room(self) -> None:
        """Wait until there is room. Raises GatewayError where that takes too long."""
        ...


class Settler:
    """Settles every exchange once: its end, its metrics, the `settled` hooks.

    Nothing here awaits, so a request's cancellation cannot come in between.
    """

    def __init__(self, metrics: Metrics, hooks: HookRunner, tasks: Tasks, backlog: Backlog | None = None) -> None:
        self._metrics = metrics
        self._hooks = hooks
        self._tasks = tasks
        self._backlog = backlog
        self._open: set[Exchange] = set()
        metrics.watch_requests(self._open.__len__)
        self._log = structlog.get_logger()

    def opened(self, exchange: Exchange) -> None:
        """An exchange has begun: it is in flight until it is settled."""
        self._open.add(exchange)

    async def let_in(self) -> None:
        """Wait while what is over is not written down. Raises GatewayError where that takes too long."""
        if self._backlog is not None:
            await self._backlog.room()

    @property
    def is_behind(self) -> bool:
        """Whether new requests are to wait for `let_in`."""
        return self._backlog is not None and self._backlog.is_full

    def settle(self, exchange: Exchange) -> None:
        """Write down what happened. Never raises; the second time nothing happens.

        `outcome` says how it ended, `status` what the client was told, None where it was told nothing.
        """
        if exchange.ended_at is not None:
            return
        exchange.ended_at = ended_at = time.monotonic()
        if exchange.outcome is None:
            exchange.outcome = Outcome.CANCELLED if exchange.status is None else _ANSWERED
        self._open.discard(exchange)
        try:
            if exchange.on_settled is not None:
                exchange.on_settled(exchange.request_id)
        except Exception:
            self._failed(exchange)
        try:
            self._count(exchange, ended_at)
        except Exception:
            self._failed(exchange)
        try:
            unfinished = self._hooks.settled(exchange)
            if unfinished is not None:
                self._tasks.spawn(unfinished, f"settled hooks of {exchange.request_id}")
        except Exception:
            self._failed(exchange)

    def _failed(self, exchange: Exchange) -> None:
        """Log what is being handled: the next step is taken all the same."""
        self._log.exception("settle_failed", request_id=exchange.request_id)

    def _count(self, exchange: Exchange, ended_at: float) -> None:
        duration = ended_at - exchange.started_at
        operation, deployment, error_code = exchange.operation, exchange.deployment, exchange.error_code
        overhead = exchange.overhead_seconds
        if overhead is None:  # the head of an answer was never sent
            overhead = duration - exchange.upstream_seconds
        self._metrics.request_ended(
            operation="other" if operation is None else operation.name,
            status=exchange.status,
            error_code="" if error_code is None else _code(error_code),
            provider="" if deployment is None else deployment.provider,
            duration_seconds=duration,
            overhead_seconds=overhead,
            bytes_in=exchange.body.bytes_read,
            bytes_out=exchange.bytes_out,
            client_gone=exchange.outcome is _CLIENT_GONE,
        )
        for attempt in exchange.attempts:
            status = attempt.status
            self._metrics.attempt_ended(
                deployment=attempt.deployment.name,
                result=_unanswered(attempt) if status is None else _RESULTS[status // 100],
                duration_seconds=(attempt.ended_at or ended_at) - attempt.started_at,
            )


def _code(said: str) -> str:
    """An error's code as a label: what an upstream says could be anything."""
    return said if said in _OWN_CODES else "upstream"


def _unanswered(attempt: Attempt) -> str:
    """Why an attempt has no answer, as a label: a fault, or nobody waited for it."""
    return "fault" if attempt.fault is not None else "abandoned"
