"""Where containers can live: the settings of a deployment, and what each provider asks of them."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath, SecretStr, model_validator

from app.config.addresses import check_api_base, is_loopback, split_url
from app.config.problems import Misfits
from app.config.times import Seconds

KNOWN_PROVIDERS: Final = ("openai", "azure", "oci", "local")
"""Providers with a dialect of their own; any other name is an OpenAI-compatible host."""
OPENAI_API_BASE: Final = "https://api.openai.com/v1"

_ONLY_FOR: Final = {
    "organization": "openai",
    "project": "openai",
    "bearer_token": "azure",
    "api_version": "azure",
    "data_dir": "local",
}
_NOT_FOR_LOCAL: Final = ("api_base", "api_key", "transport", "proxy", "http2", "ca_file", "max_connections", "timeouts")


class Section(BaseModel):
    """A part of the settings: checked once, never changed, and without room for what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9_.-]{1,64}", name):
        raise ValueError('must be 1 to 64 characters, each a lower-case letter, a digit, "-", "_" or "."')
    return name


def _check_provider(provider: str) -> str:
    try:
        return _check_name(provider)
    except ValueError as error:
        near = difflib.get_close_matches(provider.lower(), KNOWN_PROVIDERS, n=1)
        raise ValueError(f"{error}{f'; did you mean {near[0]}?' if near else ''}") from None


def check_header_secret(secret: SecretStr) -> SecretStr:
    """A secret that can stand in a header as it is. Raises ValueError where it cannot."""
    if not re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", secret.get_secret_value()):
        raise ValueError("must not be empty, nor hold line ends, spaces at either end or characters outside ASCII")
    return secret


def _check_proxy(proxy: SecretStr) -> SecretStr:
    split_url(proxy.get_secret_value(), ("http", "https"))
    return proxy


def _default_api_base(data: dict[str, Any]) -> str | None:
    return OPENAI_API_BASE if data["provider"] == "openai" else None


HeaderText = Annotated[str, Field(pattern=r"^[\x21-\x7e]+$")]
Credential = Annotated[SecretStr, AfterValidator(check_header_secret)]


class TimeoutSettings(Section):
    """How long an upstream may take."""

    connect_seconds: Seconds = 5.0
    """To open a connection, TLS included."""
    read_seconds: Seconds = 600.0
    """Between two pieces of an answer, and for its first."""
    write_seconds: Seconds = 60.0
    """To take one piece of a request."""
    pool_seconds: Seconds = 10.0
    """To wait for a free connection where `max_connections` are busy."""


class DeploymentSettings(Section):
    """One place where containers can live: a provider's dialect, an address and a credential."""

    name: Annotated[str, AfterValidator(_check_name)]
    """What logs, metrics and errors call it; unique."""
    provider: Annotated[str, AfterValidator(_check_provider)]
    """What clients choose it by: openai, azure, oci, local, or a name of your own for an OpenAI-compatible host."""
    weight: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0
    """Its share of new containers among the deployments of its provider; 0 makes none there, and serves what is."""
    api_base: Annotated[str, AfterValidator(check_api_base)] | None = Field(default_factory=_default_api_base)
    """Base URL up to where the API's own paths begin. Default for openai: OPENAI_BASE_URL, else OpenAI itself."""
    api_key: Credential | None = None
    """The provider's key. Needed by openai and oci, and by azure unless there is a bearer_token."""
    bearer_token: Credential | None = None
    """Azure only: a Microsoft Entra token in the place of api_key."""
    api_version: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] | None = None
    """Azure only: sent as the query parameter api-version; none by default."""
    organization: HeaderText | None = None
    """OpenAI only: sent as OpenAI-Organization."""
    project: HeaderText | None = None
    """OpenAI only: sent as OpenAI-Project."""
    data_dir: Annotated[Path, AfterValidator(Path.expanduser)] | None = None
    """Local only: where its containers are kept. `Settings` fills in <data_dir>/containers."""
    transport: Literal["wire", "httpx"] = "wire"
    """wire is the fast one; httpx serves proxies and HTTP/2."""
    proxy: Annotated[SecretStr, AfterValidator(_check_proxy)] | None = None
    """URL of an HTTP proxy, which may hold a user name and password. Needs transport httpx."""
    http2: bool = False
    """Offer HTTP/2 to the upstream. Needs transport httpx."""
    ca_file: FilePath | None = None
    """Certificates to trust in the place of the system's, as PEM."""
    max_connections: Annotated[int, Field(ge=1, le=65_535)] = 256
    """Connections open at the same time; further requests wait for a free one."""
    timeouts: TimeoutSettings = TimeoutSettings()
    """How long the upstream may take."""

    @model_validator(mode="after")
    def _fits_its_provider(self) -> Self:
        given = {field for field in self.model_fields_set if getattr(self, field) is not None}
        found = [
            (field, f"is for provider {provider} only")
            for field, provider in _ONLY_FOR.items()
            if field in given and self.provider != provider
        ]
        if self.provider == "local":
            found += [
                (field, "has no meaning for provider local, which keeps containers on this machine's disk")
                for field in _NOT_FOR_LOCAL
                if field in given
            ]
        else:
            found += self._problems_of_a_remote()
        if found:
            raise Misfits(found)
        return self

    def _problems_of_a_remote(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        if self.api_base is None:
            found.append(self._missing_api_base())
        if self.provider in ("openai", "oci") and self.api_key is None:
            found.append(("api_key", f"required for provider {self.provider}"))
        if self.provider == "azure" and (self.api_key is None) == (self.bearer_token is None):
            found.append(("api_key", "provider azure needs either api_key or bearer_token, and not both"))
        if self.transport == "wire":
            wanting = "proxy" if self.proxy is not None else "http2" if self.http2 else None
            if wanting:
                found.append(("transport", f"{wanting} needs transport: httpx"))
        return found

    def _missing_api_base(self) -> tuple[str, str]:
        if self.provider in KNOWN_PROVIDERS:
            return "api_base", f"required for provider {self.provider}"
        near = difflib.get_close_matches(self.provider, KNOWN_PROVIDERS, n=1)
        suggestion = f"; did you mean {near[0]}?" if near else ""
        known = ", ".join(KNOWN_PROVIDERS)
        message = f'"{self.provider}" is none of {known}, so it is an OpenAI-compatible host and needs api_base'
        return "provider", message + suggestion

    @property
    def has_credential(self) -> bool:
        """Whether requests to it carry a secret."""
        return self.api_key is not None or self.bearer_token is not None

    @property
    def sends_credential_in_the_clear(self) -> bool:
        """Whether its secret crosses a network unencrypted."""
        if self.api_base is None or not self.has_credential:
            return False
        parts = split_url(self.api_base, ("https", "http"))
        return parts.scheme == "http" and not is_loopback(parts.hostname or "")
