"""Writes that commit together: whatever waits when the one before has committed goes into one transaction.

A commit waits for the disk, takes 100 µs of CPU and, on SQLite, has the whole file to itself. Works of one kind share
statements as well (`Shared`). Nobody is told anything before all is committed.
`docs/adr/0019-group-commit.md` says why.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Connection

from app.domain.ports import StoreUnavailable
from app.storage.backend import Backend
from app.storage.errors import Deadlocked, outages
from app.storage.prepared import execute

T = TypeVar("T")

GROUP_WORKS: Final = 128
"""How many works commit together at most."""
GROUP_SECONDS: Final = 0.02
"""A group that has taken as long takes no more in: nobody waits for many that are long."""


class Shared(Generic[T]):
    """Work that can be done with others of the same kind, by statements that they share.

    `together` does several, each of which it is `given`, and returns what comes of each. Whatever it raises undoes them
    all, and each is done `alone`.
    """

    __slots__ = ("_alone", "given", "together")

    def __init__(
        self,
        alone: Callable[[Connection], T],
        together: Callable[[Connection, Sequence[Any]], Sequence[T]],
        given: object,
    ) -> None:
        self._alone = alone
        self.together = together
        self.given = given

    def __call__(self, connection: Connection) -> T:
        """Do it alone."""
        return self._alone(connection)


class Job(Generic[T]):
    """Work for a connection, and the future of what comes of it: one of `loop`, or of a thread where that is None."""

    __slots__ = ("_error", "_result", "answer", "expires_at", "loop", "work")

    def __init__(
        self,
        work: Callable[[Connection], T],
        expires_at: float,
        answer: asyncio.Future[T] | concurrent.futures.Future[T],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.work = work
        self.answer = answer
        self._result: T | None = None
        self._error: BaseException | None = None
        self.expires_at = expires_at
        """In monotonic seconds: it is not begun after that."""
        self.loop = loop

    def do(self, connection: Connection) -> None:
        """Do it. Raises whatever it raises, outages as StoreUnavailable."""
        self._error = None
        with outages():
            self._result = self.work(connection)

    def done(self, result: T) -> None:
        """It has been done, with others."""
        self._error, self._result = None, result

    @property
    def together(self) -> Callable[[Connection, Sequence[Any]], Sequence[T]] | None:
        """How it is done with others that say the same here."""
        return self.work.together if isinstance(self.work, Shared) else None

    def fail(self, error: BaseException) -> None:
        """Whatever came of it is undone. What broke the transaction remains the answer of the one that did."""
        if not isinstance(self._error, StoreUnavailable):
            self._error = error

    def settle(self) -> None:
        """Answer, where that is still asked for. On the thread of the loop, if there is one."""
        if self.answer.done():
            return
        if self._error is None:
            self.answer.set_result(self._result)  # type: ignore[arg-type]
        else:
            self.answer.set_exception(self._error)
            self.answer.exception()  # counts as seen, also where its caller is cancelled at this moment


class Commits:
    """Runs works on threads: those of one group one after the other and together, others beside them.

    `closes_at` says after when no work is begun any more.
    """

    def __init__(self, backend: Backend, closes_at: Callable[[], float]) -> None:
        self._backend = backend
        self._threads = backend.writers
        self._closes_at = closes_at
        self._lock = Lock()
        self._waiting: dict[Hashable, deque[Job[Any]]] = {}
        """By group, while one of them is under way or waits."""

    def submit(self, job: Job[T], group: Hashable) -> None:
        """Have it done with those of its group. Raises RuntimeError where the threads have ended."""
        with self._lock:
            if (waiting := self._waiting.get(group)) is not None:
                waiting.append(job)
                return
            self._waiting[group] = deque([job])
        try:
            self._threads.submit(self._run, group)
        except RuntimeError:
            with self._lock:
                _, *others = self._waiting.pop(group)  # which came meanwhile, from other threads
            for other in others:
                other.fail(StoreUnavailable("the database is closed"))
            tell(others)
            raise

    def _run(self, group: Hashable) -> None:
        """Commit some of a group, and let other groups have their turn before the next."""
        waiting = self._waiting[group]
        while True:
            self._commit(waiting)
            with self._lock:
                if not waiting:
                    del self._waiting[group]
                    return
            with suppress(RuntimeError):  # the threads are ending, and what was handed over is still done
                self._threads.submit(self._run, group)
                return

    def _commit(self, waiting: deque[Job[Any]]) -> None:
        """One transaction of some that wait; tells them."""
        first = self._next(waiting)
        if first is None:
            return
        jobs = [first]
        if not waiting or not self._commit_together(jobs, waiting):
            for job in jobs:
                self._commit_alone(job)
        tell(jobs)

    def _commit_together(self, jobs: list[Job[Any]], waiting: deque[Job[Any]]) -> bool:
        """Commit those that wait, and add them to `jobs`; False where one of them has to be done without the others."""
        try:
            with outages(), self._backend.writing() as connection, self._backend.sending(connection):
                self._do_together(connection, jobs, waiting)
        except Deadlocked:
            return False
        except StoreUnavailable as outage:
            for job in jobs:
                job.fail(outage)
        except BaseException:
            return False
        return True

    def _commit_alone(self, job: Job[Any]) -> None:
        try:
            with outages(), self._backend.writing() as connection:
                job.do(connection)
        except BaseException as error:
            job.fail(error)

    def _do_together(self, connection: Connection, jobs: list[Job[Any]], waiting: deque[Job[Any]]) -> None:
        """Do those that wait, and add them to `jobs`, which has the first; raises what makes all of it void."""
        ends_at = monotonic() + GROUP_SECONDS
        job: Job[Any] | None = jobs.pop()
        while job is not None:
            alike = self._alike(job, waiting, GROUP_WORKS - len(jobs))
            jobs += alike
            if self._backend.one_writer:
                _do_undoably(connection, alike)
            else:
                _do(connection, alike)
            if len(jobs) >= GROUP_WORKS or monotonic() >= ends_at:
                return
            job = self._next(waiting)

    def _alike(self, job: Job[Any], waiting: deque[Job[Any]], most: int) -> list[Job[Any]]:
        """This one, and those that wait and can share its statements."""
        alike, others = [job], list[Job[Any]]()
        while job.together and len(alike) < most and (other := self._next(waiting)) is not None:
            (alike if other.together is job.together else others).append(other)
        waiting.extendleft(reversed(others))
        return alike

    def _next(self, waiting: deque[Job[Any]]) -> Job[Any] | None:
        """The next that is not too late; those that are get told so."""
        while waiting:
            job = waiting.popleft()
            if monotonic() <= min(job.expires_at, self._closes_at()):
                return job
            job.fail(too_late())
            tell([job])
        return None


def _do_undoably(connection: Connection, jobs: Sequence[Job[Any]]) -> None:
    """Do works that others go on after: what one raises is its caller's, and undoes no more than it has done."""
    execute(connection, "SAVEPOINT work")
    try:
        _do(connection, jobs)
    except BaseException as error:
        execute(connection, "ROLLBACK TO SAVEPOINT work")
        if len(jobs) == 1:
            jobs[0].fail(error)
        else:
            for job in jobs:
                _do_undoably(connection, [job])
    execute(connection, "RELEASE SAVEPOINT work")


def _do(connection: Connection, jobs: Sequence[Job[Any]]) -> None:
    """Do a work, or several that share their statements. Raises whatever one of them raises."""
    together = jobs[0].together
    if together is None or len(jobs) == 1:
        jobs[0].do(connection)
        return
    with outages():
        results = together(connection, [job.work.given for job in jobs if isinstance(job.work, Shared)])
    for job, result in zip(jobs, results, strict=True):
        job.done(result)


def tell(jobs: Sequence[Job[Any]]) -> None:
    """Answer whoever waits for these: each loop is woken once."""
    by_loop: dict[asyncio.AbstractEventLoop | None, list[Job[Any]]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, its in by_loop.items():
        if loop is None:
            _settle(its)
        else:
            with suppress(RuntimeError):  # it is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, its)


def too_late() -> StoreUnavailable:
    """For whoever has waited in vain, or was not begun."""
    return StoreUnavailable("the database did not answer (out of time)")


def _settle(jobs: Sequence[Job[Any]]) -> None:
    for job in jobs:
        job.settle()
