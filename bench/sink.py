"""`python -m bench.sink PORT`: the part of the fake upstream that reads uploads, and that never answers.

A thread per connection. A body of known length is thrown away inside the kernel (MSG_TRUNC), without being copied
here: so the reader costs as little as one can, and says how many bytes really came.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import sys
import threading
import time
from typing import Final

from bench.upstream import SILENT_FILE, container

_PIECE: Final = 2**20
_LENGTH: Final = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)
_CHUNKED: Final = re.compile(rb"^transfer-encoding: *chunked", re.IGNORECASE | re.MULTILINE)
_LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
_FILES: Final = re.compile(r"/containers/([^/]+)/files$")
_CONTAINER: Final = re.compile(r"/containers/([^/]+)$")


def main() -> None:
    """Serve until killed."""
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def _serve(connection: socket.socket) -> None:
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while _answer_one(connection):
                pass
        except OSError:
            return  # it went away


def _answer_one(connection: socket.socket) -> bool:
    """Read one request and answer it. False when there are no more."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            return False
        received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    if SILENT_FILE in target:
        while connection.recv(4096):
            pass
        return False
    if (length := _LENGTH.search(head)) is not None:
        size = int(length[1])
        discard(connection, size - len(rest))
    else:
        size = read_chunked(connection, rest) if _CHUNKED.search(head) else 0
    body = answer(method, target.partition("?")[0], size).encode()
    status = b"200 OK" if body else b"501 Not Implemented"
    connection.sendall(
        b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)
    )
    return True


def discard(connection: socket.socket, size: int) -> None:
    """Read `size` bytes and forget them. Raises ConnectionError where fewer come."""
    buffer = bytearray(_PIECE)  # nothing is written there
    while size > 0:
        count = connection.recv_into(buffer, min(size, _PIECE), socket.MSG_TRUNC)
        if not count:
            raise ConnectionError
        size -= count


def read_chunked(connection: socket.socket, received: bytes) -> int:
    """Read a chunked body to its end; returns its size with the chunks' frames, a little more than its own."""
    size, end = len(received), (b"\r\n" + received)[-len(_LAST_CHUNK) :]
    while not end.endswith(_LAST_CHUNK):
        piece = connection.recv(_PIECE)
        if not piece:
            raise ConnectionError
        size += len(piece)
        end = (end + piece)[-len(_LAST_CHUNK) :]
    return size


def answer(method: str, path: str, size: int) -> str:
    """What is said to a request whose body had `size` bytes; nothing where it is none of ours."""
    now = int(time.time())
    if method == "POST" and path.endswith("/containers"):
        return container(f"cntr_{secrets.token_hex(24)}", str(now))
    if method == "GET" and (found := _CONTAINER.search(path)) is not None:
        return container(found[1], str(now))
    if method == "POST" and (found := _FILES.search(path)) is not None:
        file = {
            "id": f"cfile_{secrets.token_hex(16)}",
            "object": "container.file",
            "container_id": found[1],
            "created_at": now,
            "bytes": size,
            "path": "/mnt/data/zeros.bin",
            "source": "user",
        }
        return json.dumps(file)
    return ""


if __name__ == "__main__":
    main()
