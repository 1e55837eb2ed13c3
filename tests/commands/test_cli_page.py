"""docs/cli.md is held to the commands: its examples are run, and it leaves out no command, option or exit code."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli import cli
from app.commands.exits import ExitCode
from tests.commands.running import environment
from tests.e2e.gateway import MASTER_KEY, ROOT, RunningGateway

PAGE = (ROOT / "docs" / "cli.md").read_text()
STRICT = 'set -euo pipefail\nquaymaster() { "$PYTHON" -W error -m app "$@"; }\n'


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command there is, by its whole name."""
    if not hasattr(command, "commands"):
        yield " ".join(path), command
        return
    for name in command.list_commands(typer.Context(command)):
        yield from leaves(command.get_command(typer.Context(command), name), (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(cli)))


def sections() -> dict[str, str]:
    """The page's sections, by the names of the commands that they are about."""
    found: dict[str, str] = {}
    for heading, text in re.findall(r"^### (.+)\n((?:(?!^##).*\n)*)", PAGE, re.MULTILINE):
        group: tuple[str, ...] = ()
        for title in re.findall(r"`([^`]+)`", heading):
            words = tuple(word for word in title.removeprefix("quaymaster ").split() if word.islower() or "-" in word)
            name = words if len(words) > 1 else (*group, *words)
            group = name[:-1]
            found[" ".join(name)] = text
    return found


def explanation(name: str) -> str:
    """Where the page explains the options of a command."""
    text = sections()[name]
    group, _, verb = name.partition(" ")
    if verb in {"create", "update"} and group in {"keys", "teams", "users"}:
        text += sections()["keys create"] + sections()["teams create"]
    if group == "spend":
        text += PAGE.partition("\n## Spending\n")[2].partition("\n### ")[0]
    return text


def options_of(command: Any) -> set[str]:
    """Its options, without those that all share."""
    shared = {"--profile", "--base-url", "--api-key", "--config", "--json", "--help"}
    own = {
        option for each in command.params for option in (*each.opts, *each.secondary_opts) if option.startswith("--")
    }
    return own - shared


def test_every_command_has_an_example() -> None:
    assert len(COMMANDS) > 30
    examples = "\n".join(re.findall(r"^```sh.*?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    for name in COMMANDS:
        assert re.search(rf"quaymaster {name}\b", examples), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained_where_its_command_is(name: str) -> None:
    text = explanation(name)
    for option in options_of(COMMANDS[name]):
        assert re.search(rf"{option}\b", text), option


def test_no_option_is_on_the_page_that_is_none() -> None:
    known = {option for each in COMMANDS.values() for option in options_of(each)}
    known |= {"--profile", "--base-url", "--api-key", "--config", "--json"}
    known |= {"--version", "--install-completion", "--show-completion"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) <= known


def test_every_exit_code_is_explained() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert codes == {*ExitCode, 130}


def test_the_examples_work(gateway: RunningGateway, elsewhere: Path) -> None:
    """From top to bottom, in one shell, as an operator would paste them."""
    (elsewhere / "berths.csv").write_text("Ever Given,7\n")
    (elsewhere / "notes").mkdir()
    (elsewhere / "notes" / "a.txt").write_text("a")
    examples = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(examples) > 15
    variables = environment(QUAYMASTER_API_BASE=gateway.url, QUAYMASTER_API_KEY=MASTER_KEY, PYTHON=sys.executable)
    done = subprocess.run(
        ["bash", "-c", STRICT + "\n".join(examples)],
        cwd=elsewhere,
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert (elsewhere / "copy.csv").read_text() == "Ever Given,7\n"
    assert "\n13\n" in done.stdout
