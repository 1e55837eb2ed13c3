"""`quaymaster keys`: virtual keys, made and looked after by operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import typer

from app.commands.exits import tell
from app.commands.fields import Bundle, LimitFields
from app.commands.invocation import Invocation, command, group_of
from app.commands.output import show_json
from app.commands.registry import Page, Size
from app.commands.views import show_entity, show_rows, tell_page

commands = group_of("Operators: make, see and change virtual keys.")

KeyName = Annotated[str, typer.Argument(metavar="KEY", help="Its id or alias, or the key itself.")]


@dataclass(frozen=True, slots=True)
class KeyFields(Bundle):
    """What can be set on a key."""

    key_alias: Annotated[str | None, typer.Option("--alias", help="A name of its own.")] = None
    duration: Annotated[str | None, typer.Option(help="How long it works from now on, such as 30d.")] = None
    team_id: Annotated[str | None, typer.Option("--team", help="The team that its containers belong to.")] = None
    user_id: Annotated[str | None, typer.Option("--user", help="Whose key it is.")] = None
    allowed_operations: Annotated[
        list[str] | None, typer.Option("--allow", help="What it may do, such as containers.files.*; repeatable.")
    ] = None
    container_scope: Annotated[
        Literal["own", "all"] | None, typer.Option("--scope", help="Which containers it sees.")
    ] = None
    allowed_deployments: Annotated[
        list[str] | None, typer.Option("--deployment", help="A deployment that it may choose; repeatable.")
    ] = None
    role: Annotated[
        Literal["member", "viewer", "admin"] | None, typer.Option(help="Which of the operators' routes it may use.")
    ] = None
    allowed_ips: Annotated[
        list[str] | None, typer.Option("--allow-ip", help="An address or network to be used from; repeatable.")
    ] = None


_COLUMNS: Final = (
    "key_id",
    "key_alias",
    "role",
    "team_id",
    "user_id",
    "blocked",
    "expires",
    "spend",
    "reserved",
    "remaining",
    "max_budget",
    "budget_reset_at",
)


@command(commands, "create")
def create(asked: Invocation, fields: KeyFields, limits: LimitFields) -> None:
    """Make a key, and print it: this once."""
    _show_secret(asked, asked.admin().post("/key/generate", fields.body() | limits.body()), "made")


@command(commands, "update")
def update(asked: Invocation, key: KeyName, fields: KeyFields, limits: LimitFields) -> None:
    """Change a key: what you do not say stays as it is."""
    answer = asked.admin().post("/key/update", {"key": key} | fields.body() | limits.body())
    asked.answer(answer, show_entity)


@command(commands, "list")
def list_keys(
    asked: Invocation,
    *,
    team: Annotated[str | None, typer.Option(help="Only this team's.")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    alias: Annotated[str | None, typer.Option(help="Only the one called so.")] = None,
    page: Page = 1,
    size: Size = 20,
) -> None:
    """Show keys, newest first, with what they have spent and what remains."""
    query = {"team_id": team, "user_id": user, "key_alias": alias, "page": page, "size": size}
    answer = asked.admin().get("/key/list", query)
    if asked.as_json:
        show_json(answer)
        return
    show_rows(_COLUMNS, answer["keys"])
    tell_page(answer)


@command(commands, "info")
def info(asked: Invocation, key: KeyName) -> None:
    """Show a key."""
    asked.answer(asked.admin().get("/key/info", {"key": key}), lambda said: show_entity(said["info"]))


@command(commands, "block")
def block(asked: Invocation, key: KeyName) -> None:
    """Refuse a key from now on."""
    asked.answer(asked.admin().post("/key/block", {"key": key}), show_entity)


@command(commands, "unblock")
def unblock(asked: Invocation, key: KeyName) -> None:
    """Take a blocked key again."""
    asked.answer(asked.admin().post("/key/unblock", {"key": key}), show_entity)


@command(commands, "delete")
def delete(asked: Invocation, keys: Annotated[list[str], typer.Argument(metavar="KEY...")]) -> None:
    """Delete keys: all of them, or none. Prints their ids."""
    answer = asked.admin().post("/key/delete", {"keys": keys})
    asked.answer(answer, lambda said: print("\n".join(said["deleted_keys"])))


@command(commands, "regenerate")
def regenerate(
    asked: Invocation,
    key: KeyName,
    grace_period: Annotated[str | None, typer.Option(help="How long the secret until now goes on working.")] = None,
) -> None:
    """Give a key a new secret, and print it: this once."""
    answer = asked.admin().post("/key/regenerate", {"key": key, "grace_period": grace_period})
    _show_secret(asked, answer, "has a new secret")


def _show_secret(asked: Invocation, answer: dict[str, Any], verb: str) -> None:
    asked.answer(answer, lambda said: print(said["key"]))
    if not asked.as_json:
        tell(f"Key {answer.get('key_id')} {verb}. It is shown this once.")
