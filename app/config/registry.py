"""Where new containers go, what is remembered of them, and which are cleaned up: three sections of the settings."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from app.config.deployments import Section
from app.config.problems import Misfits
from app.config.times import Age, Seconds, SecondsOrZero

_CRITERIA: Final = ("older_than_seconds", "idle_seconds", "revoked_keys", "unknown")


class RoutingSettings(Section):
    """Which of a provider's deployments a new container goes to, and how failures are dealt with."""

    policy: Literal["weighted", "least-busy", "lowest-latency", "round-robin"] = "least-busy"
    """How a provider's deployment is chosen among those that are well."""
    retry_deadline_seconds: SecondsOrZero = 30.0
    """The longest for which a GET or DELETE that failed is tried again; 0 for never."""
    cooldown_seconds: Seconds = 5.0
    """How long a deployment that failed gets no new containers. Twice as long each time that it fails again."""


class RegistrySettings(Section):
    """What is known of every container."""

    refresh_seconds: Seconds = 15.0
    """How old the answer to a list may be, as far as upstreams changed something by themselves."""
    retain_days: Annotated[float, Field(ge=0, le=36_500)] = 30.0
    """For how long a container that is no more is remembered."""


class ReapSettings(Section):
    """Which containers are deleted on a schedule: those that any one of the criteria fits."""

    every_seconds: Age | None = None
    """How often. Without it nothing is deleted by itself."""
    older_than_seconds: Age | None = None
    """Those made longer ago."""
    idle_seconds: Age | None = None
    """Those that nobody used for longer."""
    revoked_keys: bool = False
    """Those whose key is deleted, blocked or expired."""
    unknown: bool = False
    """Those that a deployment has and the registry never heard of."""
    dry_run: bool = False
    """Only log what would be deleted."""

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.every_seconds is not None and not self.has_criterion:
            raise Misfits(
                [("every_seconds", f"says when to delete but not what: set at least one of {', '.join(_CRITERIA)}")]
            )
        return self

    @property
    def has_criterion(self) -> bool:
        """Whether it says what to delete."""
        return any(getattr(self, criterion) for criterion in _CRITERIA)
