"""`quaymaster spend`: what was spent, request by request or summed up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from app.commands.fields import Bundle, assignments
from app.commands.invocation import Invocation, command, group_of
from app.commands.views import show_rows

commands = group_of("Operators: see what was spent.")


@dataclass(frozen=True, slots=True)
class SpendFilter(Bundle):
    """Of what is asked for. The fields are those of the routes' queries."""

    start_date: Annotated[str | None, typer.Option("--since", help="From this day on, such as 2026-08-01.")] = None
    end_date: Annotated[str | None, typer.Option("--until", help="To this day.")] = None
    key: Annotated[str | None, typer.Option(help="Only this key's: the key, its id or its alias.")] = None
    team_id: Annotated[str | None, typer.Option("--team", help="Only this team's.")] = None
    user_id: Annotated[str | None, typer.Option("--user", help="Only this user's.")] = None
    tag: Annotated[str | None, typer.Option(help="Only what carries this tag.")] = None
    container_id: Annotated[str | None, typer.Option("--container", help="Only this container's.")] = None
    where: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=VALUE", help="Any other parameter of the route; repeatable.")
    ] = None

    def body(self) -> dict[str, Any]:
        """The parameters that were said. Raises CommandError."""
        said = Bundle.body(self)
        return said | assignments(said.pop("where", ()))


@command(commands, "logs")
def logs(asked: Invocation, only: SpendFilter) -> None:
    """Show what was spent, entry by entry."""
    asked.answer(asked.admin().get("/spend/logs", only.body()), show_rows)


@command(commands, "report")
def report(
    asked: Invocation,
    only: SpendFilter,
    group_by: Annotated[str | None, typer.Option(help="key, user, team, tag, tier or day.")] = None,
) -> None:
    """Show what was spent, summed up."""
    asked.answer(asked.admin().get("/spend/report", only.body() | {"group_by": group_by}), show_rows)
