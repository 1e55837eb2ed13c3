"""The dialects of the containers API.

All providers serve OpenAI's paths and bodies; they differ in where the API stands and how callers prove who they are.
Sources: OpenAI's API reference (bearer token, OpenAI-Organization, OpenAI-Project); Azure OpenAI's v1 API (`api-key`,
or a bearer token of Entra ID; an optional `api-version` in the query); Oracle's OpenAI-compatible endpoint (bearer).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Credential:
    """What a deployment is called with. `bearer_token` is for Azure (Entra ID), in place of `api_key`."""

    api_key: str | None = None
    bearer_token: str | None = None
    organization: str | None = None
    project: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An API base URL taken apart: `origin` is scheme, host and port; `base_path` has no trailing slash."""

    origin: str
    base_path: str

    @classmethod
    def parse(cls, api_base: str) -> Endpoint:
        """Take an absolute http or https URL apart. Raises ValueError for anything else."""
        parts = urlsplit(api_base)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("not an http or https URL")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("a base URL has no user, query or fragment")
        return cls(f"{parts.scheme}://{parts.netloc}", quote(parts.path.rstrip("/"), safe="/%"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One way to spell a request. `default_base` is None where every user has a base URL of their own.

    `domains` are those under which the provider itself answers; `default_path` is where the API stands on its hosts.
    """

    default_base: str | None = None
    api_key_header: bytes = b"authorization"
    domains: tuple[str, ...] = ()
    default_path: str = ""

    def owns(self, hostname: str) -> bool:
        """Whether this host is the provider's own, and no gateway or imitation of it."""
        return hostname.lower().endswith(self.domains) if self.domains else False

    def headers(self, credential: Credential) -> list[Header]:
        """The headers that carry a credential, names in lower case."""
        headers: list[Header] = []
        if credential.bearer_token:
            headers.append((b"authorization", b"Bearer " + credential.bearer_token.encode()))
        elif credential.api_key:
            scheme = b"Bearer " if self.api_key_header == b"authorization" else b""
            headers.append((self.api_key_header, scheme + credential.api_key.encode()))
        if credential.organization:
            headers.append((b"openai-organization", credential.organization.encode()))
        if credential.project:
            headers.append((b"openai-project", credential.project.encode()))
        return headers

    def query(self, api_version: str | None) -> str:
        """What every request's query must hold, percent-encoded; "" where nothing."""
        return f"api-version={quote(api_version, safe='')}" if api_version else ""


OPENAI: Final = Dialect(default_base="https://api.openai.com/v1", domains=(".openai.com",), default_path="/v1")
AZURE: Final = Dialect(
    api_key_header=b"api-key", domains=(".azure.com", ".azure.us", ".azure.cn"), default_path="/openai/v1"
)
COMPATIBLE: Final = Dialect()
"""Any host that speaks OpenAI's API with a bearer key: OCI, the embedded provider, your own."""

_DIALECTS: Final = {"openai": OPENAI, "azure": AZURE}


def dialect_of(provider: str) -> Dialect:
    """The dialect a provider speaks; providers without one of their own are OpenAI-compatible."""
    return _DIALECTS.get(provider, COMPATIBLE)
