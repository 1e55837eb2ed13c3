"""SDKs beside the installed one: fetched when a test asks for them, held to their hashes, kept for the next run.

Each ends in a folder that appears whole or not at all and is named after what is in it, so it is never stale and tests
that run at the same time cannot disturb one another. Where the package index does not answer, the test is skipped with
the reason; in CI it fails.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from tests.e2e.gateway import ROOT, clean_environment
from tests.services import missing

SUITES = Path(__file__).with_name("sdk_suites")
NODE = Path(__file__).with_name("node")
FETCH_SECONDS = 300
RUN_SECONDS = 60
OLDEST_NODE = 20
"""Before it Node has no `File`, which the SDK's uploads need."""

_failed: dict[Path, str] = {}
"""What could not be fetched, and why: it is tried once, not by each test anew."""


class _NotFetched(Exception):
    """pip or npm failed; the message is what it printed."""


def packages(lock: str, cache: pytest.Cache) -> Path:
    """What `sdk_suites/<lock>.lock` names, as a folder for PYTHONPATH, ahead of this environment's own packages."""
    path = SUITES / f"{lock}.lock"

    def install(folder: Path) -> None:
        _run_pip("install", "--no-deps", "--require-hashes", "--target", folder, "--requirement", path)

    return _kept(cache, lock, path.read_bytes() + sys.version.encode(), install)


def openai_sources(cache: pytest.Cache) -> Path:
    """The sources of exactly the openai-python that is locked, its own tests among them."""
    lock = (ROOT / "requirements-dev.lock").read_text()
    found = re.search(r"^openai==\S+(?: \\\n +--hash=\S+)+", lock, re.MULTILINE)
    assert found is not None

    def unpack(folder: Path) -> None:
        requirement = folder / "requirement.txt"
        requirement.write_text(found[0])
        _run_pip("download", "--no-deps", "--no-binary=openai", "--require-hashes", "--dest", folder, "-r", requirement)
        (archive,) = folder.glob("*.tar.gz")
        with tarfile.open(archive) as sources:
            sources.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
            sources.extractall(folder)

    (sources,) = (path for path in _kept(cache, "openai-sources", found[0].encode(), unpack).iterdir() if path.is_dir())
    return sources


def run_node(program: str, folder: Path, cache: pytest.Cache, **variables: str) -> int:
    """Run a program of `tests/e2e/node` in `folder`, with the packages of its lock; returns how many tests it passed.

    `variables` say which package is the SDK (OPENAI_PACKAGE), where the gateway is and what key to use; see sdk.mjs.
    """
    node, npm = _node()

    def install(packages: Path) -> None:
        for manifest in NODE.glob("package*.json"):
            shutil.copy(manifest, packages)
        _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=packages)

    installed = _kept(cache, "node", (NODE / "package-lock.json").read_bytes(), install)
    for source in NODE.glob("*.mjs"):
        shutil.copy(source, folder)
    (folder / "node_modules").symlink_to(installed / "node_modules")
    ran = subprocess.run(
        [node, "--test-reporter=tap", program],
        cwd=folder,
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    passed = re.search(r"^# pass (\d+)$", ran.stdout, re.MULTILINE)
    assert passed is not None, ran.stdout
    return int(passed[1])


def _node() -> tuple[str, str]:
    node, npm = shutil.which("node"), shutil.which("npm")
    version = node and subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if not node or not npm or not version or int(version[1:].partition(".")[0]) < OLDEST_NODE:
        missing(f"Node.js {OLDEST_NODE} or newer, with npm,")
    return node, npm


def _kept(cache: pytest.Cache, name: str, content: bytes, fill: Callable[[Path], None]) -> Path:
    """The folder of this name and content; `fill` is called with an empty one where there is none yet."""
    folder = cache.mkdir("sdks") / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}"
    if folder not in _failed and not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as making:
            made = Path(making, "made")
            made.mkdir()
            try:
                fill(made)
                made.rename(folder)
            except _NotFetched as error:
                _failed[folder] = str(error)
            except OSError:
                assert folder.exists()  # another run was faster
    if folder in _failed:
        _not_fetched(_failed[folder])
    return folder


def _run_pip(*arguments: str | Path) -> None:
    _run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments])


def _run(command: Sequence[str | Path], cwd: Path | None = None) -> None:
    # These are other people's programs: this environment's own settings are not for them.
    variables = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONWARNINGS"}}
    ran = subprocess.run(
        command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
    )
    if ran.returncode != 0:
        raise _NotFetched(f"{ran.stdout}\n{ran.stderr}".strip())


def _not_fetched(output: str) -> NoReturn:
    """Fail in CI, and everywhere for what came and was not what the lock says; otherwise skip with the reason."""
    if os.environ.get("CI") == "true" or re.search("HASHES|EINTEGRITY", output):
        pytest.fail(f"the package index did not give what is locked:\n{output}")
    reason = next((line for line in output.splitlines() if "error" in line.lower()), output)
    pytest.skip(f"the package index did not answer: {reason}")
