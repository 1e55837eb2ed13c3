"""Admission: what is decided at once, and what has to be waited for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from app.domain.accounts import Account, AccountKind, Limits
from app.domain.errors import ErrorCode, GatewayError
from app.domain.exchange import Exchange
from app.domain.identity import MASTER, Principal
from app.domain.limiting import Allowance, Limiter
from app.gateway.admit import Admission
from app.gateway.daily import DailyBytes
from app.limits.memory import MemoryLimiter
from app.limits.opening import over_redis
from app.storage.daily_bytes import SqlDailyBytes
from app.storage.engine import Database
from app.telemetry.metrics import Metrics
from quaymaster.operations import CONTAINERS_RETRIEVE, FILES_CONTENT
from tests.exchanges import opened_exchange

NOWHERE: Final = "redis://127.0.0.1:1/0"


@pytest.fixture
async def daily(tmp_path: Path) -> AsyncIterator[DailyBytes]:
    database = Database.open(f"sqlite:///{tmp_path}/q.db")
    await database.migrate()
    yield DailyBytes(SqlDailyBytes(database))
    await database.close()


def admission(limiter: Limiter, daily: DailyBytes) -> Admission:
    return Admission(limiter, daily, Metrics("test"))


def principal(limits: Limits) -> Principal:
    account = Account(kind=AccountKind.KEY, id="a", limits=limits)
    return Principal("a", "key:a", is_master=False, allowed_operations=frozenset(), allowance=Allowance.of([account]))


def asked(number: int) -> Exchange:
    exchange = opened_exchange()
    exchange.request_id = f"req_{number}"
    return exchange


async def test_whoever_has_no_limits_waits_for_nothing(daily: DailyBytes) -> None:
    exchange = asked(1)
    assert admission(MemoryLimiter(), daily).admit(exchange, MASTER, CONTAINERS_RETRIEVE) is None
    assert (exchange.verdict, exchange.on_settled) == (None, None)


async def test_what_is_counted_in_memory_is_judged_at_once(daily: DailyBytes) -> None:
    who, admitting = principal(Limits(rpm_limit=9, max_parallel_requests=1)), admission(MemoryLimiter(), daily)
    first, second, third = (asked(number) for number in range(3))
    assert admitting.admit(first, who, CONTAINERS_RETRIEVE) is None
    with pytest.raises(GatewayError) as refused:
        admitting.admit(second, who, CONTAINERS_RETRIEVE)
    assert refused.value.code is ErrorCode.RATE_LIMIT_EXCEEDED
    assert second.verdict is not None
    assert second.on_settled is None
    assert first.on_settled is not None
    first.on_settled(first.request_id)
    assert admitting.admit(third, who, CONTAINERS_RETRIEVE) is None
    assert (third.verdict and third.verdict.remaining) == 7


@pytest.mark.parametrize("where", ["memory", "redis"])
async def test_a_download_is_counted_and_then_measured(daily: DailyBytes, where: str) -> None:
    limiter: Limiter = MemoryLimiter()
    if where == "redis":
        limiter = over_redis(NOWHERE, timeout_seconds=1, when_down="share", processes=1)
    admitting = admission(limiter, daily)
    who = principal(Limits(rpm_limit=2, max_download_bytes_per_day=10))
    first, second, third = (asked(number) for number in range(3))
    for exchange in (first, second):
        waiting = admitting.admit(exchange, who, FILES_CONTENT)
        assert waiting is not None
        await waiting
        assert exchange.on_content is not None
    assert second.verdict is not None
    assert second.verdict.remaining == 0
    with pytest.raises(GatewayError) as refused:
        await _settled(admitting, third, who)
    assert refused.value.code is ErrorCode.RATE_LIMIT_EXCEEDED
    assert third.on_content is None
    await limiter.aclose()


async def _settled(admitting: Admission, exchange: Exchange, who: Principal) -> None:
    if (waiting := admitting.admit(exchange, who, FILES_CONTENT)) is not None:
        await waiting
