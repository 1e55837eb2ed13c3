"""The `quaymaster` command.

Exit codes: 0 done, 1 failed, 2 the configuration or the command line is wrong.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from app.config.load import load_settings
from app.config.problems import ConfigurationError
from app.config.settings import Settings
from app.sparing import models_built_when_used, uvicorn_without_its_command, without

if TYPE_CHECKING:
    from app.remote import Remote

cli = typer.Typer(
    name="quaymaster",
    help="An OpenAI-compatible gateway for the containers API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

containers = typer.Typer(
    help="See and clean up containers, on a running gateway.", no_args_is_help=True, rich_markup_mode=None
)
cli.add_typer(containers, name="containers")
db = typer.Typer(help="Look after the database.", no_args_is_help=True, rich_markup_mode=None)
cli.add_typer(db, name="db")

Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file. Default: QUAYMASTER_CONFIG, ./config.yaml.")
]
BaseUrl = Annotated[str | None, typer.Option(help="The gateway's base URL. Default: where `serve` listens.")]
MasterKey = Annotated[str | None, typer.Option("--api-key", help="The gateway's master key. Default: the settings'.")]
Owner = Annotated[str | None, typer.Option(help="Whose: team:…, user:…, key:… or master.")]
Key = Annotated[str | None, typer.Option(help="Made by this virtual key: the key, its id or its alias.")]
At = Annotated[str | None, typer.Option("--deployment", help="Only in this deployment.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the gateway's answer as JSON.")]


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
    # structlog would import rich, 3 MB, to colour tracebacks.
    with models_built_when_used(), uvicorn_without_its_command(), without("rich"):
        # The gateway's parts take half a second that the other commands need not pay.
        from app.serving import StartError, run
    if settings.server.workers > 1:
        from app.crew import run_crew as run

    try:
        code = run(settings)
    except (ConfigurationError, StartError) as error:
        _refuse(error)
    raise typer.Exit(code)


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
    base_url: BaseUrl = None,
    api_key: Annotated[
        str | None, typer.Option(help="A key. Default: QUAYMASTER_API_KEY, else the master key.")
    ] = None,
) -> None:
    """Walk through the whole life of a container on a running gateway, with the OpenAI SDK."""
    settings = _settings(config)
    from app.demo import DemoError, run_demo

    key = api_key or os.environ.get("QUAYMASTER_API_KEY") or _master_key(settings)
    try:
        run_demo(base_url or f"{_address(settings)}/v1", key)
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


@containers.command("list")
def list_containers(
    *,
    config: Config = None,
    base_url: BaseUrl = None,
    api_key: MasterKey = None,
    owner: Owner = None,
    unowned: Annotated[bool, typer.Option("--unowned", help="Only nobody's.")] = False,
    key: Key = None,
    deployment: At = None,
    status: Annotated[str | None, typer.Option(help="Such as running, expired, deleted or gone.")] = None,
    page: Annotated[int, typer.Option(min=1, help="Which page.")] = 1,
    size: Annotated[int, typer.Option(min=1, max=100, help="Containers on a page.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show containers and their owners, newest first."""
    from app.remote import show_json, show_page

    query = {"owner": owner, "key": key, "deployment": deployment, "status": status, "page": page, "size": size}
    with _remote(config, base_url, api_key) as gateway:
        answer = gateway.get("/container/list", query | {"unowned": "true" if unowned else None})
    show_json(answer) if as_json else show_page(answer)


@containers.command()
def info(
    container_id: str,
    config: Config = None,
    base_url: BaseUrl = None,
    api_key: MasterKey = None,
    as_json: AsJson = False,
) -> None:
    """Show everything the registry knows of a container."""
    from app.remote import show_container, show_json

    with _remote(config, base_url, api_key) as gateway:
        answer = gateway.get("/container/info", {"container_id": container_id})
    show_json(answer) if as_json else show_container(answer)


