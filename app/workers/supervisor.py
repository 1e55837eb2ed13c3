"""The parent of the workers: starts them, starts again those that die, stops them, and hears what they count.

It runs no thread and no event loop, so that it may fork at any time, and does nothing that could keep it from its
signals. Workers share its memory until they change it.
"""

from __future__ import annotations

import fcntl
import gc
import os
import select
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import orjson

from app.telemetry.gathering import Snapshot, lasting, merged
from app.workers.link import encoded

STEADY_SECONDS: Final = 10.0
"""A worker that lived for so long is started again at once; one that did not, after a while."""
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
TELL_SECONDS: Final = 1.0
"""How long a scrape waits for a worker; then what that worker told last stands for it."""
CLOSE_SECONDS: Final = 20.0
"""What a worker may take to end beyond its drain, before it is killed."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class StartFailed(Exception):
    """A worker could not start. The message says why."""


@dataclass(eq=False)
class Job:
    """What one process does. `work` gets its end of the link, runs in the new process, and returns its exit code."""

    name: str
    work: Callable[[socket.socket], int]
    stops_last: bool = False
    """Others need it until they have ended."""
    comes_first: bool = False
    """It puts in order what the others use: they start when it has ended, which it does by itself."""

    pid: int = 0
    is_ready: bool = False
    link: socket.socket | None = None
    received: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    snapshot: Snapshot = field(default_factory=list)
    started_at: float = 0.0
    starts_at: float | None = None
    """When it is to be started; None where it runs, or has to wait for others."""
    pause_seconds: float = 0.0


@dataclass(eq=False)
class _Ask:
    """A worker that wants everyone's metrics."""

    job: Job
    pid: int
    missing: set[Job]
    expires_at: float


