"""The settings: one frozen tree, checked once when the process starts and only read from then on.

`Settings(...)` takes what it is given and reads neither files nor the environment; `app.config.load` does that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.config.addresses import is_loopback
from app.config.deployments import DeploymentSettings, Section, check_header_secret
from app.config.limits import LimitsSettings
from app.config.pricing import PricingSettings
from app.config.registry import ReapSettings, RegistrySettings, RoutingSettings
from app.config.request_log import RequestLogSettings
from app.config.sizes import ByteSize
from app.config.times import Seconds, SecondsOrZero
from app.domain.addresses import parse_network

MIN_PUBLIC_MASTER_KEY_CHARS: Final = 16


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _plugin(value: object) -> object:
    return {"use": value} if isinstance(value, str) else value


def _network(value: str) -> str:
    return str(parse_network(value))


class ServerSettings(Section):
    """Where the gateway listens, and what it takes from clients."""

    host: Annotated[str, Field(pattern=r"^\S+$")] = "127.0.0.1"
    """Address to listen on. Any that other machines can reach needs a master key of at least 16 characters."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 4000
    """TCP port to listen on; 0 takes any free one."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Processes that serve this address. More than one need redis_url."""
    max_json_bytes: ByteSize = 96 * 2**20
    """Largest JSON body, in bytes; inline skills are large."""
    max_upload_bytes: ByteSize = 512 * 2**20
    """Largest multipart upload, in bytes."""
    max_header_bytes: ByteSize = 64 * 2**10
    """Largest request head (request line and headers together), in bytes."""
    max_headers: Annotated[int, Field(ge=1)] = 200
    """Most header lines in one request."""
    keepalive_seconds: Seconds = 75.0
    """How long an idle client connection is kept open."""
    drain_seconds: SecondsOrZero = 30.0
    """The longest that requests in flight may still take after SIGTERM."""
    trusted_proxies: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    """Addresses and networks of proxies whose X-Forwarded-For is believed."""


