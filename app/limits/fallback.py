"""Redis while it answers, and what the settings say while it does not: nobody waits for it and nobody gets a 500."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, Literal

import structlog

from app.domain.limiting import Ask, Refusal, Verdict
from app.limits.memory import MemoryLimiter
from app.limits.redis import LEASE_SECONDS, RedisLimiter, Unreachable

_OUTAGE_SECONDS: Final = 1.0
_NOTHING_LIMITED: Final = Verdict(None, None, 0, 0.0, is_fallback=True)

log = structlog.get_logger()


class FallbackLimiter:
    """`app.domain.limiting.Limiter` over Redis, or alone.

    Alone it judges by what this process itself has admitted: `share` gives it an equal part of each limit, at least 1;
    `allow` refuses nothing, `refuse` everything that has a limit. `judged_alone` counts those requests.
    """

    def __init__(
        self,
        shared: RedisLimiter,
        when_down: Literal["share", "allow", "refuse"],
        *,
        processes: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.judged_alone = 0
        self._shared = shared
        self._when_down = when_down
        self._processes = max(1, processes)
        self._clock = clock
        self._own = MemoryLimiter(clock, self._share)
        self._tended_at = float("-inf")
        self._away_since: float | None = None

    @property
    def is_alone(self) -> bool:
        """Whether Redis is away."""
        return not self._shared.is_up

    @property
    def processes(self) -> int:
        """How many processes shared Redis when it last answered."""
        return self._processes

    async def admit(self, asks: Sequence[Ask], lease_id: str) -> Verdict:
        """Count one request against all of these, or against none."""
        try:
            verdict = await self._shared.judge(asks, lease_id)
        except Unreachable as outage:
            self._away(outage)
            return self._alone(asks, lease_id)
        if verdict.refusal is None:
            self._own.note(asks, lease_id)
        return verdict

    def release(self, lease_id: str) -> None:
        """Give the parallel slots back."""
        self._own.release(lease_id)
        self._shared.release(lease_id)

    async def tend(self) -> None:
        """Renew the leases when it is time, and look whether Redis is back. Never raises."""
        await self._own.tend()
        now = self._clock()
        if self._shared.is_up and now - self._tended_at < LEASE_SECONDS / 3:
            return
        try:
            self._processes = max(1, await self._shared.tend())
        except Unreachable as outage:
            self._away(outage)
            return
        self._tended_at = now
        if self._away_since is not None:
            log.info("redis_back", away_seconds=round(now - self._away_since, 1), processes=self._processes)
            self._away_since = None

    async def aclose(self) -> None:
        """Let Redis go."""
        await self._shared.aclose()

    def _away(self, outage: Unreachable) -> None:
        if self._away_since is None:
            self._away_since = self._clock()
            log.warning("redis_away", reason=str(outage), limits=self._when_down, processes=self._processes)

    def _alone(self, asks: Sequence[Ask], lease_id: str) -> Verdict:
        self.judged_alone += 1
        if self._when_down == "refuse" and (limiting := next((ask for ask in asks if not ask.shadow), None)):
            return Verdict(Refusal(limiting, _OUTAGE_SECONDS, is_outage=True), None, 0, 0.0, is_fallback=True)
        if self._when_down == "share":
            verdict = self._own.admit(asks, lease_id)._replace(is_fallback=True)
        else:
            self._own.note(asks, lease_id)
            verdict = _NOTHING_LIMITED
        if verdict.refusal is None:
            self._shared.adopt(asks, lease_id)
        return verdict

    def _share(self, limit: int) -> int:
        return limit // self._processes or min(limit, 1)
