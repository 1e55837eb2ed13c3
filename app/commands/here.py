"""The gateway whose settings are at hand, on this machine: where it listens, and its master key."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.exits import CommandError, ExitCode

if TYPE_CHECKING:
    from app.config.settings import Settings


Config = Annotated[
    Path | None,
    typer.Option("--config", help="The gateway's settings file. Default: QUAYMASTER_CONFIG, ./config.yaml."),
]


def settings_here(config: Path | None, overrides: dict[str, str] | None = None) -> Settings:
    """The settings as `serve` reads them. Ends the command, with every problem on stderr, where they are wrong."""
    # Commands that were told everything need not pay for this import.
    from app.config.load import load_settings
    from app.config.problems import ConfigurationError

    try:
        return load_settings(config, {**os.environ, **(overrides or {})})
    except ConfigurationError as error:
        print(f"quaymaster: {error}", file=sys.stderr)
        raise typer.Exit(ExitCode.MISUSED) from None


def address(settings: Settings) -> str:
    """Where a gateway with these settings is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.server.host, settings.server.host)  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.server.port}"


def master_key(settings: Settings) -> str:
    """The master key that it has been given, or made. Raises CommandError."""
    if settings.master_key is not None:
        return settings.master_key.get_secret_value()
    try:
        return (settings.data_dir / "master_key").read_text().strip()
    except OSError:
        raise CommandError("no key: say --api-key, or start the gateway first", ExitCode.MISUSED) from None
