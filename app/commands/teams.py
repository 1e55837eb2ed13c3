"""`quaymaster teams`: who shares containers and a budget."""

from app.commands.invocation import group_of
from app.commands.owners import Kind, add_owner_commands

commands = group_of("Operators: make, see and change teams and their budgets.")
add_owner_commands(commands, Kind("team", page="/v2/team/list"))
