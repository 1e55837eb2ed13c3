"""Groups of commands that are imported when somebody names them, so that `serve` does not pay for them."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

GROUPS: Final = ("containers", "files", "keys", "teams", "users", "spend", "db")
"""The modules of this package that hold `commands`, a group of that name."""


class LazyGroup(TyperGroup):
    """The commands that were given to it, and those of `GROUPS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, as help shows them."""
        return list(dict.fromkeys([*super().list_commands(ctx), *GROUPS]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, or None."""
        if cmd_name in GROUPS and cmd_name not in self.commands:
            self.commands[cmd_name] = typer.main.get_command(import_module(f"app.commands.{cmd_name}").commands)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that `args` begins with. A name that is unknown is compared with all there are."""
        if self.get_command(ctx, args[0]) is None:
            for name in GROUPS:
                self.get_command(ctx, name)
        return super().resolve_command(ctx, args)
