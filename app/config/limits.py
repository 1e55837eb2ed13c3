"""How rates are counted: a section of the settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from app.config.deployments import Section
from app.config.times import parse_seconds


class LimitsSettings(Section):
    """How requests are counted where several processes share a Redis."""

    redis_timeout_seconds: Annotated[float, BeforeValidator(parse_seconds), Field(ge=0.005, le=5)] = 0.05
    """The longest that a request waits for Redis; what takes longer counts as an outage."""
    when_redis_is_down: Literal["share", "allow", "refuse"] = "share"
    """What a process does meanwhile: judge by its share of each limit, let everything through, or answer 503."""
