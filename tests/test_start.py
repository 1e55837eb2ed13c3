"""Which commands are a plain `serve`, that starts without the command line's library, and that it says the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.__main__ import _of_plain_serve
from tests.commands.running import environment
from tests.e2e.gateway import ROOT


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("serve", {}),
        ("serve --config a.yaml", {"--config": "a.yaml"}),
        ("serve --host ::1 --port 0 --workers 2", {"--host": "::1", "--port": "0", "--workers": "2"}),
        ("serve --port 1 --port 2", {"--port": "2"}),
    ],
)
def test_a_plain_serve_is_understood(words: str, options: dict[str, str]) -> None:
    assert _of_plain_serve(words.split()) == options


@pytest.mark.parametrize(
    "words",
    [
        "",
        "check",
        "--version",
        "serve --help",
        "serve --port",
        "serve --port=1",
        "serve --port x",
        "serve --workers -1",
        "serve --config --port",
        "serve --prt 1",
        "serve now",
        "serve --port 1 now",
    ],
)
def test_everything_else_is_left_to_the_command_line(words: str) -> None:
    assert _of_plain_serve(words.split()) is None


def refused(folder: Path, *words: str) -> list[str]:
    """What a `serve` that cannot start says, and whether it has loaded the command line's library."""
    program = (
        f"import sys; from app.__main__ import main; sys.argv = ['quaymaster', *{words!r}]\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, 'typer' in sys.modules)\n"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    env = environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True, timeout=60)
    return [done.stdout.strip(), done.stderr.strip()]


def test_both_ways_refuse_alike(tmp_path: Path) -> None:
    plain = refused(tmp_path, "serve", "--config", "nowhere.yaml")
    proper = refused(tmp_path, "serve", "--config=nowhere.yaml")
    assert (plain[0], proper[0]) == ("2 False", "2 True")
    assert plain[1] == proper[1]
    assert "nowhere.yaml: cannot be read" in plain[1]


def test_both_ways_take_what_is_said(tmp_path: Path) -> None:
    for words in (("--workers", "2"), ("--workers=2",)):
        assert "server.workers is 2" in refused(tmp_path, "serve", *words)[1]
