"""A process of its own that moves one large file: its memory is nobody else's.

    python -m tests.sdk.mover "async functions" down http://127.0.0.1:4000/v1 file

It moves a small one first, says "ready" on stdout, and waits for a line on stdin; so it does with "done".
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import quaymaster
from tests.sdk.served import CONTAINER, FILE

SMALL = FILE.replace("cd", "ab")


async def move(way: str, direction: str, file_id: str, file: Any, **options: Any) -> None:
    """One file, up or down."""
    if direction == "up" and way == "functions":
        quaymaster.create_container_file(CONTAINER, file, **options)
    elif direction == "up":
        await quaymaster.acreate_container_file(CONTAINER, file, **options)
    elif way == "functions":
        quaymaster.download_container_file(CONTAINER, file_id, to=file, **options)
    else:
        await quaymaster.adownload_container_file(CONTAINER, file_id, to=file, **options)


async def main(way: str, direction: str, api_base: str, path: str) -> None:
    options = {"api_base": api_base, "api_key": "a-key-of-the-test"}
    small = b"small" if direction == "up" else Path("/dev/null")
    await move(way, direction, SMALL, small, **options)
    print("ready", flush=True)
    sys.stdin.readline()
    await move(way, direction, FILE, path, **options)
    print("done", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
