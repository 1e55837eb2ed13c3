"""`quaymaster teams`: who shares containers and a budget."""

from app.commands.invocation import group_of
from app.commands.owners import add_blocking, add_owner_commands

commands = group_of("Operators: make, see and change teams and their budgets.")
add_owner_commands(commands, "team")
add_blocking(commands, "team")
