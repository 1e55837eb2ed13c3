"""Running the command: in this process, which saves a second each, or in one of its own, on a terminal if need be."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from typer.testing import CliRunner

from app.cli import cli
from tests.e2e.gateway import ROOT, clean_environment


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    stdout_bytes: bytes
    stderr: str

    @property
    def stdout(self) -> str:
        """What went to stdout, as text."""
        return self.stdout_bytes.decode()

    @property
    def lines(self) -> list[str]:
        """The lines of stdout."""
        return self.stdout.splitlines()


def run(*arguments: str, stdin: bytes = b"") -> Done:
    """Run the command in this process."""
    result = CliRunner().invoke(cli, arguments, input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Done(result.exit_code, result.stdout_bytes, result.stderr)


def command_line(*arguments: str) -> list[str]:
    """What starts the command as a process of its own; every warning is an error."""
    return [sys.executable, "-W", "error", "-m", "app", *arguments]


def environment(**variables: str) -> dict[str, str]:
    """For a process of its own: nothing that would configure it but these."""
    own = ("NO_COLOR", "TERM", "COLUMNS", "XDG_CONFIG_HOME", "PYTHONUNBUFFERED")
    cleaned = {name: value for name, value in clean_environment().items() if name not in own}
    return cleaned | {"PYTHONPATH": str(ROOT)} | variables


def spawn(*arguments: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the command as a process of its own."""
    variables = options.pop("env", environment())
    return subprocess.run(
        command_line(*arguments), cwd=cwd, env=variables, capture_output=True, timeout=60, check=False, **options
    )


def on_a_terminal(
    *arguments: str, cwd: Path, env: dict[str, str], streams: Sequence[str] = ("stdout", "stderr")
) -> Done:
    """Run the command with a terminal, 200 columns wide, as these streams. What it shows there is in `stderr`."""
    leader, follower = pty.openpty()
    variables = {"TERM": "xterm-256color", "COLUMNS": "200"} | env
    with TemporaryFile() as kept:
        out_to, err_to = (follower if name in streams else kept for name in ("stdout", "stderr"))
        with subprocess.Popen(
            command_line(*arguments), cwd=cwd, env=variables, stdin=subprocess.DEVNULL, stdout=out_to, stderr=err_to
        ) as process:
            os.close(follower)
            shown = _until_closed(leader)
        kept.seek(0)
        out = kept.read()
    os.close(leader)
    return Done(process.returncode, out, shown.decode())


def _until_closed(descriptor: int) -> bytes:
    shown = bytearray()
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # Linux's way to say that nobody has the other end open
            return bytes(shown)
        if not piece:
            return bytes(shown)
        shown += piece
