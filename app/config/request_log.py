"""What is kept of every request, and where it goes: one section of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from app.config.addresses import split_url
from app.config.deployments import Section
from app.config.problems import Misfits
from app.config.sizes import ByteSize

MIN_SECRET_CHARS: Final = 16


def _check_url(url: str) -> str:
    parts = split_url(url, ("https", "http"))
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password")
    return url


Url = Annotated[str, AfterValidator(_check_url)]


class RequestLogSettings(Section):
    """What is kept of every request, and where it goes beside stdout."""

    table: bool = True
    """Keep a row for each request in the database."""
    retain_days: Annotated[float, Field(ge=0, le=36_500)] = 30.0
    """For how many days."""
    when_full: Literal["block", "drop"] = "block"
    """What happens where rows come faster than they can be kept: new requests wait, or rows are dropped and counted."""
    max_pending_bytes: ByteSize = 32 * 2**20
    """How much may wait to be kept."""
    file: Annotated[Path, AfterValidator(Path.expanduser)] | None = None
    """A file for the request lines."""
    file_max_bytes: ByteSize = 100 * 2**20
    """When the file is begun anew."""
    file_count: Annotated[int, Field(ge=1, le=1000)] = 5
    """How many files there are at most, the current one included."""
    webhook_url: Url | None = None
    """Where request lines are posted, in batches."""
    webhook_secret: SecretStr | None = None
    """Signs what is posted."""
    webhook_allow_private: bool = False
    """Post to private, loopback and link-local addresses too."""
    otlp_endpoint: Url | None = None
    """An OpenTelemetry collector that takes spans over HTTP. Needs the extra `otel`."""

    @model_validator(mode="after")
    def _webhooks_are_signed(self) -> Self:
        secret = self.webhook_secret
        if self.webhook_url is not None and (secret is None or len(secret.get_secret_value()) < MIN_SECRET_CHARS):
            raise Misfits([("webhook_secret", f"signs what is posted: at least {MIN_SECRET_CHARS} characters")])
        return self
