"""Where requests go, and with which credential: arguments first, then the environment.

    api_base              goes there. The key is that of the provider, if it is the provider's own host, or if a
                          provider is named that has one; else QUAYMASTER_API_KEY if that is set
    QUAYMASTER_API_BASE   goes to that gateway, with QUAYMASTER_API_KEY; unless a provider and a key are both given, and
                          the key is no gateway's ("sk-qm-…")
    neither               goes to the provider, with its key; it is openai unless another is named

A provider's key, base URL and API version are `<PROVIDER>_API_KEY`, `<PROVIDER>_API_BASE` and
`<PROVIDER>_API_VERSION`, such as AZURE_API_BASE; OPENAI_BASE_URL is read too. Only OpenAI has a base URL by default.
An empty variable is an unset one. A gateway's key is never sent to a provider.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypedDict
from urllib.parse import urlsplit

import httpx

from quaymaster.errors import InvalidArgumentError, MissingCredentialError
from quaymaster.providers import Credential, Dialect, Endpoint, dialect_of

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

    `is_provider` is whether the provider itself is there, else it may be a gateway. That one is told with each request
    whose API is meant: `provider_told`, None where the caller named none.
    """

    base_url: str
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    provider_told: str | None = None
    is_provider: bool = False


class DestinationOptions(TypedDict, total=False):
    """Where to send: see `resolve`."""

    custom_llm_provider: str | None
    api_key: str | None
    api_base: str | None
    api_version: str | None


class RequestOptions(TypedDict, total=False):
    """What any call may add to its own request. None leaves what the client has.

    `timeout` is in seconds, for each wait for the server (connecting: at most 5).
    """

    timeout: float | httpx.Timeout | None
    max_retries: int | None
    extra_headers: Mapping[str, str] | None
    extra_query: Mapping[str, object] | None
    extra_body: Mapping[str, object] | None


class CallOptions(DestinationOptions, RequestOptions, total=False):
    """What every function takes beside its own arguments."""


class ClientOptions(DestinationOptions, total=False):
    """What either client takes."""

    timeout: float | httpx.Timeout | None
    max_retries: int | None
    default_headers: Mapping[str, str] | None
    default_query: Mapping[str, object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a request is sent with; a client's are what its requests have in common."""

    destination: Destination
    timeout: float | httpx.Timeout | None = None
    max_retries: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, object] = field(default_factory=dict)
    body: Mapping[str, object] = field(default_factory=dict, repr=False)

    @classmethod
    def of_client(cls, options: ClientOptions) -> Settings:
        """Those of a client. Raises what `resolve` raises."""
        return cls(
            destination=_destination(options),
            timeout=options.get("timeout"),
            max_retries=options.get("max_retries"),
            headers=options.get("default_headers") or {},
            query=options.get("default_query") or {},
        )

    @classmethod
    def of_call(cls, options: CallOptions) -> Settings:
        """Those of a function's one request. Raises what `resolve` raises."""
        return cls(destination=_destination(options)).joined(options)

    def joined(self, options: RequestOptions) -> Settings:
        """These settings with a request's own, which win."""
        timeout, max_retries = options.get("timeout"), options.get("max_retries")
        return Settings(
            destination=self.destination,
            timeout=self.timeout if timeout is None else timeout,
            max_retries=self.max_retries if max_retries is None else max_retries,
            headers=lowered(self.headers) | lowered(options.get("extra_headers") or {}),
            query={**self.query, **(options.get("extra_query") or {})},
            body={**self.body, **(options.get("extra_body") or {})},
        )


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
    if api_base and not own and not (custom_llm_provider and variables.get(f"{prefix}_API_KEY")):
        api_key = api_key or variables.get(f"{GATEWAY}_API_KEY")
    openai = own and provider == DEFAULT_PROVIDER
    credential = Credential(
        api_key=_credential(api_key or variables.get(f"{prefix}_API_KEY"), prefix, own),
        organization=variables.get("OPENAI_ORG_ID") if openai else None,
        project=variables.get("OPENAI_PROJECT_ID") if openai else None,
    )
    version = api_version or (variables.get(f"{prefix}_API_VERSION") if prefix != GATEWAY else None)
    return Destination(
        endpoint.origin + endpoint.base_path,
        headers={name.decode(): value.decode() for name, value in dialect.headers(credential)},
        query={"api-version": version} if version else {},
        provider_told=provider if custom_llm_provider and not own else None,
        is_provider=own,
    )


def _destination(options: DestinationOptions) -> Destination:
    return resolve(
        custom_llm_provider=options.get("custom_llm_provider"),
        api_key=options.get("api_key"),
        api_base=options.get("api_base"),
        api_version=options.get("api_version"),
    )


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by lower-case name. Raises InvalidArgumentError, which does not show the value."""
    named = {}
    for name, value in headers.items():
        if not isinstance(value, str) or not value.isascii() or not (value + name).replace("\t", " ").isprintable():
            raise InvalidArgumentError(f"The header {name!r} must be one line of ASCII text.")
        named[name.lower()] = value.strip()
    return named


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


def _credential(key: str | None, prefix: str, is_provider: bool) -> str:
    key = (key or "").strip()
    if not key:
        hint = "" if prefix == GATEWAY else f"; or set {GATEWAY}_API_BASE and {GATEWAY}_API_KEY to use a gateway"
        raise MissingCredentialError(
            f"There is no key: pass api_key, or set {prefix}_API_KEY{hint}.", f"{prefix}_API_KEY"
        )
    if is_provider and key.startswith(GATEWAY_KEY_PREFIX):
        raise MissingCredentialError(
            f"The key is a gateway's, and no provider's: set {GATEWAY}_API_BASE, or pass api_base.",
            f"{GATEWAY}_API_BASE",
        )
    if not key.isascii() or not key.isprintable():
        raise InvalidArgumentError(f"The key (api_key or {prefix}_API_KEY) holds characters that no key has.")
    return key
