"""The request log's rows: all of them, in batches, and what happens where they cannot be kept."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from app.domain.errors import ErrorCode, GatewayError
from app.domain.identity import MASTER
from app.domain.ports import StoreUnavailable
from app.domain.requests import RequestRow
from app.hooks.builtin import log as module
from app.hooks.builtin.log import EVERY_SECONDS, MAX_ROWS, RequestLog
from app.hooks.builtin.outlet import weight_of_rows
from app.hooks.builtin.pen import Pen
from tests.exchanges import DEPLOYMENT, answered_exchange, opened_exchange
from tests.hooks.written import written
from tests.logs import captured_log


class Shelf:
    """A store in memory, that can be away, slow, or refuse a row."""

    def __init__(self) -> None:
        self.batches: list[list[RequestRow]] = []
        self.away = False
        self.refuses: str | None = None
        self.asked = threading.Event()
        self.stored = threading.Event()

    @property
    def ids(self) -> list[str]:
        return [row.request_id for batch in self.batches for row in batch]

    def add(self, rows: Sequence[RequestRow]) -> None:
        self.asked.set()
        if self.away:
            raise StoreUnavailable("the database did not answer")
        if any(row.request_id == self.refuses for row in rows):
            raise ValueError
        self.batches.append(list(rows))
        self.stored.set()

    async def purge(self, before: datetime, limit: int) -> int:
        raise NotImplementedError


@contextmanager
def logging_to(shelf: Shelf, **options: Any) -> Iterator[RequestLog]:
    log = RequestLog(store=shelf, **options)
    yield log
    log.close(5)


def settle(log: RequestLog, count: int, first: int = 0) -> list[str]:
    ids = [f"req_{number:032x}" for number in range(first, first + count)]
    for request_id in ids:
        exchange = answered_exchange()
        exchange.request_id = request_id
        log.settled(exchange)
    return ids


def test_a_row_says_what_the_line_says() -> None:
    shelf = Shelf()
    exchange = answered_exchange()
    exchange.cost_nanousd = 30_000_000
    exchange.started_at_unix = 1_700_000_000.0
    exchange.ended_at = exchange.started_at + 0.5
    with captured_log() as lines:
        with logging_to(shelf) as log:
            log.settled(exchange)
        (line,) = lines.events("request")
    (row,) = shelf.batches[0]
    for name in set(row._fields) & set(line):
        assert getattr(row, name) == line[name], name
    assert (row.at, line["timestamp"]) == ("2023-11-14 22:13:20.500000", "2023-11-14T22:13:20.500000Z")
    assert (row.response, row.request, row.tags) == ('{"id":"cntr_1","object":"container"}', None, "[]")


def test_a_burst_is_kept_whole_in_large_batches() -> None:
    shelf = Shelf()
    with logging_to(shelf) as log:
        ids = settle(log, 2 * MAX_ROWS + 1)
    assert shelf.ids == ids
    assert all(len(batch) <= MAX_ROWS for batch in shelf.batches)
    assert len(shelf.batches) <= 6


def test_a_single_row_is_kept_within_a_second() -> None:
    shelf = Shelf()
    with logging_to(shelf) as log:
        begun = time.monotonic()
        settle(log, 1)
        assert shelf.stored.wait(5)
        assert time.monotonic() - begun < EVERY_SECONDS + 0.5


def test_probes_are_no_rows() -> None:
    shelf = Shelf()
    with logging_to(shelf) as log:
        exchange = opened_exchange("/metrics")
        exchange.status = 200
        log.settled(exchange)
    assert shelf.ids == []


def test_a_row_that_cannot_be_kept_takes_no_other_with_it() -> None:
    shelf = Shelf()
    shelf.refuses = f"req_{1:032x}"
    with captured_log() as lines:
        with logging_to(shelf) as log:
            ids = settle(log, 3)
        assert [event["request_id"] for event in lines.events("request_log_failed")] == [ids[1]]
    assert shelf.ids == [ids[0], ids[2]]


def test_rows_wait_for_a_database_that_is_away() -> None:
    shelf = Shelf()
    shelf.away = True
    with logging_to(shelf) as log:
        ids = settle(log, 10)
        assert shelf.asked.wait(5)
        shelf.away = False
    assert shelf.ids == ids


def test_what_finds_no_room_is_dropped_and_counted() -> None:
    shelf = Shelf()
    shelf.away = True
    log = RequestLog(store=shelf, blocks=False, max_pending_bytes=100_000)
    settle(log, 1000)
    assert not log.is_full
    log.close(0.1)
    assert sum(log.dropped().values()) == 1000


async def test_new_requests_wait_while_the_log_is_full() -> None:
    shelf = Shelf()
    shelf.away = True
    log = RequestLog(store=shelf, max_pending_bytes=100_000)
    assert not log.is_full
    ids = settle(log, 60)
    assert log.is_full
    waiting = [asyncio.create_task(log.room()) for _ in range(3)]
    await asyncio.sleep(0)
    assert await asyncio.to_thread(shelf.asked.wait, 5)
    assert not any(task.done() for task in waiting)
    waiting.pop().cancel()
    shelf.away = False
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)
    assert not log.is_full
    await asyncio.to_thread(log.close, 5)
    assert shelf.ids == ids
    assert not any(log.dropped().values())


async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.05)
    shelf = Shelf()
    shelf.away = True
    log = RequestLog(store=shelf, max_pending_bytes=10_000)
    settle(log, 20)
    with pytest.raises(GatewayError) as refused:
        await log.room()
    assert refused.value.code is ErrorCode.STORE_UNAVAILABLE
    await asyncio.to_thread(log.close, 0.1)


def test_a_large_body_is_left_out_rather_than_the_request() -> None:
    shelf = Shelf()
    log = RequestLog(store=shelf, blocks=False, max_pending_bytes=60_000)
    for number in range(6):
        exchange = answered_exchange(bytes_in=10_000_000)
        exchange.request_id = f"req_{number}"
        exchange.request_json = {"name": "x"}
        log.settled(exchange)
    log.close(5)
    rows = [row for batch in shelf.batches for row in batch]
    assert len(rows) == 6
    assert {row.request for row in rows} == {'{"name":"x"}', '"[no room]"'}


def test_answers_that_are_the_same_are_shown_the_same_and_no_others() -> None:
    shelf = Shelf()
    bodies = [b'{"id":"%d"}' % (number % 300) for number in range(900)]
    bodies += [b'{"token":"hush"}', b'{"id":"sk-abcdef"}', b"not JSON"] * 2
    with logging_to(shelf) as log:
        for number, body in enumerate(bodies):
            exchange = answered_exchange()
            exchange.request_id = f"req_{number}"
            exchange.response_json = body
            log.settled(exchange)
    shown = [row.response for batch in shelf.batches for row in batch]
    assert shown[:900] == [body.decode() for body in bodies[:900]]
    assert shown[900:903] == shown[903:]
    assert shown[900:902] == ['{"token":"[redacted]"}', '{"id":"sk-[redacted]"}']


def test_every_principal_is_known_by_its_own_name() -> None:
    pen = Pen(1000)
    for number in range(600):  # each is gone when the next comes, and would leave its place in memory to it
        exchange = answered_exchange()
        exchange.principal = replace(MASTER, key_id=f"{number}", tags=(f"tag {number}",) * (number % 2))
        row = pen.write(exchange).row
        assert (row.key_id, row.tags) == (f"{number}", f'["tag {number}"]' if number % 2 else "[]")


def test_secrets_are_not_remembered() -> None:
    pen = Pen(1000)
    exchange = answered_exchange()
    for body in (b'{"token":"hush"}', b'{"id":"sk-abcdef"}', b"hush", b'{"a":1}'):
        exchange.response_json = body
        pen.write(exchange)
    assert list(pen._harmless) == [b'{"a":1}']


def test_what_looks_like_a_key_is_masked_wherever_it_stands() -> None:
    shelf = Shelf()
    with captured_log() as lines:
        with logging_to(shelf) as log:
            exchange = answered_exchange()
            exchange.error_detail = "\nsk-abcdef and \x00 \ud800"
            exchange.principal = replace(MASTER, alias="sk-abcdef", tags=("sk-abcdef",))
            log.settled(exchange)
        (line,) = lines.events("request")
    (row,) = shelf.batches[0]
    for shown in (row._asdict(), line):
        assert shown["key_alias"] == "sk-[redacted]"
        assert shown["error_detail"] == "\nsk-[redacted] and \ufffd \ufffd"
    assert (row.tags, line["tags"]) == ('["sk-[redacted]"]', ["sk-[redacted]"])


def test_texts_from_outside_are_looked_at_together_and_shown_one_by_one() -> None:
    pen = Pen(1000)
    exchange = answered_exchange()
    exchange.deployment = replace(DEPLOYMENT, name="sk-abcdef")
    exchange.container_id, exchange.file_id = "cntr_s", "k-abcdef"
    exchange.upstream_request_id = "ü\x00"
    record = pen.write(exchange)
    for shown in (record.row._asdict(), json.loads(record.line)):
        assert (shown["container_id"], shown["file_id"]) == ("cntr_s", "k-abcdef")
        assert (shown["deployment"], shown["upstream_request_id"]) == ("sk-[redacted]", "ü\ufffd")


def test_who_has_no_user_team_or_tags_is_not_said_to_have_none() -> None:
    pen = Pen(1000)
    exchange = answered_exchange()
    bare = json.loads(pen.write(exchange).line)
    assert not {"user_id", "team_id", "tags"} & set(bare)
    exchange.principal = replace(MASTER, user_id="u", team_id="t", tags=("a",))
    full = json.loads(pen.write(exchange).line)
    assert (full["user_id"], full["team_id"], full["tags"]) == ("u", "t", ["a"])
    exchange.principal = None
    nobody = pen.write(exchange)
    assert json.loads(nobody.line) | {"key_id": None, "key_alias": None, "owner": None} == json.loads(nobody.line)
    assert (nobody.row.key_id, nobody.row.tags) == (None, "[]")


def test_rows_that_wait_weigh_what_their_bodies_do() -> None:
    bare, long = written().row, written(filler="x" * 3000).row
    assert weight_of_rows([bare, long]) == 2 * weight_of_rows([bare]) + 3000
