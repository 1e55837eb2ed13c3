"""Every exchange is settled once, whatever happened to it."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.domain.exchange import Attempt, Exchange, Outcome
from app.gateway.settle import Settler
from app.hooks.runner import HookRunner
from app.hooks.spec import Hooks
from app.tasks import Tasks
from app.telemetry.metrics import Metrics
from tests.exchanges import DEPLOYMENT, answered_exchange, opened_exchange
from tests.logs import captured_log


class Seen(Hooks):
    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def settled(self, exchange: Exchange) -> None:
        assert exchange.ended_at is not None
        self.exchanges.append(exchange)


class SeenLater(Hooks):
    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    async def settled(self, exchange: Exchange) -> None:
        await asyncio.sleep(0)
        self.exchanges.append(exchange)


class House:
    """A settler with everything it needs."""

    def __init__(self, *plugins: Hooks) -> None:
        self.metrics = Metrics("1")
        self.tasks = Tasks()
        self.settler = Settler(self.metrics, HookRunner(plugins, self.metrics), self.tasks)

    def requests(self, **labels: str) -> float:
        matching = [
            sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "quaymaster_requests_total" and labels.items() <= sample.labels.items()
        ]
        return sum(matching)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


async def test_settling_twice_counts_and_tells_once() -> None:
    seen = Seen()
    house, exchange = House(seen), answered_exchange()
    house.settler.opened(exchange)
    house.settler.settle(exchange)
    ended_at = exchange.ended_at
    house.settler.settle(exchange)
    assert seen.exchanges == [exchange]
    assert exchange.ended_at == ended_at
    assert house.requests() == 1


async def test_in_flight_goes_up_and_down_and_never_below_nothing() -> None:
    house = House()
    first, second = answered_exchange(), answered_exchange()
    house.settler.opened(first)
    house.settler.opened(second)
    assert house.value("quaymaster_requests_in_flight") == 2
    house.settler.settle(first)
    house.settler.settle(first)
    house.settler.settle(opened_exchange())
    assert house.value("quaymaster_requests_in_flight") == 1
    house.settler.settle(second)
    assert house.value("quaymaster_requests_in_flight") == 0


async def test_what_is_counted() -> None:
    house, exchange = House(), answered_exchange(status=503, bytes_in=11)
    exchange.error_code = "upstream_said_this"
    now = time.monotonic()
    exchange.attempts.append(Attempt(2, DEPLOYMENT, now - 0.1, now, fault="refused"))
    exchange.attempts.append(Attempt(3, DEPLOYMENT, now))
    house.settler.settle(exchange)
    labels = {"operation": "containers.retrieve", "provider": "openai"}
    assert house.requests(**labels, status_class="5xx", error_code="upstream") == 1
    for result in ("5xx", "fault", "abandoned"):
        assert house.value("quaymaster_upstream_attempts_total", deployment="openai-main", result=result) == 1
    assert house.value("quaymaster_upstream_duration_seconds_count", deployment="openai-main") == 3
    assert house.value("quaymaster_upstream_duration_seconds_sum", deployment="openai-main") == pytest.approx(0.35, 0.2)
    assert house.value("quaymaster_overhead_seconds_sum", operation="containers.retrieve") == 0.002
    assert house.value("quaymaster_bytes_total", direction="in") == 11
    assert house.value("quaymaster_bytes_total", direction="out") == 36
    assert house.value("quaymaster_client_gone_total") == 0


async def test_labels_hold_nothing_that_a_client_or_an_upstream_chose() -> None:
    house, exchange = House(), opened_exchange("/chosen-by-client")
    exchange.provider = "chosen-by-client"
    exchange.container_id = "chosen-by-client"
    exchange.status, exchange.error_code = 400, "chosen-by-client"
    house.settler.settle(exchange)
    assert b"chosen" not in house.metrics.render()
    assert house.requests(operation="other", provider="", error_code="upstream", status_class="4xx") == 1


async def test_own_error_codes_are_labels() -> None:
    house, exchange = House(), opened_exchange()
    exchange.status, exchange.error_code = 401, "invalid_api_key"
    house.settler.settle(exchange)
    assert house.requests(error_code="invalid_api_key") == 1


@pytest.mark.parametrize(
    ("outcome", "status", "settled_as", "gone"),
    [
        (Outcome.CLIENT_GONE, None, Outcome.CLIENT_GONE, 1),
        (Outcome.CUT_OFF, 200, Outcome.CUT_OFF, 0),
        (None, 200, Outcome.ANSWERED, 0),
        (None, None, Outcome.CANCELLED, 0),
    ],
)
async def test_how_it_ended(outcome: Outcome | None, status: int | None, settled_as: Outcome, gone: int) -> None:
    house, exchange = House(), opened_exchange()
    exchange.outcome, exchange.status = outcome, status
    house.settler.settle(exchange)
    assert exchange.outcome is settled_as
    assert house.value("quaymaster_client_gone_total") == gone


async def test_async_hooks_run_in_the_background_and_are_drained() -> None:
    seen = SeenLater()
    house, exchange = House(seen), answered_exchange()
    house.settler.settle(exchange)
    assert seen.exchanges == []
    await house.tasks.drain(5)
    assert seen.exchanges == [exchange]


async def test_a_request_that_is_cancelled_is_settled_and_tells_async_hooks_too() -> None:
    seen, later = Seen(), SeenLater()
    house, exchange = House(seen, later), opened_exchange()
    begun = asyncio.Event()

    async def request() -> None:
        house.settler.opened(exchange)
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            house.settler.settle(exchange)

    task = asyncio.create_task(request())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await house.tasks.drain(5)
    assert seen.exchanges == later.exchanges == [exchange]
    assert exchange.outcome is Outcome.CANCELLED
    assert house.requests(status_class="none") == 1


async def test_a_failure_in_one_step_is_logged_and_the_next_one_taken() -> None:
    seen = Seen()
    with captured_log() as log:
        house, exchange = House(seen), answered_exchange()
        exchange.overhead_seconds = "a while"  # type: ignore[assignment]
        house.settler.settle(exchange)
        (event,) = log.events("settle_failed")
    assert event["request_id"] == "req_1"
    assert "TypeError" in event["exception"]
    assert seen.exchanges == [exchange]
