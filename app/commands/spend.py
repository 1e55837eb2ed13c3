"""`quaymaster spend`: what was spent, entry by entry or summed up."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import typer

from app.commands.exits import CommandError, ExitCode, tell
from app.commands.fields import Bundle
from app.commands.invocation import Invocation, command, group_of
from app.commands.output import shown
from app.commands.views import show_rows

commands = group_of("Operators: see what was spent.")

_ENTRY: Final = (
    "id",
    "at",
    "kind",
    "spend",
    "reserved",
    "key_id",
    "user_id",
    "team_id",
    "memory_limit",
    "container_id",
)


@dataclass(frozen=True, slots=True)
class SpendFilter(Bundle):
    """Of what is asked for. The fields are those of the routes' queries."""

    start_date: Annotated[
        str | None, typer.Option("--since", help="From this day or time on: 2026-08-01, 2026-08-01T12:00:00Z.")
    ] = None
    end_date: Annotated[str | None, typer.Option("--until", help="To the end of this day, or to this time.")] = None
    key: Annotated[str | None, typer.Option(help="Only this key's: the key, its id or its alias.")] = None
    team_id: Annotated[str | None, typer.Option("--team", help="Only this team's.")] = None
    user_id: Annotated[str | None, typer.Option("--user", help="Only this user's.")] = None
    tag: Annotated[str | None, typer.Option(help="Only what carries this tag.")] = None
    container_id: Annotated[str | None, typer.Option("--container", help="Only this container's.")] = None
    request_id: Annotated[str | None, typer.Option("--request", help="Only what this request caused.")] = None


@command(commands, "logs")
def logs(
    asked: Invocation,
    only: SpendFilter,
    *,
    after: Annotated[int | None, typer.Option(min=0, help="Go on behind the entry with this id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 100,
    order: Annotated[Literal["asc", "desc"], typer.Option(help="desc is newest first.")] = "desc",
) -> None:
    """Show what was spent and reserved, entry by entry."""
    query = only.body() | {"after": after, "limit": limit, "order": order}
    asked.answer(asked.admin().get("/spend/logs", query), _show_entries)


@command(commands, "report")
def report(
    asked: Invocation,
    only: SpendFilter,
    *,
    group_by: Annotated[
        str, typer.Option(help="key, user, team, tag, tier, deployment or day; up to three with commas.")
    ] = "team",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many lines at most.")] = 10_000,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print it for a spreadsheet, with exact amounts.")] = False,
) -> None:
    """Show what was spent, summed up: by the day where that comes first, else the dearest first."""
    query = only.body() | {"group_by": group_by, "limit": limit}
    if not as_csv:
        asked.answer(asked.admin().get("/spend/report", query), _show_report)
        return
    if asked.as_json:
        raise CommandError("say --csv or --json, not both", ExitCode.MISUSED)
    text, has_more = asked.admin().get_csv("/spend/report", query | {"format": "csv"})
    _show_csv(text)
    _tell_of_more(has_more)


def _show_entries(answer: dict[str, Any]) -> None:
    show_rows(_ENTRY, answer["data"])
    if answer["has_more"]:
        tell(f"There are more: --after {answer['last_id']}.")


def _show_report(answer: dict[str, Any]) -> None:
    show_rows((*answer["group_by"], "spend", "containers"), answer["data"])
    _tell_of_more(answer["has_more"])


def _tell_of_more(has_more: bool) -> None:
    if has_more:
        tell("There are more lines than are shown here.")


def _show_csv(text: str) -> None:
    if sys.stdout.isatty():
        text = "\r\n".join(line and shown(line) for line in text.split("\r\n"))
    sys.stdout.write(text)
