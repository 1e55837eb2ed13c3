"""One way to install and one way to start: Dockerfile, Makefile, systemd unit, README and CI name the same commands."""

from __future__ import annotations

import re
import subprocess

from tests.deploy.dockerfile import ROOT, stages

INSTALL = [
    "pip install --require-hashes -r requirements.lock",
    "pip install --no-build-isolation --no-deps .",
]
START = "python -m app serve"


def plain(line: str) -> str:
    """A command without where its program is, how much it says, and whether the code stays where it is."""
    line = re.sub(r"^\s*@?(?:exec )?(?:ExecStart=)?(?:\S*/)?(?=pip |python )", "", line)
    return re.sub(r" --(?:quiet|disable-pip-version-check|editable)\b", "", line).strip()


def commands(name: str) -> list[str]:
    return [plain(line) for line in (ROOT / name).read_text().splitlines()]


def recipe(target: str) -> list[str]:
    """The commands that make would run for a target whose environment is there."""
    printed = subprocess.run(
        ["make", "--dry-run", "--assume-old=.venv/runtime", "--assume-old=.venv/dev", target],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [plain(line) for line in printed.stdout.splitlines()]


def test_everybody_installs_in_the_same_way() -> None:
    build, _ = stages()
    in_the_image = [plain(command) for command in build.all("RUN")]
    for command in INSTALL:
        assert command in in_the_image
        assert command in commands("Makefile")
        assert command in commands("README.md")


def test_everybody_starts_in_the_same_way() -> None:
    _, final = stages()
    assert " ".join([*final.command("ENTRYPOINT"), *final.command("CMD")]) == START
    assert START in recipe("run")
    assert START in commands("deploy/quaymaster.service")
    assert f"`{START}`" in (ROOT / "README.md").read_text()


def test_what_readme_calls_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {"run", "test", "demo", "bench"} <= called <= targets


def test_ci_runs_readmes_own_commands() -> None:
    lines = commands(".ci/run")
    assert lines[-2:] == ["make check", "make test"]
    assert "set -euo pipefail" in lines
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)
