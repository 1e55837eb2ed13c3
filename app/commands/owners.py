"""What `quaymaster teams` and `quaymaster users` have in common: all but what the things are called."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import typer

from app.commands.fields import LimitFields
from app.commands.invocation import Invocation, command
from app.commands.output import show_json
from app.commands.registry import Page, Size
from app.commands.views import show_entity, show_rows, tell_page

_STANDING: Final = ("blocked", "spend", "reserved", "remaining", "max_budget", "budget_duration", "budget_reset_at")

Name = Annotated[str, typer.Argument(metavar="ID")]
Names = Annotated[list[str], typer.Argument(metavar="ID...")]
NewId = Annotated[str | None, typer.Option("--id", help="Its id. Default: a new one.")]
Alias = Annotated[str | None, typer.Option(help="What it is called.")]
ByAlias = Annotated[str | None, typer.Option("--alias", help="Only the one called so.")]


@dataclass(frozen=True, slots=True)
class Kind:
    """What to call them, which route has a page of them, and what a new one is sent beside what was said."""

    noun: str
    page: str
    new: dict[str, Any] = field(default_factory=dict)

    def named(self, name: str | None, alias: str | None = None) -> dict[str, str | None]:
        """The fields that name one."""
        return {f"{self.noun}_id": name, f"{self.noun}_alias": alias}


def add_owner_commands(group: typer.Typer, kind: Kind) -> None:
    """Add create, list, info, update, block, unblock and delete for the admin routes under `/<noun>`."""
    _add_changes(group, kind)
    _add_blocking(group, kind.noun)
    _add_views(group, kind)


def _add_changes(group: typer.Typer, kind: Kind) -> None:
    noun = kind.noun

    def create(asked: Invocation, limits: LimitFields, alias: Alias = None, id_: NewId = None) -> None:
        wanted = kind.new | kind.named(id_, alias) | limits.body()
        asked.answer(asked.admin().post(f"/{noun}/new", wanted), lambda answer: print(answer[f"{noun}_id"]))

    def update(asked: Invocation, name: Name, limits: LimitFields, alias: Alias = None) -> None:
        wanted = kind.named(name, alias) | limits.body()
        asked.answer(asked.admin().post(f"/{noun}/update", wanted), lambda answer: show_entity(answer["data"]))

    def delete(asked: Invocation, names: Names) -> None:
        answer = asked.admin().post(f"/{noun}/delete", {f"{noun}_ids": names})
        asked.answer(answer, lambda said: print("\n".join(said[f"deleted_{noun}s"])))

    create.__doc__ = f"Make a {noun}, and print its id."
    update.__doc__ = f"Change a {noun}: what you do not say stays as it is."
    delete.__doc__ = f"Delete {noun}s and their keys: all of them, or none. Prints their ids."
    command(group, "create")(create)
    command(group, "update")(update)
    command(group, "delete")(delete)


def _add_blocking(group: typer.Typer, noun: str) -> None:
    def block(asked: Invocation, name: Name) -> None:
        asked.answer(asked.admin().post(f"/{noun}/block", {f"{noun}_id": name}), show_entity)

    def unblock(asked: Invocation, name: Name) -> None:
        asked.answer(asked.admin().post(f"/{noun}/unblock", {f"{noun}_id": name}), show_entity)

    block.__doc__ = f"Refuse all keys of a {noun} from now on."
    unblock.__doc__ = f"Take the keys of a blocked {noun} again."
    command(group, "block")(block)
    command(group, "unblock")(unblock)


def _add_views(group: typer.Typer, kind: Kind) -> None:
    noun = kind.noun

    def list_all(asked: Invocation, alias: ByAlias = None, page: Page = 1, size: Size = 20) -> None:
        answer = asked.admin().get(kind.page, {f"{noun}_alias": alias, "page": page, "page_size": size})
        if asked.as_json:
            show_json(answer)
            return
        show_rows((f"{noun}_id", f"{noun}_alias", *_STANDING), answer[f"{noun}s"])
        tell_page(answer)

    def info(asked: Invocation, name: Name) -> None:
        def show(answer: dict[str, Any]) -> None:
            keys = [key["key_id"] for key in answer["keys"]]
            show_entity(answer[f"{noun}_info"] | {"keys": keys, "key_count": answer["key_count"]})

        asked.answer(asked.admin().get(f"/{noun}/info", {f"{noun}_id": name}), show)

    list_all.__doc__ = f"Show {noun}s, newest first, with what they have spent and what remains."
    info.__doc__ = f"Show a {noun}: what was spent, what remains and until when, and the newest hundred keys."
    command(group, "list")(list_all)
    command(group, "info")(info)
