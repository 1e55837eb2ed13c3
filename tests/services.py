"""Real servers for the tests, started from what is installed on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

PASSWORD = "only-for-tests"


def missing(what: str) -> NoReturn:
    """Skip with the reason; in CI, where everything has to be there, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is not installed, and in CI it has to be")
    pytest.skip(f"{what} is not installed")


def postgres_programs() -> Path | None:
    """The folder of `initdb` and `postgres`: Debian's, the newest first, else wherever the PATH has them."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda bin: int(bin.parent.name), reverse=True)
    found = shutil.which("postgres")
    candidates = [*folders, *([Path(found).resolve().parent] if found else [])]
    return next((folder for folder in candidates if (folder / "initdb").exists()), None)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def postgres_server(programs: Path) -> Iterator[str]:
    """Run a PostgreSQL of our own; yields its URL without a database name."""
    with postgres_that_stops(programs) as server:
        yield server.url


@dataclass(frozen=True)
class Server:
    """A server that a test may stop and start again, on the same port and with what it has kept."""

    url: str
    start: Callable[[], object]
    stop: Callable[[], object]


@contextmanager
def postgres_that_stops(programs: Path) -> Iterator[Server]:
    """Run a PostgreSQL of our own. Its URL has no database name.

    PostgreSQL refuses to run as root, so root runs it as Debian's user `postgres`.
    """
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="quaymaster-postgres-", ignore_cleanup_errors=True) as folder:
        data, password, log = Path(folder, "data"), Path(folder, "password"), Path(folder, "log")
        password.write_text(PASSWORD)
        log.touch()
        if user is not None:
            for path in (folder, password, log):
                shutil.chown(path, user, user)

        def run(program: str, *arguments: str | Path) -> None:
            command = [programs / program, *arguments]
            groups: list[str] | None = None if user is None else []
            subprocess.run(
                command, check=True, cwd=folder, user=user, group=user, extra_groups=groups, stdout=subprocess.DEVNULL
            )

        run(
            "initdb", "-D", data, "-U", "quay", "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--no-sync"
        )
        port = free_port()
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -k {folder} -c fsync=off -c max_connections=60"
        start = partial(run, "pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")
        stop = partial(run, "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        start()
        try:
            yield Server(f"postgresql://quay:{PASSWORD}@127.0.0.1:{port}", start, stop)
        finally:
            if (data / "postmaster.pid").exists():
                stop()


@contextmanager
def redis_server() -> Iterator[Server]:
    """Run a Redis of our own, which writes nothing to disk: stopped, it forgets everything."""
    program = shutil.which("redis-server")
    if program is None:
        missing("Redis (Debian's package `redis-server`)")
    port = free_port()
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--requirepass", PASSWORD]
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        for _ in range(500):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
            time.sleep(0.01)
        raise TimeoutError("Redis does not start")

    def stop() -> None:
        while running:
            process = running.pop()
            process.kill()
            process.wait()

    start()
    try:
        yield Server(f"redis://:{PASSWORD}@127.0.0.1:{port}/0", start, stop)
    finally:
        stop()
