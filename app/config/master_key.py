"""The master key that the gateway makes for itself where nobody gave it one."""

from __future__ import annotations

import logging
import os
import re
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Final

from app.config.problems import ConfigurationError

FILE_NAME: Final = "master_key"
_KEY: Final = re.compile(rb"[\x21-\x7e]{16,1024}")

log = logging.getLogger(__name__)


def ensure_master_key(data_dir: Path) -> tuple[str, bool]:
    """The key in `<data_dir>/master_key`, and whether it was made just now.

    A missing folder is made with mode 0700, a missing file with 0600. The file appears whole or not at all, and of
    processes that start together all get the same key. A file that others may read is closed to them, and the log
    says so. Blocks on the disk. Raises ConfigurationError where the file cannot be made, read or used.
    """
    path = data_dir / FILE_NAME
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = not path.exists() and _make(path)
        return _read(path), made
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror or 'cannot be used'}"]) from None


def _make(path: Path) -> bool:
    """Write a new key, whole; False where another process was first."""
    # mkstemp opens with O_EXCL and 0600; a link, unlike a rename, never replaces what is there.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(f"sk-{secrets.token_urlsafe(32)}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    return True


def _read(path: Path) -> str:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            os.fchmod(file.fileno(), 0o600)
            log.warning("%s could be read by others (mode %04o); it is 0600 now", path, mode)
        key = file.read(4096).strip()
    if not _KEY.fullmatch(key):
        raise ConfigurationError([f"{path}: holds no usable key; remove it, and the next start makes a new one"])
    return key.decode("ascii")