@containers.command()
def reap(
    *,
    config: Config = None,
    base_url: BaseUrl = None,
    api_key: MasterKey = None,
    owner: Owner = None,
    key: Key = None,
    revoked_keys: Annotated[
        bool, typer.Option("--revoked-keys", help="Made by a key that is deleted, blocked or expired.")
    ] = False,
    older_than: Annotated[str | None, typer.Option(help="Made longer ago than this: 45m, 2h, 7d.")] = None,
    idle_for: Annotated[str | None, typer.Option(help="Not used for longer than this.")] = None,
    unknown: Annotated[bool, typer.Option("--unknown", help="The registry never heard of them.")] = False,
    deployment: At = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run/--no-dry-run", " /--yes", help="Only show which.")] = True,
    as_json: AsJson = False,
) -> None:
    """Delete running containers that fit everything you say. Without --yes it only shows which those are."""
    from app.remote import show_json, show_reaped

    wanted = {
        "dry_run": dry_run,
        "owner": owner,
        "key": key,
        "revoked_keys": revoked_keys,
        "older_than": older_than,
        "idle_for": idle_for,
        "unknown": unknown,
        "deployment": deployment,
        "limit": limit,
    }
    with _remote(config, base_url, api_key) as gateway:
        answer = gateway.post("/container/reap", wanted)
    show_json(answer) if as_json else show_reaped(answer)
    if answer["failed"] or answer["unlisted"]:
        raise typer.Exit(1)


@db.command("verify-audit")
def verify_audit(config: Config = None) -> None:
    """Prove that nobody changed, removed or added a row of the audit log. Exits 1 where somebody did."""
    settings = _settings(config)
    from app.domain.ports import StoreUnavailable
    from app.storage.errors import UnsupportedDatabase
    from app.verify import audit_verdict

    try:
        verdict = asyncio.run(audit_verdict(settings))
    except (StoreUnavailable, UnsupportedDatabase) as error:
        print(f"quaymaster: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"rows that are whole: {verdict.rows}")
    if verdict.broken_at is not None:
        print(f"the first that is not: {verdict.broken_at}")
        raise typer.Exit(1)
    if verdict.head is not None:
        print(f"hash of the last: {verdict.head}")
        print(
            "The log is whole up to there. Keep this hash elsewhere: only who has it sees that later rows were removed."
        )


@db.command("verify-ledger")
def verify_ledger(config: Config = None) -> None:
    """Add up the whole ledger, and compare with balances and holds. Exits 1 where they do not agree."""
    settings = _settings(config)
    from app.domain.ports import StoreUnavailable
    from app.storage.errors import UnsupportedDatabase
    from app.verify import ledger_discrepancies

    try:
        found = asyncio.run(ledger_discrepancies(settings))
    except (StoreUnavailable, UnsupportedDatabase) as error:
        print(f"quaymaster: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    for line in found:
        print(line)
    print(f"what does not agree: {len(found)}" if found else "The books agree.")
    if found:
        raise typer.Exit(1)


@contextmanager
def _remote(config: Path | None, base_url: str | None, api_key: str | None) -> Iterator[Remote]:
    """A running gateway; what it refuses ends the command."""
    settings = _settings(config)
    from app.remote import Remote, RemoteError

    try:
        yield Remote(base_url or _address(settings), api_key or _master_key(settings))
    except RemoteError as error:
        print(f"quaymaster: {error}", file=sys.stderr)
        raise typer.Exit(2 if error.misused else 1) from None


def _address(settings: Settings) -> str:
    """Where a gateway with these settings is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.server.host, settings.server.host)  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.server.port}"


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
        print("quaymaster: no key: say --api-key, or start the gateway first", file=sys.stderr)
        raise typer.Exit(2) from None


def _refuse(error: Exception) -> NoReturn:
    print(f"quaymaster: {error}", file=sys.stderr)
    raise typer.Exit(2)


def main() -> None:
    """Run the command."""
    cli()
