"""Phase 1: is there room for one more request, by the rates and quotas of the key, its user and its team?

Everything that a principal asks is counted, also what is refused later on; what is refused here is not. What a
container costs is not looked at here: that is `create`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Final

from app.domain.accounts import Account
from app.domain.errors import ErrorCode, GatewayError
from app.domain.exchange import Exchange
from app.domain.identity import Principal
from app.domain.limiting import Allowance, Limiter, Rate, Refusal, Verdict
from app.domain.ports import StoreUnavailable
from app.gateway.daily import DailyBytes
from app.gateway.upload import SizeLimit
from app.pricing.table import tier_of
from app.telemetry.metrics import Metrics
from quaymaster.operations import CONTAINERS_CREATE, Operation, Payload

MEMORY_FIELD: Final = "memory_limit"


class Admission:
    """Lets requests in that have room."""

    def __init__(self, limiter: Limiter, daily: DailyBytes, metrics: Metrics) -> None:
        self._limiter = limiter
        self._daily = daily
        self._metrics = metrics

    def admit(self, exchange: Exchange, principal: Principal, operation: Operation) -> Awaitable[None] | None:
        """Count a request, and take its parallel slots until it is settled.

        What it returns is to be awaited; None where that is done already, which spares most requests a coroutine.
        Either raises GatewayError: RATE_LIMIT_EXCEEDED, BUDGET_EXCEEDED, and STORE_UNAVAILABLE where nobody can tell.
        """
        allowance = principal.allowance
        asks = allowance.create_asks if operation is CONTAINERS_CREATE else allowance.asks
        if asks:
            verdict = self._limiter.admit(asks, exchange.request_id)
            if not isinstance(verdict, Verdict):
                return self._awaited(exchange, verdict, allowance, operation)
            self._heed(exchange, verdict, allowance)
        if allowance.upload_days or allowance.download_days:
            return self._meter(exchange, allowance, operation)
        return None

    async def _awaited(
        self, exchange: Exchange, verdict: Awaitable[Verdict], allowance: Allowance, operation: Operation
    ) -> None:
        self._heed(exchange, await verdict, allowance)
        metering = self._meter(exchange, allowance, operation)
        if metering is not None:
            await metering

    def check_tier(self, exchange: Exchange, principal: Principal) -> None:
        """Raises GatewayError BUDGET_EXCEEDED where a new container's memory is not among those allowed."""
        for account in principal.allowance.memory_limits:
            allowed = account.limits.allowed_memory_limits or ()
            said = (exchange.request_json or {}).get(MEMORY_FIELD)
            wanted = tier_of(said) if said is None or isinstance(said, str) else said
            if wanted not in allowed:
                self._refuse(
                    account,
                    "memory_limit",
                    f"{account.name} may not have containers with a {MEMORY_FIELD} of {str(wanted)[:64]}; allowed: "
                    f"{', '.join(allowed) or 'none'}.",
                    param=MEMORY_FIELD,
                )

    def file_limits(self, principal: Principal) -> tuple[SizeLimit, ...]:
        """How large a single file may be: for each account with a limit, that and what to do about a larger one."""
        return tuple(
            SizeLimit(
                account.limits.max_file_bytes or 0,
                partial(
                    self._refuse,
                    account,
                    "file_bytes",
                    f"The file is larger than {account.name} may upload ({account.limits.max_file_bytes} bytes).",
                ),
            )
            for account in principal.allowance.file_sizes
        )

    def _heed(self, exchange: Exchange, verdict: Verdict, allowance: Allowance) -> None:
        exchange.verdict = verdict
        for ask in verdict.overrun:
            self._metrics.limit_reached(_kind(ask.account), ask.rate.value, shadow=True)
        if verdict.refusal is not None:
            if not verdict.refusal.is_outage:
                ask = verdict.refusal.ask
                self._metrics.limit_reached(_kind(ask.account), ask.rate.value, shadow=False)
            raise _refused(verdict.refusal)
        if allowance.has_slots:
            exchange.on_settled = self._limiter.release

    def _meter(self, exchange: Exchange, allowance: Allowance, operation: Operation) -> Awaitable[None] | None:
        """Count the bytes that go up or come down, where somebody has a quota of them."""
        if allowance.upload_days and operation.request is Payload.UPLOAD:
            return self._meter_upload(exchange, allowance)
        if allowance.download_days and operation.response is Payload.CONTENT:
            return self._meter_download(exchange, allowance)
        return None

    async def _meter_upload(self, exchange: Exchange, allowance: Allowance) -> None:
        """Refuse before a byte what has no room today; cut off what runs out of it."""
        coming = exchange.body.declared_bytes or 0
        over: set[str] = set()
        for account in allowance.upload_days:
            most = account.limits.max_upload_bytes_per_day or 0
            used = (await self._today(account))[0]
            if used >= most or used + coming > most:
                over.add(account.name)
                self._refuse_day(account, "upload", most)

        def count(size: int) -> None:
            for account in allowance.upload_days:
                most = account.limits.max_upload_bytes_per_day or 0
                if self._daily.uploaded(account.name, size) > most and account.name not in over:
                    over.add(account.name)
                    self._refuse_day(account, "upload", most)

        exchange.body.meter = count

    async def _meter_download(self, exchange: Exchange, allowance: Allowance) -> None:
        """Refuse where today's are used up; one that has begun goes on to its end."""
        for account in allowance.download_days:
            most = account.limits.max_download_bytes_per_day or 0
            if (await self._today(account))[1] >= most:
                self._refuse_day(account, "download", most)
        names = [account.name for account in allowance.download_days]

        def count(size: int) -> None:
            for name in names:
                self._daily.downloaded(name, size)

        exchange.on_content = count

    async def _today(self, account: Account) -> tuple[int, int]:
        """Bytes uploaded and downloaded today. Raises GatewayError STORE_UNAVAILABLE."""
        try:
            tally = await self._daily.today(account.name)
        except StoreUnavailable as outage:
            raise GatewayError(
                ErrorCode.STORE_UNAVAILABLE, "The database of quotas did not answer.", retry_after_seconds=1
            ) from outage
        return tally.uploaded, tally.downloaded

    def _refuse_day(self, account: Account, direction: str, most: int) -> None:
        end = datetime.combine(datetime.now(UTC).date() + timedelta(days=1), time(), UTC)
        self._refuse(
            account,
            f"{direction}_bytes",
            f"The {direction} quota of {account.name} has no room for this: {most} bytes a day. "
            f"It starts anew at {end:%Y-%m-%dT%H:%M:%SZ}.",
        )

    def _refuse(self, account: Account, limit: str, message: str, param: str | None = None) -> None:
        """Raises GatewayError BUDGET_EXCEEDED, except in shadow."""
        self._metrics.limit_reached(account.kind.value, limit, shadow=account.limits.shadow)
        if not account.limits.shadow:
            raise GatewayError(ErrorCode.BUDGET_EXCEEDED, message, param=param, should_retry=False)