class LoggingSettings(Section):
    """What is written to the log, and how."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    """The least important level that is written."""
    format: Literal["json", "console"] = "json"
    """json writes one object a line; console is for people."""
    bodies: bool = True
    """Log JSON bodies of requests and responses, with secrets taken out."""
    max_body_bytes: ByteSize = 16 * 2**10
    """Most of a body that is logged, in bytes; larger ones are logged as size and SHA-256."""


class PluginSettings(Section):
    """One plugin, which hooks into the life of a request."""

    use: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    """Where its class is: `package.module:Class`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments for its constructor."""


class HooksSettings(Section):
    """Plugins, called at named moments in the life of a request."""

    plugins: tuple[Annotated[PluginSettings, BeforeValidator(_plugin)], ...] = ()
    """In the order in which they are called. `package.module:Class` alone is short for one without options."""
    timeout_seconds: Seconds = 1.0
    """The longest one call of one hook may take; then it is given up and logged."""


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


def _check_scheme(*schemes: str) -> AfterValidator:
    def check(url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must start with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return url

    return AfterValidator(check)


def _default_database_url(data: dict[str, Any]) -> SecretStr:
    return SecretStr(f"sqlite:///{data['data_dir'] / 'quaymaster.db'}")


def _check_folders_apart(deployments: tuple[DeploymentSettings, ...]) -> None:
    """Raises ValueError where two local deployments would keep their containers in the same folder."""
    kept_in: dict[Path, str] = {}
    for deployment in deployments:
        if deployment.data_dir is not None:
            first = kept_in.setdefault(deployment.data_dir.resolve(), deployment.name)
            if first != deployment.name:
                raise ValueError(
                    f"{first} and {deployment.name} both keep their containers in {deployment.data_dir}; "
                    "give each a data_dir of its own"
                )


def _default_provider(data: dict[str, Any]) -> str:
    providers = [deployment.provider for deployment in data["deployments"]]
    return next((name for name in ("openai", "local") if name in providers), providers[0])


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, case_sensitive=True)

    server: ServerSettings = ServerSettings()
    """Where the gateway listens, and what it takes from clients."""
    data_dir: Annotated[Path, AfterValidator(Path.expanduser)] = Path("data")
    """Folder for everything that is kept on this machine; made when missing."""
    master_key: Annotated[SecretStr | None, BeforeValidator(_empty_is_none)] = None
    """The key that may do everything. Without one, the first start makes one and keeps it in data_dir."""
    database_url: Annotated[SecretStr, _check_scheme("sqlite", "postgresql", "postgres")] = Field(
        default_factory=_default_database_url
    )
    """Where keys and records live. Default: SQLite at <data_dir>/quaymaster.db."""
    redis_url: Annotated[SecretStr, _check_scheme("redis", "rediss", "unix")] | None = None
    """Where processes that serve together count requests. Without it each counts for itself."""
    deployments: tuple[DeploymentSettings, ...] = (DeploymentSettings(name="local", provider="local"),)
    """Where containers can live."""
    default_provider: str = Field(default_factory=_default_provider)
    """Serves requests that name no provider. Default: openai where it is configured, else local, else the first."""
    routing: RoutingSettings = RoutingSettings()
    """Which of a provider's deployments a new container goes to, and how failures are dealt with."""
    registry: RegistrySettings = RegistrySettings()
    """What is known of every container."""
    reap: ReapSettings = ReapSettings()
    """Which containers are deleted on a schedule."""
    pricing: PricingSettings = PricingSettings()
    """What containers cost."""
    limits: LimitsSettings = LimitsSettings()
    """How requests are counted where several processes share a Redis."""
    logging: LoggingSettings = LoggingSettings()
    """What is written to the log, and how."""
    request_log: RequestLogSettings = RequestLogSettings()
    """What is kept of every request, and where it goes beside stdout."""
    hooks: HooksSettings = HooksSettings()
    """Plugins, called at named moments in the life of a request."""

    _openai_key_is_set: bool = PrivateAttr(default=False)
    _load_notices: tuple[str, ...] = PrivateAttr(default=())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed in; `app.config.load` brings its own sources."""
        return (init_settings,)

    @field_validator("master_key")
    @classmethod
    def _master_key_is_strong_enough(cls, key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if key is not None:
            check_header_secret(key)
        server = info.data.get("server")
        if server is None or is_loopback(server.host):
            return key
        if key is None or len(key.get_secret_value()) < MIN_PUBLIC_MASTER_KEY_CHARS:
            raise ValueError(
                f"server.host is {server.host}, which other machines may reach, and that needs a master key of at "
                f"least {MIN_PUBLIC_MASTER_KEY_CHARS} characters: set QUAYMASTER_MASTER_KEY, or listen on 127.0.0.1"
            )
        return key

    @field_validator("redis_url")
    @classmethod
    def _several_processes_agree(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        server = info.data.get("server")
        if url is None and server is not None and server.workers > 1:
            raise ValueError(
                f"server.workers is {server.workers}, and several processes keep limits together in Redis: "
                "set redis_url (REDIS_URL), or serve from one process"
            )
        return url

    @field_validator("deployments")
    @classmethod
    def _deployments_fit_together(
        cls, deployments: tuple[DeploymentSettings, ...], info: ValidationInfo
    ) -> tuple[DeploymentSettings, ...]:
        if not deployments:
            raise ValueError("there must be at least one")
        names: set[str] = set()
        for deployment in deployments:
            if deployment.name in names:
                raise ValueError(f'the name "{deployment.name}" is given to two deployments')
            names.add(deployment.name)
        data_dir: Path = info.data.get("data_dir", Path("data"))
        placed = tuple(
            d.model_copy(update={"data_dir": data_dir / "containers"})
            if d.provider == "local" and not d.data_dir
            else d
            for d in deployments
        )
        _check_folders_apart(placed)
        return placed

    @field_validator("default_provider")
    @classmethod
    def _default_provider_is_configured(cls, provider: str, info: ValidationInfo) -> str:
        deployments = info.data.get("deployments")
        if deployments is None:
            return provider
        configured = list(dict.fromkeys(deployment.provider for deployment in deployments))
        if provider not in configured:
            raise ValueError(f'no deployment is of provider "{provider}"; configured: {", ".join(configured)}')
        return provider

    def as_loaded(self, *, openai_key_is_set: bool, notices: tuple[str, ...]) -> Self:
        """A copy that knows what loading it has found: whether OPENAI_API_KEY is set, and what to tell the operator."""
        copy = self.model_copy()
        copy._openai_key_is_set = openai_key_is_set
        copy._load_notices = notices
        return copy

    @property
    def stands_in_for_openai(self) -> bool:
        """Whether the local deployment also answers to the name openai: no such deployment, and no key for one."""
        providers = {deployment.provider for deployment in self.deployments}
        return "local" in providers and "openai" not in providers and not self._openai_key_is_set

    @property
    def notices(self) -> tuple[str, ...]:
        """What an operator should hear at start: usable, and perhaps not what was meant. Never holds a secret."""
        in_the_clear = tuple(
            f"deployment {deployment.name}: its key goes over the network unencrypted, as api_base is plain http"
            for deployment in self.deployments
            if deployment.sends_credential_in_the_clear
        )
        drained = tuple(
            f"provider {provider}: no deployment of it has a weight above 0, so no container can be made there"
            for provider in dict.fromkeys(deployment.provider for deployment in self.deployments)
            if not any(d.weight for d in self.deployments if d.provider == provider)
        )
        unscheduled = (
            ("reap says what to delete but not when: nothing is deleted without reap.every_seconds",)
            if self.reap.has_criterion and self.reap.every_seconds is None
            else ()
        )
        one_writer = (
            (f"server.workers is {self.server.workers} and the database SQLite, which one process at a time writes to",)
            if self.server.workers > 1 and self.database_url.get_secret_value().startswith("sqlite")
            else ()
        )
        return self._load_notices + in_the_clear + drained + unscheduled + one_writer
