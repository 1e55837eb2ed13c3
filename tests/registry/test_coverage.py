"""What is remembered of the ledger, so that it is asked about a use once a minute, and what is done when it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from app.domain.ports import StoreUnavailable
from app.domain.spending import Balance, Extension
from app.registry import coverage as module
from app.registry.coverage import AGAIN_SECONDS, UNKNOWN_SECONDS, Coverage
from app.tasks import Tasks
from tests.logs import captured_log

NOW = 1_790_000_000.0


@dataclass
class SlowLedger:
    """A ledger that covers each use for a minute more, when it may, and can be away."""

    asked: list[tuple[str, float]] = field(default_factory=list)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)
    is_away: bool = False
    knows: bool = True

    async def extend(self, container_id: str, used_at: datetime) -> Extension | None:
        self.asked.append((container_id, used_at.timestamp()))
        self.is_asked.set()
        await self.may_answer.wait()
        if self.is_away:
            raise StoreUnavailable("away")
        if not self.knows:
            return None
        free_until = used_at + timedelta(minutes=1)
        return Extension(covered_until=free_until + timedelta(minutes=20), free_until=free_until, reserved_nanousd=1)

    async def close_expired(self, now: datetime, limit: int = 500) -> int:
        raise NotImplementedError

    async def balances(self, accounts: Sequence[str], now: datetime) -> dict[str, Balance]:
        raise NotImplementedError

    async def set_window(self, account: str, reset_at: datetime | None, *, afresh: bool = False) -> None:
        raise NotImplementedError

    async def verify(self) -> list[str]:
        raise NotImplementedError


@pytest.fixture
def ledger() -> SlowLedger:
    ledger = SlowLedger()
    ledger.may_answer.set()
    return ledger


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks()
    yield tasks
    await tasks.drain(5)


@pytest.fixture
def coverage(ledger: SlowLedger, tasks: Tasks) -> Coverage:
    return Coverage(ledger, tasks)


async def test_a_use_is_committed_and_the_next_is_free_for_as_long_as_the_ledger_says(
    coverage: Coverage, ledger: SlowLedger
) -> None:
    assert not coverage.is_free("a", NOW)
    await coverage.used("a", NOW)
    assert ledger.asked == [("a", NOW)]
    assert coverage.is_free("a", NOW + 60)
    assert not coverage.is_free("a", NOW + 60.1)
    assert not coverage.is_free("b", NOW)
    coverage.forget("a")
    assert not coverage.is_free("a", NOW)


async def test_many_at_once_ask_once(coverage: Coverage, ledger: SlowLedger) -> None:
    ledger.may_answer.clear()
    many = [asyncio.create_task(coverage.used("a", NOW)) for _ in range(9)]
    await ledger.is_asked.wait()
    many[0].cancel()  # who asked first leaves, and the others are answered all the same
    ledger.may_answer.set()
    await asyncio.gather(*many[1:])
    assert ledger.asked == [("a", NOW)]
    assert coverage.is_free("a", NOW)


async def test_what_nothing_is_held_for_is_not_asked_about_at_every_use(coverage: Coverage, ledger: SlowLedger) -> None:
    ledger.knows = False
    await coverage.used("a", NOW)
    assert coverage.is_free("a", NOW + UNKNOWN_SECONDS)
    assert not coverage.is_free("a", NOW + UNKNOWN_SECONDS + 1)


async def test_what_the_ledger_did_not_take_is_written_down_later(coverage: Coverage, ledger: SlowLedger) -> None:
    ledger.is_away = True
    with captured_log() as log:
        await coverage.used("a", NOW)
        await coverage.used("b", NOW)
        assert coverage.is_free("a", NOW + AGAIN_SECONDS)
        with pytest.raises(StoreUnavailable):
            await coverage.retry()
    assert len(log.events("use_not_recorded")) == 1
    ledger.is_away = False
    ledger.asked.clear()
    await coverage.retry()
    assert ledger.asked == [("a", NOW + AGAIN_SECONDS), ("b", NOW + AGAIN_SECONDS)]
    await coverage.retry()
    assert len(ledger.asked) == 2


async def test_an_answer_does_not_wait_for_a_ledger_that_hangs(
    coverage: Coverage, ledger: SlowLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    ledger.may_answer.clear()
    await coverage.used("a", NOW)
    ledger.may_answer.set()
    await coverage.aclose()
    assert ledger.asked == [("a", NOW), ("a", NOW + AGAIN_SECONDS)]


async def test_what_cannot_be_written_down_at_the_end_is_logged(coverage: Coverage, ledger: SlowLedger) -> None:
    ledger.is_away = True
    with captured_log() as log:
        await coverage.used("a", NOW)
        await coverage.aclose()
    assert [event["containers"] for event in log.events("uses_lost")] == [1]


async def test_so_many_are_remembered(coverage: Coverage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONTAINERS", 2)
    for name in ("a", "b", "b", "c"):
        await coverage.used(name, NOW)
    assert [coverage.is_free(name, NOW) for name in ("a", "b", "c")] == [False, True, True]
