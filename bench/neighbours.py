"""`python -m bench.neighbours URL AUTHORIZATION CONTAINER SLOW SILENT`: clients that get in everybody's way.

SLOW of them download a large file and read 16 KiB a second, each at a moment of its own; SILENT of them ask what the
upstream never answers. Writes OPEN once every slow one has its first bytes and every silent question is asked, and a
line with ENDED for each whose connection ends before it is told to go.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
from typing import Final

from bench.upstream import SILENT_FILE, SMALL_FILE, content_path

OPEN: Final = "open"
ENDED: Final = "ended"
_PIECE: Final = 16 * 1024
_AT_ONCE: Final = 100


def raise_file_limit() -> None:
    """Let this process and its children have as many open files as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def crowd(port: int, authorization: str, container_id: str, slow: int, silent: int) -> None:
    """Open them all, and keep them for ever."""
    raise_file_limit()
    turns = asyncio.Semaphore(_AT_ONCE)
    opened = [asyncio.Event() for _ in range(slow + silent)]

    async def client(number: int) -> None:
        file_id = SMALL_FILE if number < slow else SILENT_FILE
        path = content_path(container_id, file_id)
        question = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: {authorization}\r\n\r\n".encode()
        loop = asyncio.get_running_loop()
        with socket.socket() as connection:
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _PIECE)  # else the kernel reads for it
            async with turns:
                await loop.sock_connect(connection, ("127.0.0.1", port))
                await loop.sock_sendall(connection, question)
                if number < slow:
                    first = await loop.sock_recv(connection, _PIECE)
                    if not first.startswith(b"HTTP/1.1 200"):
                        print(ENDED, number, first[:200], flush=True)
                opened[number].set()
            if number < slow:
                await asyncio.sleep(number / slow)  # they have nothing to do with each other
            while True:
                if not await loop.sock_recv(connection, _PIECE):
                    break
                await asyncio.sleep(1)
            print(ENDED, number, flush=True)

    async with asyncio.TaskGroup() as group:
        for number in range(slow + silent):
            group.create_task(client(number))
        for each in opened:
            await each.wait()
        print(OPEN, flush=True)


if __name__ == "__main__":
    asyncio.run(crowd(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
