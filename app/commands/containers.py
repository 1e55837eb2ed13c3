"""`quaymaster containers`: a user's own through the data plane, and an operator's view of everybody's."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from app.commands import registry
from app.commands.completion import complete_container
from app.commands.exits import CommandError, ExitCode
from app.commands.invocation import Invocation, command, group_of
from app.commands.output import moment, show_fields, show_json, show_table
from app.commands.removal import remove_each

if TYPE_CHECKING:
    from quaymaster import Container

commands = group_of("Make, see and remove containers; for operators: see everybody's, and clean up.")

ContainerId = Annotated[str, typer.Argument(metavar="CONTAINER", autocompletion=complete_container)]
Provider = Annotated[str | None, typer.Option(help="Whose containers: openai, azure, … Default: the gateway's.")]
Limit = Annotated[int | None, typer.Option(min=1, help="How many at most. Default: all.")]
Order = Annotated[Literal["asc", "desc"], typer.Option(help="By creation: desc is newest first.")]
_COLUMNS = ("id", "name", "status", "memory_limit", "created_at", "expires_at")
_TIMES = ("created_at", "last_active_at", "expires_at")


@command(commands, "create")
def create(
    asked: Invocation,
    name: Annotated[str, typer.Argument(help="What it is to be called.")],
    *,
    minutes: Annotated[int | None, typer.Option(help="Expire after so many minutes without use.")] = None,
    memory: Annotated[str | None, typer.Option(help="1g, 4g, 16g or 64g.")] = None,
    file_id: Annotated[list[str] | None, typer.Option(help="A file of /v1/files to copy in; repeatable.")] = None,
    allow_domain: Annotated[list[str] | None, typer.Option(help="Let it reach this domain; repeatable.")] = None,
    no_network: Annotated[bool, typer.Option("--no-network", help="Let it reach nothing.")] = False,
    provider: Provider = None,
) -> None:
    """Make a container, and print its id."""
    if allow_domain and no_network:
        raise CommandError("--allow-domain and --no-network exclude each other", ExitCode.MISUSED)
    policy: dict[str, Any] | None = {"type": "disabled"} if no_network else None
    if allow_domain:
        policy = {"type": "allowlist", "allowed_domains": allow_domain}
    with asked.client(provider) as client:
        made = client.containers.create(
            name,
            expires_after={"anchor": "last_active_at", "minutes": minutes} if minutes is not None else None,
            file_ids=file_id or None,
            memory_limit=memory,
            network_policy=policy,
        )
    asked.answer(made.model_dump(mode="json", exclude_unset=True), lambda answer: print(answer["id"]))


@command(commands, "ls")
def list_own(
    asked: Invocation,
    name: Annotated[str | None, typer.Option(help="Only those called so.")] = None,
    limit: Limit = None,
    order: Order = "desc",
    provider: Provider = None,
) -> None:
    """Show the containers that the key may see."""
    with asked.client(provider) as client:
        page = client.containers.list(limit=min(limit or 100, 100), order=order, name=name)
        found = list(islice(page.auto_paging(), limit))
    if asked.as_json:
        show_json([each.model_dump(mode="json", exclude_unset=True) for each in found])
    else:
        show_table(_COLUMNS, [fields_of(each) for each in found])


@command(commands, "get")
def retrieve(asked: Invocation, container: ContainerId, provider: Provider = None) -> None:
    """Show a container. To its provider this is a use of it: it expires later."""
    with asked.client(provider) as client:
        found = client.containers.retrieve(container)
    show_json(found.model_dump(mode="json", exclude_unset=True)) if asked.as_json else show_fields(fields_of(found))


@command(commands, "rm")
def remove(
    asked: Invocation,
    containers: Annotated[list[str], typer.Argument(metavar="CONTAINER...", autocompletion=complete_container)],
    provider: Provider = None,
) -> None:
    """Delete containers and all that is in them. Prints the ids of those that it deleted."""
    with asked.client(provider) as client:
        remove_each(asked, containers, client.containers.delete)


def fields_of(container: Container) -> dict[str, Any]:
    """A container's fields for people: those it has, with times they can read."""
    fields = container.model_dump(mode="json", exclude_none=True, exclude={"object"})
    return fields | {name: moment(fields[name]) for name in _TIMES if name in fields}


registry.add_to(commands)
