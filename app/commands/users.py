"""`quaymaster users`: whose keys there are."""

from app.commands.invocation import group_of
from app.commands.owners import Kind, add_owner_commands

commands = group_of("Operators: make, see and change users and their budgets.")
# Its secret would be lost: what is printed is the user's id, and `keys create --user` prints a key.
add_owner_commands(commands, Kind("user", page="/user/list", new={"auto_create_key": False}))
