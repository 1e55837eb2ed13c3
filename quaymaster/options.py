"""Where requests go, and with which credential: arguments first, then the environment.

    api_base              goes there, with the provider's key if that is the provider's own host, else with
                          QUAYMASTER_API_KEY if that is set, else with the provider's
    QUAYMASTER_API_BASE   goes to that gateway, with QUAYMASTER_API_KEY; unless a provider and a key are both given
    neither               goes to the provider, with its key; it is openai unless another is named

A provider's key, base URL and API version are `<PROVIDER>_API_KEY`, `<PROVIDER>_API_BASE` and
`<PROVIDER>_API_VERSION`, such as AZURE_API_BASE; OPENAI_BASE_URL is read too. Only OpenAI has a base URL by default.
An empty variable is an unset one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from quaymaster.errors import InvalidArgumentError, MissingCredentialError
from quaymaster.providers import Credential, Dialect, Endpoint, dialect_of

if TYPE_CHECKING:
    import httpx

Order = Literal["asc", "desc"]
"""By the time of creation; "desc" is newest first."""

DEFAULT_PROVIDER: Final = "openai"
GATEWAY: Final = "QUAYMASTER"
"""The prefix of a gateway's variables."""
GATEWAY_KEY_PREFIX: Final = "sk-qm-"
PROVIDER_HEADER: Final = "custom-llm-provider"
DEFAULT_TIMEOUT_SECONDS: Final = 600.0
DEFAULT_MAX_RETRIES: Final = 2


@dataclass(frozen=True, slots=True)
class Destination:
    """A server, and how to be let in. `repr` shows no secret.

    `provider` is the dialect that is spoken. `header_provider` is what a gateway is told with each request: None where
    the caller named no provider, or where the server is the provider itself. `tells_provider` is whether a gateway may
    be there to be told.
    """

    base_url: str
    provider: str
    headers: tuple[tuple[str, str], ...] = field(repr=False, default=())
    query: tuple[tuple[str, str], ...] = ()
    header_provider: str | None = None
    tells_provider: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """What any call may add to its own request. None leaves what the client has.

    `timeout` is in seconds, for each wait for the server (connecting: at most 5).
    """

    timeout: float | httpx.Timeout | None = None
    max_retries: int | None = None
    extra_headers: Mapping[str, str] | None = field(default=None, repr=False)
    extra_query: Mapping[str, object] | None = None
    extra_body: Mapping[str, object] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What all requests of a client share."""

    destination: Destination
    timeout: float | httpx.Timeout | None = None
    max_retries: int = DEFAULT_MAX_RETRIES
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, object] = field(default_factory=dict)


def resolve(
    *,
    custom_llm_provider: str | None = None,
    api_key: str | None = None,
    api_base: str | None = None,
    api_version: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Destination:
    """Where to send and with which credential; see the module.

    Raises MissingCredentialError, which names the variable to set, and InvalidArgumentError for a base URL or a key
    that cannot be one.
    """
    variables = os.environ if environment is None else environment
    provider = (custom_llm_provider or DEFAULT_PROVIDER).strip().lower()
    dialect, prefix = dialect_of(provider), _prefix(provider)
    if not api_base and _asks_gateway(custom_llm_provider, api_key, variables):
        api_base, dialect, prefix = variables[f"{GATEWAY}_API_BASE"], dialect_of(GATEWAY), GATEWAY
    endpoint = _endpoint(api_base or _default_base(provider, prefix, dialect, variables), prefix)
    own = dialect.owns(urlsplit(endpoint.origin).hostname or "")
    if own and not endpoint.base_path:
        endpoint = Endpoint(endpoint.origin, dialect.default_path)
    if not api_key and not own and variables.get(f"{GATEWAY}_API_KEY") and api_base:
        api_key = variables[f"{GATEWAY}_API_KEY"]
    credential = Credential(
        api_key=_credential(api_key or variables.get(f"{prefix}_API_KEY"), prefix),
        organization=variables.get("OPENAI_ORG_ID") if own and provider == "openai" else None,
        project=variables.get("OPENAI_PROJECT_ID") if own and provider == "openai" else None,
    )
    version = api_version or (variables.get(f"{prefix}_API_VERSION") if prefix != GATEWAY else None)
    return Destination(
        endpoint.origin + endpoint.base_path,
        provider,
        tuple((name.decode(), value.decode()) for name, value in dialect.headers(credential)),
        (("api-version", version),) if version else (),
        provider if custom_llm_provider and not own else None,
        not own,
    )


def _asks_gateway(provider: str | None, api_key: str | None, variables: Mapping[str, str]) -> bool:
    if not variables.get(f"{GATEWAY}_API_BASE"):
        return False
    return not (provider and api_key) or (api_key or "").startswith(GATEWAY_KEY_PREFIX)


def _prefix(provider: str) -> str:
    """How the names of a provider's variables begin."""
    return "".join(character if character.isalnum() else "_" for character in provider.upper())


def _default_base(provider: str, prefix: str, dialect: Dialect, variables: Mapping[str, str]) -> str:
    names = (["OPENAI_BASE_URL"] if provider == "openai" else []) + [f"{prefix}_API_BASE"]
    base = next((variables[name] for name in names if variables.get(name)), None) or dialect.default_base
    if base is None:
        raise MissingCredentialError(
            f"There is no base URL for the provider {provider!r}: pass api_base, or set {prefix}_API_BASE; "
            f"or set {GATEWAY}_API_BASE to send requests to a gateway.",
            f"{prefix}_API_BASE",
        )
    return base


def _endpoint(base: str, prefix: str) -> Endpoint:
    try:
        return Endpoint.parse(base.strip())
    except ValueError as error:
        raise InvalidArgumentError(f"The base URL for {prefix.lower()} (api_base) cannot be used: {error}.") from None


def _credential(key: str | None, prefix: str) -> str:
    key = (key or "").strip()
    if not key:
        hint = "" if prefix == GATEWAY else f"; or set {GATEWAY}_API_BASE and {GATEWAY}_API_KEY to use a gateway"
        raise MissingCredentialError(
            f"There is no key: pass api_key, or set {prefix}_API_KEY{hint}.", f"{prefix}_API_KEY"
        )
    if not key.isascii() or not key.isprintable():
        raise InvalidArgumentError(f"The key (api_key or {prefix}_API_KEY) holds characters that no key has.")
    return key
