"""Reads the Dockerfile, so that the tests run what it says and not what they remember of it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Stage:
    """One `FROM … AS name`, and what follows it: `(instruction, arguments)`, lines joined, comments gone."""

    base: str
    name: str | None
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [arguments for name, arguments in self.steps if name == instruction]

    def one(self, instruction: str) -> str:
        (arguments,) = self.all(instruction)
        return arguments

    def environment(self, outer: Mapping[str, str]) -> dict[str, str]:
        """`outer` with the stage's ENV on top."""
        environment = dict(outer)
        for arguments in self.all("ENV"):
            for assignment in shlex.split(arguments):
                name, _, value = assignment.partition("=")
                environment[name] = value.replace("$PATH", environment.get("PATH", ""))
        return environment

    def command(self, instruction: str) -> list[str]:
        """The arguments of an instruction in exec form."""
        parsed = json.loads(self.one(instruction).partition("[")[1] + self.one(instruction).partition("[")[2])
        return [str(argument) for argument in parsed]


def stages() -> list[Stage]:
    """The Dockerfile's stages, in order."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        instruction, _, arguments = line.strip().partition(" ")
        if instruction == "FROM":
            base, _, name = arguments.partition(" AS ")
            found.append(Stage(base, name or None))
        elif instruction:
            found[-1].steps.append((instruction, arguments.strip()))
    return found
