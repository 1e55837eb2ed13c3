"""1 GiB up, 1 GiB down, and 1 GiB down over a connection that is cut three times: time and memory of the SDK.

    python -m tests.chaos.sdk_gigabyte

Each in a process of its own, blocking and asynchronous; the file's hash is checked. Fails where a process grows by
32 MiB or more. Takes about a minute.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.e2e.transfers import GIB, MIB
from tests.sdk.lump import moved

LIMIT_BYTES = 32 * MIB


async def main() -> None:
    """Run them, one after the other."""
    with tempfile.TemporaryDirectory(prefix="quaymaster-gigabyte-") as folder:
        for way in ("functions", "async functions"):
            for direction, cuts in (("up", 0), ("down", 0), ("down", 3)):
                result = await moved(way, direction, GIB, Path(folder), cuts)
                label = f"{way}, {direction}, cut {cuts} times"
                print(f"{label:<36} {result.seconds:5.1f} s   grew by {result.grown_bytes / MIB:5.1f} MiB")
                assert result.grown_bytes < LIMIT_BYTES


if __name__ == "__main__":
    asyncio.run(main())
