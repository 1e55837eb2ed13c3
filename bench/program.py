"""A program under test: started on one core, watched, and always stopped."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

STOP_SECONDS = 5.0
PROBE_EVERY_SECONDS = 0.005
KEPT = ("PATH", "HOME", "LANG")
"""All that programs get of the benchmark's own environment: a key or a database that is set there is not theirs."""


class NotReady(Exception):
    """The program ended, or did not answer in time; the message ends in what it last wrote."""


def free_port() -> int:
    """A TCP port of the loopback interface that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pinned(cores: int | Collection[int], argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` on one core or several, and ends it when the benchmark itself is killed."""
    names = str(cores) if isinstance(cores, int) else ",".join(map(str, sorted(cores)))
    return ["setpriv", "--pdeathsig", "TERM", "taskset", "--cpu-list", names, *argv]


class Program:
    """A child process with all its descendants, pinned to one core, or to several.

    `env` is its environment, but for KEPT. What it writes goes to a file in `folder`.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        core: int | Collection[int],
        folder: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._log = folder / "output.log"
        with self._log.open("wb") as log:
            self._exec_at = time.monotonic()
            self._child = subprocess.Popen(
                pinned(core, argv),
                cwd=folder,
                env={**{name: os.environ[name] for name in KEPT if name in os.environ}, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._process = psutil.Process(self._child.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def wait_until_ready(self, port: int, path: str, headers: Mapping[str, str], *, within_seconds: float) -> float:
        """Ask until the answer is 200; returns the seconds from exec to then. Raises NotReady."""
        last, deadline = "no connection", time.monotonic() + within_seconds
        while (left := deadline - time.monotonic()) > 0:
            if (code := self._child.poll()) is not None:
                raise NotReady(f"it ended with exit code {code}: {self._last_words()}")
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=left)
            try:
                connection.request("GET", path, headers=dict(headers))
                answer = connection.getresponse()
                last = f"HTTP {answer.status} {answer.read()[:300].decode(errors='replace')}"
                if answer.status == 200:
                    return time.monotonic() - self._exec_at
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            time.sleep(PROBE_EVERY_SECONDS)
        raise NotReady(f"no 200 within {within_seconds:.0f} s, but {last}: {self._last_words()}")

    def wait_until(self, is_so: Callable[[], bool], *, within_seconds: float) -> None:
        """Ask until it is so. Raises NotReady."""
        deadline = time.monotonic() + within_seconds
        while not is_so():
            if (code := self._child.poll()) is not None:
                raise NotReady(f"it ended with exit code {code}: {self._last_words()}")
            if time.monotonic() > deadline:
                raise NotReady(f"not ready within {within_seconds:.0f} s: {self._last_words()}")
            time.sleep(PROBE_EVERY_SECONDS)

    def written(self) -> str:
        """What it has written so far, to either stream."""
        return self._log.read_text(errors="replace")

    def cpu_seconds(self) -> float:
        """User and system time of all its living processes so far."""
        return sum(self.cpu_seconds_by_process().values())

    def cpu_seconds_by_process(self) -> dict[int, float]:
        """The same of each, by process id."""
        seconds = {}
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                times = process.cpu_times()
                seconds[process.pid] = times.user + times.system
        return seconds

    def rss_bytes(self) -> int:
        """Resident memory of all its processes now."""
        total = 0
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                total += process.memory_info().rss
        return total

    def forget_peak(self) -> None:
        """Start to watch for a new peak of resident memory."""
        for process in self._family():
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")

    def peak_rss_bytes(self) -> int:
        """The sum of every process's highest resident memory since `forget_peak`."""
        statuses = [Path(f"/proc/{process.pid}/status").read_text() for process in self._family()]
        return sum(kibibytes("VmHWM", status) * 1024 for status in statuses)

    def stop(self) -> None:
        """Ask it to end, insist after a while. May be called twice."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(STOP_SECONDS)

    def _family(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]

    def _last_words(self) -> str:
        text = self.written().strip()
        return " | ".join(text.splitlines()[-3:])[-500:] or "it wrote nothing"


def kibibytes(field: str, status: str) -> int:
    """One field of a /proc/<pid>/status that is given in kB."""
    for line in status.splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise ValueError(f"no {field} in the process's status")
