"""`quaymaster containers list|info|reap`: what the registry knows of everybody's containers. Operators' commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.commands.exits import ExitCode, tell
from app.commands.invocation import Invocation, command
from app.commands.output import counted, show_fields, show_json, show_table
from app.commands.views import show_rows, tell_page

Owner = Annotated[str | None, typer.Option(help="Whose: team:…, user:…, key:… or master.")]
Key = Annotated[str | None, typer.Option(help="Made by this virtual key: the key, its id or its alias.")]
At = Annotated[str | None, typer.Option("--deployment", help="Only in this deployment.")]
Page = Annotated[int, typer.Option(min=1, help="Which page.")]
Size = Annotated[int, typer.Option(min=1, max=100, help="How many on a page.")]

_LISTED = ("id", "owner", "deployment", "name", "status", "created_at", "last_active_at", "files")


def add_to(group: typer.Typer) -> None:
    """Make them commands of this group."""
    command(group, "list")(list_all)
    command(group, "info")(info)
    command(group, "reap")(reap)


def list_all(
    asked: Invocation,
    *,
    owner: Owner = None,
    unowned: Annotated[bool, typer.Option("--unowned", help="Only nobody's.")] = False,
    key: Key = None,
    deployment: At = None,
    status: Annotated[str | None, typer.Option(help="Such as running, expired, deleted or gone.")] = None,
    page: Page = 1,
    size: Size = 20,
) -> None:
    """Operators: show everybody's containers and whose they are, newest first."""
    query = {"owner": owner, "key": key, "deployment": deployment, "status": status, "page": page, "size": size}
    answer = asked.admin().get("/container/list", query | {"unowned": "true" if unowned else None})
    if asked.as_json:
        show_json(answer)
        return
    show_rows(_LISTED, answer["containers"])
    tell_page(answer)


def info(asked: Invocation, container: Annotated[str, typer.Argument(metavar="CONTAINER")]) -> None:
    """Operators: show everything that the registry knows of a container, without using it."""
    answer = asked.admin().get("/container/info", {"container_id": container})
    if asked.as_json:
        show_json(answer)
        return
    shares = ", ".join(f"{identity} ({access})" for identity, access in answer["shares"].items())
    show_fields(answer | {"shares": shares})


def reap(
    asked: Invocation,
    *,
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
) -> None:
    """Operators: delete running containers that fit everything you say. Without --yes it only shows which those are."""
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
    answer = asked.admin().post("/container/reap", wanted)
    show_json(answer) if asked.as_json else _show_reaped(answer)
    if answer["failed"] or answer["unlisted"]:
        raise typer.Exit(ExitCode.FAILED)


def _show_reaped(answer: Mapping[str, Any]) -> None:
    columns: tuple[str, ...] = ("id", "owner", "deployment", "name", "created_at", "reason")
    if any(container["outcome"] != "would_delete" for container in answer["containers"]):
        columns += ("outcome", "error")
    show_table(columns, answer["containers"])
    for name, why in answer["unlisted"].items():
        tell(f"The deployment {name} was left out, as its list did not answer: {why}.")
    if not answer["matched"]:
        tell("No running container fits.")
    elif answer["dry_run"]:
        verdict = "would be deleted. Nothing was: the same with --yes deletes."
        tell(f"{counted(answer['matched'], 'container')} {verdict}")
    else:
        counts = ", ".join(f"{answer[name]} {name}" for name in ("deleted", "gone", "kept", "failed") if answer[name])
        tell(f"{counted(answer['matched'], 'container')}: {counts}.")
    if answer["has_more"]:
        tell("More fit than are shown here.")
