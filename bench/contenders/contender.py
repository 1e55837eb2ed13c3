"""What a contender has to tell the benchmark."""

from __future__ import annotations

import shlex
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from bench.figures import Unavailable
from bench.services import Services
from bench.upstream import CONTAINER_ID, CONTAINERS_PATH

INSTALL_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Site:
    """Where one start of a contender runs: a folder of its own, a port to listen on, the upstream to forward to.

    `sink_port` is where the upstream's reader of uploads can be asked directly.
    """

    folder: Path
    port: int
    upstream_port: int
    sink_port: int

    @property
    def upstream_url(self) -> str:
        """The fake upstream's base URL, `/v1` included."""
        return f"http://127.0.0.1:{self.upstream_port}/v1"

    @property
    def sink_url(self) -> str:
        """The base URL of its reader of uploads, `/v1` included."""
        return f"http://127.0.0.1:{self.sink_port}/v1"


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start it. `env` is its environment; of the benchmark's own it gets the PATH and little else."""

    argv: list[str]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """Where its clients ask, with which headers, and a container that they may use."""

    port: int
    headers: Mapping[str, str] = field(default_factory=dict)
    container_id: str = CONTAINER_ID

    def url(self, path: str) -> str:
        """The URL of a path of the API, `/v1` included."""
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def container_path(self) -> str:
        """Where the container is asked for."""
        return f"{CONTAINERS_PATH}/{self.container_id}"


class Contender(ABC):
    """One gateway. `title` is its name in the table, `note` what it does and does not do while it is measured."""

    title: str
    note: str
    ready_within_seconds: ClassVar[float] = 15.0

    @property
    def takes_all_cores(self) -> bool:
        """Whether it shares every core with the load, so that only its CPU time says anything."""
        return False

    @abstractmethod
    def version(self, tools: Path) -> str:
        """Its version, as it stands installed on this machine or below `tools`. Raises Unavailable."""

    def install(self, tools: Path) -> None:  # noqa: B027
        """Install it below `tools`, unless it is there. Raises Unavailable. Most need nothing of the kind."""

    def services(self, site: Site, core: int) -> AbstractContextManager[Services]:
        """The databases that it wants beside it, on `core`. Entering raises Unavailable. Most want none."""
        return nullcontext(Services())

    @abstractmethod
    def launch(self, tools: Path, site: Site) -> Launch | None:
        """Write its settings; how to start it. None where there is nothing to start."""

    @abstractmethod
    def first_target(self, site: Site) -> Target:
        """Who to ask until a container comes back: only then is it ready."""

    def target(self, site: Site) -> Target:
        """What to measure, once it is ready: the first target, unless a key has to be made."""
        return self.first_target(site)

    def upload_target(self, site: Site, target: Target) -> Target:
        """Where to upload to, past the upstream's nginx if it can be: one that would read and send every byte again."""
        return target

    def registered(self, site: Site, services: Services) -> int | None:
        """How many containers are in its registry, asked of its database; None where it has none."""
        return None


def run_installer(argv: Sequence[str], folder: Path) -> None:
    """Say and run one step of an installation in `folder`. Raises Unavailable with the last line it wrote."""
    print(shlex.join(argv), flush=True)
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"it could not be installed: {error}") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise Unavailable(f"it could not be installed: {lines[-1][:300]}")
