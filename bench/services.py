"""Databases for contenders that want them: servers of the run's own, from Debian's packages."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from bench.figures import Unavailable
from bench.program import Program, free_port, pinned

READY_SECONDS = 20.0
_UNPRIVILEGED = "postgres"
"""PostgreSQL refuses to run as root, so root runs it as Debian's user for it."""


@dataclass(frozen=True, slots=True)
class Services:
    """The servers that run beside a contender, and what its environment says of them."""

    programs: tuple[Program, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def postgres(core: int) -> Iterator[Services]:
    """An empty PostgreSQL with Debian's settings: a commit is on disk when it is answered. Raises Unavailable."""
    programs, port = _postgres_programs(), free_port()
    user = _UNPRIVILEGED if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="quaymaster-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        data = folder / "data"
        if user is not None:
            shutil.chown(folder, user, user)
        _run_as(
            user, core, [str(programs / "initdb"), "-D", str(data), "-U", "quay", "-A", "trust", "-E", "UTF8"], folder
        )
        argv = [str(programs / "postgres"), "-D", str(data), "-p", str(port), "-k", "", "-h", "127.0.0.1"]
        url = f"postgresql://quay@127.0.0.1:{port}/postgres"
        with Program(_as(user, argv), core=core, folder=folder) as server:
            server.wait_until(lambda: _answers(url), within_seconds=READY_SECONDS)
            yield Services((server,), {"DATABASE_URL": url})


@contextmanager
def redis(folder: Path, core: int) -> Iterator[Services]:
    """An empty Redis that writes nothing to disk. Raises Unavailable."""
    program, port = shutil.which("redis-server"), free_port()
    if program is None:
        raise Unavailable("Redis is not installed (Debian: apt-get install redis-server)")
    home = folder / "redis"
    home.mkdir()
    argv = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    with Program(argv, core=core, folder=home) as server:
        server.wait_until(lambda: _listens(port), within_seconds=READY_SECONDS)
        yield Services((server,), {"REDIS_URL": f"redis://127.0.0.1:{port}/0"})


def _postgres_programs() -> Path:
    """The folder of `initdb` and `postgres`: Debian's, the newest first, else wherever the PATH has them."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda bin: int(bin.parent.name), reverse=True)
    found = shutil.which("postgres")
    candidates = [*folders, *([Path(found).resolve().parent] if found else [])]
    for folder in candidates:
        if (folder / "initdb").exists():
            return folder
    raise Unavailable("PostgreSQL is not installed (Debian: apt-get install postgresql)")


def _as(user: str | None, argv: list[str]) -> list[str]:
    if user is None:
        return argv
    # Another user's process forgets which signal its parent's death was to be, so it is told again.
    return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--pdeathsig", "TERM", *argv]


def _run_as(user: str | None, core: int, argv: list[str], folder: Path) -> None:
    done = subprocess.run(pinned(core, _as(user, argv)), cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{Path(argv[0]).name} failed: {(done.stderr or done.stdout).strip()[-200:]}")


def _answers(url: str) -> bool:
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=2):
        return True
    return False


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    return False