class Supervisor:
    """Keeps jobs running until SIGTERM or SIGINT.

    `on_ready` is called once, when all of them are; `on_stopping` before they are told to stop. `turns` is a file
    whose lock whoever writes to standard output holds.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        drain_seconds: float,
        turns: int,
        on_ready: Callable[[], None],
        on_stopping: Callable[[], None],
    ) -> None:
        self._jobs = list(jobs)
        self._drain_seconds = drain_seconds
        self._turns = turns
        self._on_ready = on_ready
        self._on_stopping = on_stopping
        self._selector = selectors.DefaultSelector()
        self._signals, self._wakeup = socket.socketpair()
        self._asks: list[_Ask] = []
        self._buried: Snapshot = []
        self._was_ready = False
        self._failure: str | None = None
        self._kill_at: float | None = None
        self._exit_code = 0

    def run(self) -> int:
        """Start everything, and return the exit code when everything has ended. Raises StartFailed."""
        for end in (self._signals, self._wakeup):
            end.setblocking(False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._signals, selectors.EVENT_READ)
        gc.freeze()  # what is here already is never looked through in a worker, and so stays shared
        try:
            self._start_all()
            while any(job.pid for job in self._jobs) or self._kill_at is None:
                self._wait()
                self._reap()
                self._keep_time()
        finally:
            signal.set_wakeup_fd(-1)
            self._selector.close()
            for end in (self._signals, self._wakeup):
                end.close()
        if self._failure is not None:
            raise StartFailed(self._failure)
        return self._exit_code

    def _wait(self) -> None:
        """Take what signals and workers say, until the next thing is due."""
        due = [ask.expires_at for ask in self._asks]
        due += [job.starts_at for job in self._jobs if job.starts_at is not None]
        if self._kill_at is not None:
            due.append(self._kill_at)
        timeout = max(0.0, min(due) - time.monotonic()) if due else None
        for key, events in self._selector.select(timeout):
            job = key.data
            if job is None:
                for number in self._signals.recv(1024):
                    if number != signal.SIGCHLD:
                        self._stop(number)
            elif events & selectors.EVENT_WRITE:
                self._send(job)
            else:
                self._receive(job)

    def _keep_time(self) -> None:
        now = time.monotonic()
        for ask in [ask for ask in self._asks if not ask.missing or ask.expires_at <= now]:
            self._asks.remove(ask)
            if ask.job.pid == ask.pid:
                living = [job.snapshot for job in self._jobs if job.pid and job.snapshot]
                self._say(ask.job, {"snapshots": [self._buried, *living]})
        if self._kill_at is None:
            for job in self._jobs:
                if job.starts_at is not None and job.starts_at <= now:
                    self._start(job)
        elif now >= self._kill_at:
            self._log("error", "workers_killed", seconds=self._drain_seconds + CLOSE_SECONDS)
            self._exit_code = 1
            self._signal(self._jobs, signal.SIGKILL)
            self._kill_at = now + CLOSE_SECONDS

    # Starting.

    def _start_all(self) -> None:
        """Start those that come first, or, where they are done, the others."""
        first = [job for job in self._jobs if job.comes_first]
        for job in first or self._jobs:
            self._start(job)

    def _start(self, job: Job) -> None:
        ours, theirs = socket.socketpair()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # none reaches the child while it has our handlers
        job.pid = os.fork()
        if not job.pid:
            self._become(job, ours, theirs)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        theirs.close()
        ours.setblocking(False)
        job.link, job.started_at, job.starts_at = ours, time.monotonic(), None
        self._selector.register(ours, selectors.EVENT_READ, job)

    def _become(self, job: Job, ours: socket.socket, theirs: socket.socket) -> NoReturn:
        """Be the child: with nothing of the parent's but what the job needs, and gone when the job is done."""
        code = 1
        try:
            os.setpgid(0, 0)  # Ctrl-C is the parent's to pass on
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number in (signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            self._selector.close()
            for end in (ours, self._signals, self._wakeup, *(other.link for other in self._jobs if other.link)):
                end.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            code = job.work(theirs)
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    # Ending.

    def _stop(self, number: int) -> None:
        """Pass a signal on; the first one is the end of whoever does not stop last."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._drain_seconds + CLOSE_SECONDS
            for job in self._jobs:
                job.starts_at = None
            self._on_stopping()
        self._signal((job for job in self._jobs if not job.stops_last), number)
        self._stop_last()

    def _stop_last(self) -> None:
        if self._kill_at is not None and not any(job.pid for job in self._jobs if not job.stops_last):
            self._signal((job for job in self._jobs if job.stops_last), signal.SIGTERM)

    def _signal(self, jobs: Iterable[Job], number: int) -> None:
        for job in jobs:
            if job.pid:
                os.kill(job.pid, number)

    def _reap(self) -> None:
        """Look after the dead; as process 1 of a container, also after those of others."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                for job in self._jobs:
                    if job.pid == ended[0]:
                        self._bury(job, os.waitstatus_to_exitcode(ended[1]))
                        self._stop_last()

    def _bury(self, job: Job, code: int) -> None:
        if job.link is not None:
            self._receive(job)  # its last words
        if job.link is not None:
            self._hang_up(job)
        self._buried = merged([self._buried, lasting(job.snapshot)])
        for ask in self._asks:
            ask.missing.discard(job)
        job.pid, job.is_ready, job.snapshot = 0, False, []
        job.received.clear()
        job.unsent.clear()
        if self._kill_at is not None:
            self._exit_code = self._exit_code or (0 if code in (0, -signal.SIGTERM) else 1)
            return
        if job.comes_first and code == 0:
            self._jobs.remove(job)
            self._start_all()
            return
        how = f"signal {-code}" if code < 0 else f"code {code}"
        if not self._was_ready:
            self._failure = self._failure or f"{job.name} ended with {how} before it was ready"
            self._stop(signal.SIGTERM)
            return
        is_steady = time.monotonic() - job.started_at >= STEADY_SECONDS
        job.pause_seconds = (
            0.0 if is_steady else min(max(2 * job.pause_seconds, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        )
        job.starts_at = time.monotonic() + job.pause_seconds
        self._log("error", "worker_died", worker=job.name, ended_with=how, starts_again_in_seconds=job.pause_seconds)

    # Talking.

    def _receive(self, job: Job) -> None:
        assert job.link is not None
        while True:
            try:
                received = job.link.recv(2**18)
            except BlockingIOError:
                return
            except ConnectionError:
                received = b""
            if not received:
                self._hang_up(job)
                return
            job.received += received
            if b"\n" in received:
                *lines, rest = bytes(job.received).split(b"\n")
                job.received[:] = rest
                for line in lines:
                    self._take(job, orjson.loads(line))

    def _hang_up(self, job: Job) -> None:
        if job.link is not None:
            self._selector.unregister(job.link)
            job.link.close()
            job.link = None

    def _take(self, job: Job, message: dict[str, Any]) -> None:
        if "ready" in message:
            job.is_ready = True
            if self._was_ready:
                self._log("info", "worker_started", worker=job.name)
            elif all(each.is_ready for each in self._jobs):
                self._was_ready = True
                self._on_ready()
        elif "failed" in message:
            if self._was_ready:
                self._log("error", "worker_cannot_start", worker=job.name, reason=message["failed"])
            else:
                self._failure = self._failure or message["failed"]
        elif "ask" in message:
            tellers = {each for each in self._jobs if each.is_ready and not each.stops_last}
            self._asks.append(_Ask(job, job.pid, tellers, time.monotonic() + TELL_SECONDS))
            for each in tellers:
                self._say(each, {"tell": True})
        else:
            job.snapshot = message["snapshot"]
            for ask in self._asks:
                ask.missing.discard(job)

    def _say(self, job: Job, message: dict[str, Any]) -> None:
        job.unsent += encoded(message)
        self._send(job)

    def _send(self, job: Job) -> None:
        if job.link is None:
            return
        try:
            while job.unsent:
                del job.unsent[: job.link.send(job.unsent)]
        except BlockingIOError:
            pass
        except ConnectionError:
            job.unsent.clear()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if job.unsent else 0)
        self._selector.modify(job.link, wanted, job)

    def _log(self, level: str, event: str, **fields: object) -> None:
        """Write a line of the log, as `app.telemetry.logging` would, if that can be done without waiting."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now := time.time())) + f".{int(now % 1 * 1e6):06}Z"
        line = encoded({"timestamp": stamp, "level": level, "event": event, **fields})
        try:
            fcntl.lockf(self._turns, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        try:
            if select.select([], [1], [], 0)[1]:
                os.write(1, line)
        except OSError:
            pass
        finally:
            fcntl.lockf(self._turns, fcntl.LOCK_UN)
