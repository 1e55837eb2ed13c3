"""The data folder: opened by one process at a time, and put in order when it is opened."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from app.local.blobs import BlobFolder
from app.local.containers import Containers
from app.local.database import Database
from app.local.errors import DataDirInUse
from app.local.files import UploadedFiles


class DataFolder:
    """Everything on disk. Opening removes what a crash left behind; all methods block.

    Raises DataDirInUse, UnknownSchema, OSError or sqlite3.Error where the folder cannot be opened.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(path)
        try:
            self._open(path, clock)
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self, path: Path, clock: Callable[[], float]) -> None:
        self.blobs = BlobFolder(path / "blobs")
        self._database = Database(path / "records.db", clock)
        try:
            self.files = UploadedFiles(self._database)
            self.containers = Containers(self._database, self.files)
            self.containers.sweep()
            self.blobs.keep_only(self._database.blobs())
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Close the records and let the next process in."""
        self._database.close()
        os.close(self._lock)


def _lock(path: Path) -> int:
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DataDirInUse(
            f"the data folder {path} is in use by another process: is a gateway running already?"
        ) from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
