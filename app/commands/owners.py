"""What `quaymaster teams` and `quaymaster users` have in common: all but what the things are called."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app.commands.fields import LimitFields
from app.commands.invocation import Invocation, command
from app.commands.output import show_json
from app.commands.registry import Page, Size, tell_page
from app.commands.views import show_entity, show_rows

_MONEY: Final = ("blocked", "spend", "reserved", "remaining", "max_budget", "budget_duration", "budget_reset_at")

Name = Annotated[str, typer.Argument(metavar="ID")]
Names = Annotated[list[str], typer.Argument(metavar="ID...")]
NewId = Annotated[str | None, typer.Option("--id", help="Its id. Default: a new one.")]
Alias = Annotated[str | None, typer.Option(help="What it is called.")]


def add_owner_commands(group: typer.Typer, noun: str) -> None:
    """Add create, list, info, update and delete for the admin routes under `/<noun>`."""
    _add_changes(group, noun)
    _add_views(group, noun)


def add_blocking(group: typer.Typer, noun: str) -> None:
    """Add block and unblock."""

    def block(asked: Invocation, name: Name) -> None:
        asked.answer(asked.admin().post(f"/{noun}/block", {f"{noun}_id": name}), show_entity)

    def unblock(asked: Invocation, name: Name) -> None:
        asked.answer(asked.admin().post(f"/{noun}/unblock", {f"{noun}_id": name}), show_entity)

    block.__doc__ = f"Refuse all keys of a {noun} from now on."
    unblock.__doc__ = f"Take the keys of a blocked {noun} again."
    command(group, "block")(block)
    command(group, "unblock")(unblock)


def _add_changes(group: typer.Typer, noun: str) -> None:
    def create(asked: Invocation, limits: LimitFields, alias: Alias = None, id_: NewId = None) -> None:
        wanted = {f"{noun}_id": id_, f"{noun}_alias": alias} | limits.body()
        asked.answer(asked.admin().post(f"/{noun}/new", wanted), lambda answer: print(answer[f"{noun}_id"]))

    def update(asked: Invocation, name: Name, limits: LimitFields, alias: Alias = None) -> None:
        wanted = {f"{noun}_id": name, f"{noun}_alias": alias} | limits.body()
        asked.answer(asked.admin().post(f"/{noun}/update", wanted), show_entity)

    def delete(asked: Invocation, names: Names) -> None:
        answer = asked.admin().post(f"/{noun}/delete", {f"{noun}_ids": names})
        asked.answer(answer, lambda _: print("\n".join(names)))

    create.__doc__ = f"Make a {noun}, and print its id."
    update.__doc__ = f"Change a {noun}: what you do not say stays as it is."
    delete.__doc__ = f"Delete {noun}s: all of them, or none. Prints their ids."
    command(group, "create")(create)
    command(group, "update")(update)
    command(group, "delete")(delete)


def _add_views(group: typer.Typer, noun: str) -> None:
    def list_all(asked: Invocation, page: Page = 1, size: Size = 20) -> None:
        answer = asked.admin().get(f"/{noun}/list", {"page": page, "size": size})
        if asked.as_json:
            show_json(answer)
            return
        show_rows(answer, (f"{noun}_id", f"{noun}_alias", *_MONEY))
        tell_page(answer)

    def info(asked: Invocation, name: Name) -> None:
        asked.answer(asked.admin().get(f"/{noun}/info", {f"{noun}_id": name}), show_entity)

    list_all.__doc__ = f"Show {noun}s, with what they have spent."
    info.__doc__ = f"Show a {noun}, with what it has spent, what is left and until when."
    command(group, "list")(list_all)
    command(group, "info")(info)
