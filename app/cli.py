"""The `quaymaster` command.

Exit codes: 0 done, 1 failed, 2 the configuration or the command line is wrong.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from app.config.load import load_settings
from app.config.problems import ConfigurationError
from app.config.settings import Settings

cli = typer.Typer(
    name="quaymaster",
    help="An OpenAI-compatible gateway for the containers API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file. Default: QUAYMASTER_CONFIG, ./config.yaml.")
]


@cli.command()
def serve(
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; overrides server.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; overrides server.port.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that serve; overrides server.workers.")] = None,
) -> None:
    """Start the gateway. Stops on SIGTERM or Ctrl-C, after the requests in flight."""
    overrides = {"SERVER__HOST": host, "SERVER__PORT": port, "SERVER__WORKERS": workers}
    settings = _settings(
        config, {f"QUAYMASTER_{name}": str(value) for name, value in overrides.items() if value is not None}
    )
    gc.disable()  # 50 ms: start-up leaves no garbage. `run` enables it again
    sys.modules["rich"] = None  # type: ignore[assignment]  # structlog would import it, 3 MB, to colour tracebacks
    # The gateway's parts take half a second that the other commands need not pay.
    from app.serving import StartError, run

    del sys.modules["rich"]

    try:
        run(settings)
    except (ConfigurationError, StartError) as error:
        _refuse(error)


@cli.command()
def check(config: Config = None) -> None:
    """Validate the settings. Connects to nothing."""
    settings = _settings(config)
    for notice in settings.notices:
        print(f"note: {notice}")
    for deployment in settings.deployments:
        print(f"deployment {deployment.name}: {deployment.provider}, {deployment.api_base or deployment.data_dir}")
    print(f"default provider: {settings.default_provider}")
    print("The configuration is valid.")


@cli.command()
def demo(
    config: Config = None,
    base_url: Annotated[
        str | None, typer.Option(help="The gateway's base URL. Default: where `serve` listens.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help="A key. Default: QUAYMASTER_API_KEY, else the master key.")
    ] = None,
) -> None:
    """Walk through the whole life of a container on a running gateway, with the OpenAI SDK."""
    settings = _settings(config)
    from app.demo import DemoError, run_demo

    key = api_key or os.environ.get("QUAYMASTER_API_KEY") or _master_key(settings)
    try:
        run_demo(base_url or f"http://{settings.server.host}:{settings.server.port}/v1", key)
    except DemoError as error:
        print(f"quaymaster demo: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


@cli.command("fake-openai")
def fake_openai(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any free one.")] = 4010,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    data_dir: Annotated[Path, typer.Option(help="Where its containers are kept.")] = Path("data/fake-openai"),
    api_key: Annotated[str | None, typer.Option(help="The only key it accepts. Default: any.")] = None,
) -> None:
    """Serve the embedded containers API alone, to test clients against."""
    from app.serving import StartError, run_fake_openai

    try:
        asyncio.run(run_fake_openai(data_dir, host=host, port=port, api_key=api_key))
    except StartError as error:
        _refuse(error)


def _settings(config: Path | None, overrides: dict[str, str] | None = None) -> Settings:
    try:
        return load_settings(config, {**os.environ, **(overrides or {})})
    except ConfigurationError as error:
        _refuse(error)


def _master_key(settings: Settings) -> str:
    if settings.master_key is not None:
        return settings.master_key.get_secret_value()
    try:
        return (settings.data_dir / "master_key").read_text().strip()
    except OSError:
        print("quaymaster demo: no key: set QUAYMASTER_API_KEY, or start the gateway first", file=sys.stderr)
        raise typer.Exit(2) from None


def _refuse(error: Exception) -> NoReturn:
    print(f"quaymaster: {error}", file=sys.stderr)
    raise typer.Exit(2)


def main() -> None:
    """Run the command."""
    cli()
