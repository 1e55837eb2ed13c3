"""The default hook: what is kept of every request, and where it goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson
import structlog

from app.domain.errors import ErrorCode, GatewayError
from app.domain.exchange import Exchange
from app.domain.ports import StoreUnavailable
from app.domain.requests import RequestRow, RequestStore
from app.hooks.builtin.journal import Journal, RequestSink
from app.hooks.builtin.outlet import NotSent, Outlet, weight_of_rows
from app.hooks.builtin.pen import Pen, Written
from app.hooks.spec import Hooks
from app.telemetry.logging import configured

MAX_ROWS: Final = 500
EVERY_SECONDS: Final = 1.0
"""A row is committed at the latest this long after its request was over; a `kill -9` loses no older ones."""
WAIT_SECONDS: Final = 20.0
"""How long a new request waits while the log is full."""


class RequestLog(Hooks):
    """Logs every exchange when it is settled: as a line of JSON, as a row in `store`, and to `outlets`.

    docs/logging.md lists the fields. `bodies`: whether JSON bodies are kept, redacted, with `max_body_bytes` characters
    of text at most each; files are their size and SHA-256. The event loop only notes what there is: threads do more.

    Where rows come faster than they can be kept, `is_full`: with `blocks`, new requests are to wait for `room`, and
    those that are in already may fill as much again; without, rows are dropped. `dropped` counts by sink.
    """

    def __init__(
        self,
        *,
        bodies: bool = True,
        max_body_bytes: int = 16 * 1024,
        store: RequestStore | None = None,
        outlets: Sequence[Outlet[Written]] = (),
        blocks: bool = True,
        max_pending_bytes: int = 32 * 2**20,
    ) -> None:
        self._full_bytes = max_pending_bytes if blocks else None
        self._opening: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None
        self._rows: Outlet[RequestRow] | None = None
        bound = 2 * max_pending_bytes if blocks else max_pending_bytes
        if store is not None:
            self._rows = Outlet(
                "table",
                _kept_in(store),
                weight_of_rows,
                max_rows=MAX_ROWS,
                every_seconds=EVERY_SECONDS,
                max_pending_bytes=bound,
                on_progress=self._progressed,
            )
        self._outlets: list[Outlet[Any]] = [*([self._rows] if self._rows else []), *outlets]
        self._journal = Journal(
            Pen(max_body_bytes if bodies else None),
            [_to_stdout, _to_outlets(self._rows, outlets)],
            max_pending_bytes=bound,
            on_progress=self._progressed,
        )

    def settled(self, exchange: Exchange) -> None:
        """Note the request. It is over: threads read from it what they keep, and nobody may change it any more."""
        body_bytes = 0
        if exchange.request_json is not None or exchange.request_text is not None:
            body_bytes = exchange.body.bytes_read
        if exchange.response_json is not None:
            body_bytes += len(exchange.response_json)
        self._journal.put(exchange, body_bytes)

    @property
    def is_full(self) -> bool:
        """Whether new requests are to wait."""
        full = self._full_bytes
        if full is None:
            return False
        return self._journal.pending_bytes > full or (self._rows is not None and self._rows.pending_bytes > full)

    async def room(self) -> None:
        """Wait until there is room. Raises GatewayError STORE_UNAVAILABLE where that takes too long."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while self.is_full:
                    if self._opening is None:
                        loop = asyncio.get_running_loop()
                        self._opening = loop, loop.create_future()
                        continue  # room may have come just before anybody knew that somebody waits for it
                    await asyncio.shield(self._opening[1])
        except TimeoutError:
            raise GatewayError(
                ErrorCode.STORE_UNAVAILABLE,
                "The request log is full, because the database does not take it.",
                retry_after_seconds=5,
            ) from None

    def dropped(self) -> dict[str, int]:
        """How many requests were not kept, by what should have kept them."""
        return {"queue": self._journal.dropped} | {outlet.name: outlet.dropped for outlet in self._outlets}

    def close(self, timeout_seconds: float) -> None:
        """Write down what is there and end the threads. Blocks. Call it when the last exchange is settled."""
        self._journal.close(timeout_seconds)
        for outlet in self._outlets:
            outlet.close(timeout_seconds)

    def _progressed(self) -> None:
        """In a thread: let in who waits."""
        opening = self._opening
        if opening is not None and not self.is_full:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                opening[0].call_soon_threadsafe(self._open)

    def _open(self) -> None:
        if self._opening is not None:
            opening, self._opening = self._opening[1], None
            if not opening.done():
                opening.set_result(None)


def _to_outlets(rows: Outlet[RequestRow] | None, outlets: Sequence[Outlet[Written]]) -> RequestSink:
    """Probes and scrapes that go well are of no interest."""

    def put(batch: Sequence[Written]) -> None:
        batch = [written for written in batch if not written.is_probe]
        if rows is not None:
            rows.put([written.row for written in batch])
        for outlet in outlets:
            outlet.put(batch)

    return put


def _to_stdout(batch: Sequence[Written]) -> None:
    """Lines to where the log goes, by its own format and level."""
    log = configured()
    if log is None or not log.writes_info:
        return
    lines = [written.line for written in batch if log.writes_debug or not written.is_probe]
    if log.writes_json:
        log.writer.put_lines(b"".join(lines))
        return
    for line in lines:
        fields = orjson.loads(line)
        del fields["timestamp"], fields["level"], fields["event"]
        structlog.get_logger().info("request", **fields)


def _kept_in(store: RequestStore) -> Callable[[Sequence[RequestRow]], None]:
    def send(rows: Sequence[RequestRow]) -> None:
        try:
            store.add(rows)
        except StoreUnavailable as error:
            raise NotSent(str(error)) from None
        except Exception:
            if len(rows) == 1:
                raise
            _add_one_by_one(store, rows)

    return send


def _add_one_by_one(store: RequestStore, rows: Sequence[RequestRow]) -> None:
    """One row that a database cannot keep must not take the others with it."""
    for row in rows:
        try:
            store.add([row])
        except StoreUnavailable as error:
            raise NotSent(str(error)) from None
        except Exception:
            structlog.get_logger().exception("request_log_failed", sink="table", request_id=row.request_id)
