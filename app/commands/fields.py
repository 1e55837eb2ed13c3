"""What operators set on keys, teams and users: options that become the fields of a request's body."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Annotated, Any, Final

import typer

from app.commands.exits import CommandError, ExitCode


class _Null:
    """What is sent as null, where None is not sent."""


NULL: Final = _Null()


@dataclass(frozen=True, slots=True)
class Bundle:
    """Options that are called like the fields they set. Those that nobody said are None, or an empty list."""

    def body(self) -> dict[str, Any]:
        """The fields that were said. Raises CommandError."""
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in said.items() if value not in (None, [])}


@dataclass(frozen=True, slots=True)
class LimitFields(Bundle):
    """What keys, teams and users have in common."""

    max_budget: Annotated[float | None, typer.Option(help="What may be spent, in USD.")] = None
    soft_budget: Annotated[float | None, typer.Option(help="What may be spent before a warning, in USD.")] = None
    budget_duration: Annotated[
        str | None, typer.Option(help="When a budget begins anew: 12h, 30d; day, week, month by the calendar.")
    ] = None
    budget_timezone: Annotated[
        str | None, typer.Option(help="Where the calendar's days begin, such as Europe/Berlin.")
    ] = None
    rpm_limit: Annotated[int | None, typer.Option(help="Requests a minute.")] = None
    max_parallel_requests: Annotated[int | None, typer.Option(help="Requests at a time.")] = None
    max_creates_per_minute: Annotated[int | None, typer.Option(help="Containers made a minute.")] = None
    max_containers: Annotated[int | None, typer.Option(help="Containers alive at a time.")] = None
    max_memory_gb: Annotated[int | None, typer.Option(help="Their memory together, in GB.")] = None
    allowed_memory_limits: Annotated[
        list[str] | None, typer.Option("--allow-memory", help="1g, 4g, 16g or 64g, and else none; repeatable.")
    ] = None
    max_file_bytes: Annotated[int | None, typer.Option(help="The largest single upload.")] = None
    max_upload_bytes_per_day: Annotated[int | None, typer.Option(help="Uploads of a day together.")] = None
    max_download_bytes_per_day: Annotated[int | None, typer.Option(help="Downloads of a day together.")] = None
    shadow: Annotated[
        bool | None, typer.Option("--shadow/--no-shadow", help="Count what would be refused, and refuse nothing.")
    ] = None
    tags: Annotated[list[str] | None, typer.Option("--tag", help="A word for reports; repeatable.")] = None
    metadata: Annotated[str | None, typer.Option(help="What you want to remember, a JSON object.")] = None
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Any field: JSON, else text; null brings the default back."),
    ] = None

    def body(self) -> dict[str, Any]:
        """The fields that were said, and those of --set. Raises CommandError."""
        said = Bundle.body(self)
        if self.metadata is not None:
            said["metadata"] = _object(self.metadata)
        return said | assignments(said.pop("set_", ()))


def assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Fields from FIELD=VALUE, where the value is JSON, else text. A null is NULL. Raises CommandError."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise CommandError(f"{text!r} is not FIELD=VALUE", ExitCode.MISUSED)
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = value
        found[name] = NULL if parsed is None else parsed
    return found


def _object(text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise CommandError("--metadata is not a JSON object", ExitCode.MISUSED)
    return parsed
