"""Deleting several things with one command: each is tried, whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import typer
from pydantic import BaseModel

from app.commands.exits import ExitCode, code_of, fail
from app.commands.invocation import Invocation


def remove_each(asked: Invocation, names: Sequence[str], delete: Callable[[str], BaseModel]) -> None:
    """Delete each; print the ids of those that are gone. The first failure's exit code is the command's."""
    deleted: list[dict[str, Any]] = []
    first: ExitCode | None = None
    for name in names:
        try:
            deleted.append(delete(name).model_dump(mode="json", exclude_unset=True))
        except Exception as error:
            code = code_of(error)
            if code is None:
                raise
            fail(error)
            first = first or code
    asked.answer(deleted, _show_ids)
    if first is not None:
        raise typer.Exit(first)


def _show_ids(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        print(answer["id"])
