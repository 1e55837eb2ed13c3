"""The `quaymaster` command. What reaches a running gateway is in `app.commands`; docs/cli.md explains exit codes."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from app.commands.exits import CommandError, ExitCode, ending
from app.commands.groups import LazyGroup
from app.commands.here import Config, address, master_key, settings_here
from app.commands.output import show_json
from app.start import start
from quaymaster.version import VERSION

cli = typer.Typer(
    name="quaymaster",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"quaymaster {VERSION}")
        raise typer.Exit


@cli.callback()
def quaymaster(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """An OpenAI-compatible gateway for the containers API."""


@cli.command()
def serve(
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; overrides server.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; overrides server.port.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that serve; overrides server.workers.")] = None,
) -> None:
    """Start the gateway. Stops on SIGTERM or Ctrl-C, after the requests in flight."""
    raise typer.Exit(start(config, {"SERVER__HOST": host, "SERVER__PORT": port, "SERVER__WORKERS": workers}))


@cli.command()
def check(
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Validate the settings. Connects to nothing."""
    settings = settings_here(config)
    with ending():
        if as_json:
            deployments = [
                {"name": each.name, "provider": each.provider, "api_base": each.api_base}
                for each in settings.deployments
            ]
            found = {"notices": settings.notices, "deployments": deployments}
            show_json(found | {"default_provider": settings.default_provider})
            return
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
    settings = settings_here(config)
    from app.demo import DemoError, run_demo

    with ending():
        key = api_key or os.environ.get("QUAYMASTER_API_KEY") or master_key(settings)
        try:
            run_demo(base_url or f"{address(settings)}/v1", key)
        except DemoError as error:
            raise CommandError(f"demo: {error}") from None


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


def _refuse(error: Exception) -> NoReturn:
    print(f"quaymaster: {error}", file=sys.stderr)
    raise typer.Exit(ExitCode.MISUSED)


def main() -> None:
    """Run the command."""
    cli()
