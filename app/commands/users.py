"""`quaymaster users`: whose keys there are."""

from app.commands.invocation import group_of
from app.commands.owners import add_owner_commands

commands = group_of("Operators: make, see and change users and their budgets.")
add_owner_commands(commands, "user")
