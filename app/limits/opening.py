"""Which limiter the settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from app.config.limits import LimitsSettings
from app.domain.limiting import Limiter
from app.limits.memory import MemoryLimiter
from app.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from app.limits.fallback import FallbackLimiter


class CannotLimit(Exception):
    """Redis cannot be used as the settings say. The message is for the operator and holds no secret."""


async def open_limiter(redis_url: str | None, settings: LimitsSettings, processes: int, metrics: Metrics) -> Limiter:
    """Whoever keeps count: this process, or Redis where there is one, which need not answer yet. Raises CannotLimit."""
    if redis_url is None:
        return MemoryLimiter()
    limiter = over_redis(
        redis_url,
        timeout_seconds=settings.redis_timeout_seconds,
        when_down=settings.when_redis_is_down,
        processes=processes,
    )
    await limiter.tend()
    metrics.watch_limiter(lambda: limiter.is_alone, lambda: limiter.judged_alone)
    return limiter


def over_redis(
    url: str, *, timeout_seconds: float, when_down: Literal["share", "allow", "refuse"], processes: int
) -> FallbackLimiter:
    """A limiter over Redis, to be tended before it is asked. Raises CannotLimit."""
    try:
        from app.limits.fallback import FallbackLimiter  # Redis' client takes 10 MB
        from app.limits.redis import RedisLimiter
    except ImportError:
        raise CannotLimit("redis_url needs Redis' client: pip install 'quaymaster[redis]'") from None
    try:
        shared = RedisLimiter(url, timeout_seconds=timeout_seconds)
    except ValueError:
        raise CannotLimit("Redis' client does not understand redis_url.") from None
    return FallbackLimiter(shared, when_down, processes=processes)