def _refused(refusal: Refusal) -> GatewayError:
    ask, seconds = refusal.ask, refusal.retry_after_seconds
    if refusal.is_outage:
        return GatewayError(
            ErrorCode.STORE_UNAVAILABLE,
            f"Nobody can tell whether {ask.account} has reached its limits: Redis did not answer.",
            retry_after_seconds=seconds,
        )
    again = f"Try again in {math.ceil(seconds)} s." if ask.limit else "It may make none at all."
    should_retry = None if ask.limit else False
    match ask.rate:
        case Rate.CREATES:
            message = f"The quota of new containers of {ask.account} is used up: {ask.limit} a minute. {again}"
            return GatewayError(ErrorCode.BUDGET_EXCEEDED, message, retry_after_seconds=seconds, should_retry=False)
        case Rate.PARALLEL:
            message = f"{ask.account} has reached its limit of {ask.limit} requests at the same time. {again}"
        case Rate.REQUESTS:
            message = f"{ask.account} has reached its limit of {ask.limit} requests a minute. {again}"
    return GatewayError(ErrorCode.RATE_LIMIT_EXCEEDED, message, retry_after_seconds=seconds, should_retry=should_retry)


def _kind(account: str) -> str:
    """The kind of an account, from its name."""
    return account.partition(":")[0]
