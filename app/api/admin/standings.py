"""Where keys, teams and users stand in the ledger, and when their windows end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from app.api.admin.limit_models import LimitFields
from app.domain.accounts import Limits
from app.domain.money import to_usd
from app.domain.spending import Balance, Ledger
from app.domain.stores import AuditLog, Deed
from app.domain.windows import window_end

_ABOUT_WINDOWS: Final = frozenset({"budget_duration", "budget_timezone"})


class Standings:
    """Shows balances and begins windows. `clock` gives unix seconds. Every method may raise StoreUnavailable."""

    def __init__(self, ledger: Ledger, audit: AuditLog, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._audit = audit
        self._clock = clock

    def now(self) -> datetime:
        """The time that all the admin routes go by."""
        return datetime.fromtimestamp(self._clock(), UTC)

    async def of(self, account: str) -> Balance:
        """Where an account stands."""
        return (await self.of_all([account]))[account]

    async def of_all(self, accounts: Sequence[str]) -> dict[str, Balance]:
        """By name, where these stand."""
        return await self._ledger.balances(accounts, self.now()) if accounts else {}

    async def begin_window(self, account: str, limits: Limits, wanted: LimitFields, deed: Deed) -> Balance:
        """Where an account stands, once its window is what was wished for.

        A window that was named begins now; what was spent counts in it. With `spend` 0 it does not any more, which is
        written down before it is done. The window of somebody who had the same name before ends for whoever has none.
        """
        afresh = "spend" in wanted.model_fields_set and wanted.spend == 0
        balance = await self.of(account)
        is_anothers = balance.reset_at is not None and limits.budget_duration is None
        if not afresh and not is_anothers and not _ABOUT_WINDOWS & wanted.model_fields_set:
            return balance
        reset_at = self._reset_at(limits)
        if afresh and balance.spent_nanousd:
            forgotten = Deed(deed.actor, f"{account.partition(':')[0]}.reset_spend", deed.request_id)
            await self._audit.append(forgotten, account, {"spend": to_usd(balance.spent_nanousd)}, {"spend": 0})
        await self._ledger.set_window(account, reset_at, afresh=afresh)
        return replace(balance, reset_at=reset_at, spent_nanousd=0 if afresh else balance.spent_nanousd)

    def _reset_at(self, limits: Limits) -> datetime | None:
        if limits.budget_duration is None:
            return None
        return window_end(limits.budget_duration, limits.budget_timezone, self.now())
