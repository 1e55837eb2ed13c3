"""What a container will cost whom, and what is said where there is no room for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from app.domain.accounts import Account
from app.domain.containers import kept_text
from app.domain.deployments import Deployment
from app.domain.errors import ErrorCode, GatewayError
from app.domain.exchange import Exchange
from app.domain.identity import Principal
from app.domain.money import usd_text
from app.domain.spending import DEFAULT_MINUTES, Crossing, NoRoom, Order, Shortage
from app.hooks.runner import HookRunner
from app.pricing.table import Prices, gigabytes, tier_of
from app.telemetry.metrics import Metrics

_MAX_MINUTES: Final = 366 * 24 * 60
_LIMITED: Final = {Shortage.BUDGET: "budget", Shortage.CONTAINERS: "containers", Shortage.MEMORY: "memory"}


class Costs:
    """Prices creates, and tells plugins and metrics of the limits that they meet."""

    def __init__(self, prices: Prices, hooks: HookRunner, metrics: Metrics) -> None:
        self._prices = prices
        self._hooks = hooks
        self._metrics = metrics

    def order(self, exchange: Exchange, principal: Principal, deployment: Deployment, now: datetime) -> Order:
        """What is ordered with a create."""
        said: dict[str, Any] = exchange.request_json or {}
        memory = kept_text(said.get("memory_limit"))
        return Order(
            accounts=principal.accounts,
            provider=deployment.provider,
            deployment=deployment.name,
            memory_limit=tier_of(memory),
            memory_gb=gigabytes(memory),
            price=self._prices.price(deployment.provider, memory, now),
            minutes=_minutes(said.get("expires_after")),
            tags=principal.tags,
            request_id=exchange.request_id,
            started_at=now,
        )

    def refused(self, short: NoRoom, now: datetime) -> GatewayError:
        """The answer to a create for which an account has no room."""
        account = short.account
        self._metrics.limit_reached(account.kind.value, _LIMITED[short.shortage], shadow=False)
        reset_at = short.balance.reset_at if short.shortage is Shortage.BUDGET else None
        return GatewayError(
            ErrorCode.BUDGET_EXCEEDED,
            _explained(short),
            retry_after_seconds=None if reset_at is None else max(1.0, (reset_at - now).total_seconds()),
            should_retry=False,
        )

    async def crossed(self, exchange: Exchange, crossings: Sequence[Crossing]) -> None:
        """Tell of limits that a create has gone past without being refused. Never raises."""
        for crossing in crossings:
            if crossing.is_soft:
                self._metrics.soft_budget_crossed(crossing.account.kind.value)
                if self._hooks.soft_budget_crossed:
                    await self._hooks.soft_budget_crossed(exchange, crossing)
            else:
                self._metrics.limit_reached(crossing.account.kind.value, _LIMITED[crossing.shortage], shadow=True)
                if self._hooks.shadow_limit_crossed:
                    await self._hooks.shadow_limit_crossed(exchange, crossing)


def _minutes(expires_after: object) -> int:
    """How long a container lives unused that is asked for with this."""
    if not isinstance(expires_after, dict) or expires_after.get("anchor") != "last_active_at":
        return DEFAULT_MINUTES
    minutes = expires_after.get("minutes")
    return min(minutes, _MAX_MINUTES) if type(minutes) is int and minutes > 0 else DEFAULT_MINUTES


def _explained(short: NoRoom) -> str:
    account, balance, limits = short.account, short.balance, short.account.limits
    name = _named(account)
    match short.shortage:
        case Shortage.CONTAINERS:
            return (
                f"The quota of {limits.max_containers} containers of {name} has no room: {balance.containers} are"
                " alive. There is room again when one of them is deleted or expires."
            )
        case Shortage.MEMORY:
            return (
                f"The quota of {limits.max_memory_gb} GB of memory of {name} has no room: containers with"
                f" {balance.memory_gb} GB are alive. There is room again when some are deleted or expire."
            )
    window = "" if limits.budget_duration is None else f" per {limits.budget_duration}"
    reset_at = balance.reset_at
    ends = "" if reset_at is None else f" It starts anew at {reset_at.astimezone(UTC).isoformat(timespec='seconds')}."
    return (
        f"The budget of {usd_text(limits.max_budget_nanousd or 0)} USD{window} of {name} has no room:"
        f" {usd_text(balance.spent_nanousd)} USD are spent, {usd_text(balance.reserved_nanousd)} USD are reserved for"
        f" containers that are alive, and this one may cost {usd_text(short.needed_nanousd)} USD.{ends}"
    )


def _named(account: Account) -> str:
    return f"the {account.kind.value} '{account.alias or account.id}'"
