"""What is ordered with a create, and who is told of limits that it meets."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.domain.accounts import Account, AccountKind
from app.domain.errors import ErrorCode
from app.domain.exchange import Exchange
from app.domain.identity import MASTER
from app.domain.spending import Balance, Crossing, NoRoom, Order, Shortage
from app.gateway.costs import Costs
from app.hooks.runner import HookRunner
from app.hooks.spec import Hooks
from app.pricing.table import Prices, Tariff
from app.telemetry.metrics import Metrics
from tests.exchanges import DEPLOYMENT, opened_exchange
from tests.storage.keys import NOON
from tests.storage.spending import BY_SESSION, BY_THE_MINUTE, account

PRICES = Prices([Tariff(since=NOON, prices={"1g": BY_THE_MINUTE, "4g": BY_SESSION})])


class Told(Hooks):
    """Takes notes of crossings."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, Exchange, Crossing]] = []

    async def soft_budget_crossed(self, exchange: Exchange, crossing: Crossing) -> None:
        self.notes.append(("soft", exchange, crossing))

    def shadow_limit_crossed(self, exchange: Exchange, crossing: Crossing) -> None:
        self.notes.append(("shadow", exchange, crossing))


def costs(*plugins: Hooks, metrics: Metrics | None = None) -> Costs:
    metrics = metrics or Metrics("1")
    return Costs(PRICES, HookRunner(plugins, metrics), metrics)


def ordered(**said: Any) -> Order:
    exchange = opened_exchange()
    exchange.request_json = said
    return costs().order(exchange, replace(MASTER, tags=("red",)), DEPLOYMENT, NOON)


def test_an_order_says_what_the_ledger_needs_to_know() -> None:
    assert ordered(name="crate", memory_limit=" 4G ") == Order(
        accounts=MASTER.accounts,
        provider="openai",
        deployment="openai-main",
        memory_limit="4g",
        memory_gb=4,
        price=BY_SESSION,
        minutes=20,
        tags=("red",),
        request_id="req_1",
        started_at=NOON,
    )
    assert (ordered().memory_limit, ordered().price) == ("1g", BY_THE_MINUTE)


@pytest.mark.parametrize(
    ("expires_after", "minutes"),
    [
        ({"anchor": "last_active_at", "minutes": 7}, 7),
        ({"anchor": "created_at", "minutes": 7}, 20),
        ({"anchor": "last_active_at", "minutes": 0}, 20),
        ({"anchor": "last_active_at", "minutes": -1}, 20),
        ({"anchor": "last_active_at", "minutes": True}, 20),
        ({"anchor": "last_active_at", "minutes": 7.5}, 20),
        ({"anchor": "last_active_at", "minutes": 10**30}, 366 * 24 * 60),
        ({"anchor": "last_active_at"}, 20),
        ("soon", 20),
        (None, 20),
    ],
)
def test_how_long_it_lives_unused(expires_after: object, minutes: int) -> None:
    assert ordered(expires_after=expires_after).minutes == minutes


@pytest.mark.parametrize(
    ("payer", "named"),
    [
        (account(AccountKind.TEAM, "sea", max_budget_nanousd=0), "the team 'sea'"),
        (replace(account(max_budget_nanousd=0), alias="crane"), "the key 'crane'"),
    ],
)
def test_a_refusal_names_who_has_no_room(payer: Account, named: str) -> None:
    metrics = Metrics("1")
    short = NoRoom(payer, Shortage.BUDGET, Balance(account=payer.name, spent_nanousd=1), 10**9)
    refusal = costs(metrics=metrics).refused(short, NOON)
    assert (refusal.code, refusal.should_retry, refusal.retry_after_seconds) == (
        ErrorCode.BUDGET_EXCEEDED,
        False,
        None,
    )
    assert refusal.message == (
        f"The budget of 0 USD of {named} has no room: 0.000000001 USD are spent, 0 USD are reserved for containers that"
        " are alive, and this one may cost 1 USD."
    )
    labels = {"account": payer.kind.value, "limit": "budget", "shadow": "false"}
    assert metrics.registry.get_sample_value("quaymaster_limit_refusals_total", labels) == 1


def test_a_refusal_says_when_the_window_ends() -> None:
    payer = account(max_budget_nanousd=0, budget_duration="day")
    balance = Balance(account=payer.name, reset_at=NOON + timedelta(seconds=90))
    refusal = costs().refused(NoRoom(payer, Shortage.BUDGET, balance, 1), NOON)
    assert refusal.retry_after_seconds == 90
    assert refusal.message.startswith("The budget of 0 USD per day of the key")
    assert refusal.message.endswith("It starts anew at 2026-08-01T12:01:30+00:00.")


async def test_plugins_and_metrics_are_told_of_what_was_crossed() -> None:
    told, metrics, exchange = Told(), Metrics("1"), opened_exchange()
    balance = Balance(account="key:1")
    soft = Crossing(account=account(), shortage=Shortage.BUDGET, is_soft=True, balance=balance)
    shadow = Crossing(account=account(), shortage=Shortage.MEMORY, is_soft=False, balance=balance)
    await costs(told, metrics=metrics).crossed(exchange, [soft, shadow])
    assert told.notes == [("soft", exchange, soft), ("shadow", exchange, shadow)]
    await costs(metrics=metrics).crossed(exchange, [soft, shadow])
    value = metrics.registry.get_sample_value
    assert value("quaymaster_soft_budgets_crossed_total", {"account": "key"}) == 2
    assert value("quaymaster_limit_refusals_total", {"account": "key", "limit": "memory", "shadow": "true"}) == 2
