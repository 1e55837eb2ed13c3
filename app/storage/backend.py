"""What a kind of database has to be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Connection, Engine


class Backend(Protocol):
    """What one kind of database is. Its methods block."""

    engine: Engine
    """Where connections come from."""
    readers: ThreadPoolExecutor
    writers: ThreadPoolExecutor

    @property
    def one_writer(self) -> bool:
        """Whether only one transaction may write at a time, so that all go together."""
        ...

    def create(self) -> None:
        """Make what is missing and can be made here. Raises StoreUnavailable."""
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that only reads, for a thread of `readers`."""
        ...

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that writes, for a thread of `writers`: committed at the end, or undone by what is raised."""
        ...

    def sending(self, connection: Connection) -> AbstractContextManager[None]:
        """Several works follow: send statements of which nobody needs to know at once what becomes of them.

        Whatever a database raises within, all of the transaction is void.
        """
        ...

    def migrating(self) -> AbstractContextManager[Connection]:
        """A transaction that has the migrations' lock."""
        ...

    def close(self) -> None:
        """End the threads, when they have done what they were given, and close every connection."""
        ...
