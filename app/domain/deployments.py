"""Where containers can live: a provider's dialect, an address and a credential."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_plus

from app.domain.ports import RawHeaders, Upstream

_IDENTITY: Final = (b"accept-encoding", b"identity")


@dataclass(frozen=True, slots=True)
class Deployment:
    """One place where containers live, ready to be sent to.

    `provider` is the name clients choose it by. `base_path` is what stands before the API's own paths ("/v1", or
    "/openai/v1"), `query_suffix` what every request's query ends in ("api-version=…" or nothing). `credential_headers`
    hold the deployment's secret: they go upstream and nowhere else, so they are not part of the repr. `weight` is its
    share of its provider's new containers; 0 is for one that only serves what it has.
    """

    name: str
    provider: str
    upstream: Upstream
    base_path: str
    query_suffix: str
    credential_headers: RawHeaders
    weight: float = 1.0
    constant_headers: RawHeaders = field(init=False)
    """What every request there ends in: that its answer be not compressed, and the credential."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "constant_headers", [_IDENTITY, *self.credential_headers])

    def __repr__(self) -> str:
        return f"Deployment(name={self.name!r}, provider={self.provider!r})"

    def target(self, path: str, query: str) -> bytes:
        """The request target for an API path whose ids are already percent-encoded. What is configured wins."""
        if not query and not self.query_suffix:
            return f"{self.base_path}{path}".encode()
        if query and self.query_suffix:
            own = self.query_suffix.partition("=")[0]
            query = "&".join(pair for pair in query.split("&") if unquote_plus(pair.partition("=")[0]) != own)
        joined = f"{query}&{self.query_suffix}" if query and self.query_suffix else query or self.query_suffix
        return f"{self.base_path}{path}?{joined}".encode()
