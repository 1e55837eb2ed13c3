"""The image's file system, made in a folder by the Dockerfile's own instructions."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.dockerfile import ROOT, Stage, stages

FOLDERS = ("/opt/quaymaster", "/etc/quaymaster", "/src", "/data")
"""What the Dockerfile makes; in the tests all of them stand below one folder."""
NO_INDEX = re.compile(r"NewConnectionError|Name or service not known|name resolution|ConnectTimeout|unreachable")


@dataclass
class Image:
    """What `docker build` would have made. `root` is where its folders are."""

    root: Path
    final: Stage

    def moved(self, text: str) -> str:
        """Text of the Dockerfile with the image's folders where they are on this machine."""
        for folder in FOLDERS:
            text = re.sub(rf"(?<![\w/]){folder}(?![\w-])", f"{self.root}{folder}", text)
        return text

    def environment(self) -> dict[str, str]:
        """What a process in the container finds in its environment."""
        outer = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        return {name: self.moved(value) for name, value in self.final.environment(outer).items()}

    @property
    def workdir(self) -> Path:
        return Path(self.moved(self.final.one("WORKDIR")))


def unavailable(what: str) -> None:
    """Skip with the reason; in CI, where everything has to be there, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and in CI it has to be")
    pytest.skip(what)


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """The Dockerfile, run step by step, without Docker."""
    if os.geteuid() != 0:
        unavailable("only root can become the image's user")
    build, final = stages()
    # Not pytest's own folder, which no other user may enter.
    with tempfile.TemporaryDirectory(prefix="quaymaster-image-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        root.chmod(0o755)
        made = Image(root, final)
        python = root / "usr" / "bin" / "python"
        python.parent.mkdir(parents=True)
        (root / "aside").mkdir()
        python.symlink_to(Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}"))
        outer = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"}
        for name in ("VIRTUAL_ENV", "PYTHONPATH"):
            outer.pop(name, None)
        _run_steps(made, build, outer)
        _run_steps(made, final, outer)
        shutil.rmtree(root / "src")
        yield made


def _run_steps(image: Image, stage: Stage, outer: dict[str, str]) -> None:
    environment = {name: image.moved(value) for name, value in stage.environment(outer).items()}
    environment.pop("PIP_NO_CACHE_DIR", None)  # this machine's cache spares its index
    workdir = image.root
    for instruction, arguments in stage.steps:
        if instruction == "WORKDIR":
            workdir = Path(image.moved(arguments))
            workdir.mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY" and "--from=" not in arguments:
            *sources, target = shlex.split(arguments)
            for source in sources:
                _copy(ROOT / source, workdir / target, into=target.endswith("/"))
        elif instruction == "RUN":
            _run(image.moved(arguments), workdir, environment)


def _copy(source: Path, target: Path, *, into: bool) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target / source.name if into else target)


def _run(command: str, workdir: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        check=False,
        cwd=workdir,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode and NO_INDEX.search(done.stderr):
        unavailable("the package index cannot be reached")
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
