"""Which limiter the settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from app.limits.fallback import FallbackLimiter


class CannotLimit(Exception):
    """Redis cannot be used as the settings say. The message is for the operator and holds no secret."""


def over_redis(
    url: str, *, timeout_seconds: float, when_down: Literal["share", "allow", "refuse"], processes: int
) -> FallbackLimiter:
    """A limiter over Redis, which need not answer yet. Raises CannotLimit."""
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
