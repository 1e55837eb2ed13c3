"""Large files, and what sends and takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from tests.e2e.gateway import MASTER_KEY
from tests.e2e.raw import AUTHORIZATION
from tests.e2e.raw import head as request_head
from tests.fakes.scripted import Peer, head, reply

CONTAINER = "cntr_" + "ab" * 24
FILE = "cfile_" + "cd" * 16
FILES = f"/v1/containers/{CONTAINER}/files"
CONTENT = f"{FILES}/{FILE}/content"
JSON = (b"content-type", b"application/json")
MIB = 1024 * 1024
GIB = 1024 * MIB
BLOCK = hashlib.shake_256(b"a block").digest(MIB - 8)
BEARER = {"Authorization": f"Bearer {MASTER_KEY}"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
BUFFERS = 48 * MIB
"""More than the kernel and the gateway hold: four sockets' buffers, which grow to a few megabytes each."""
SOON_SECONDS = 2
"""What the gateway notices it does something about in a fraction of a second; the rest is for a busy machine."""


def blocks(size: int = GIB) -> Iterator[bytes]:
    """A large file, no two megabytes of it alike."""
    for number in range(size // MIB):
        yield number.to_bytes(8, "big") + BLOCK


BEFORE_FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
AFTER_FILE = b"\r\n--b--\r\n"


def multipart(size: int = GIB) -> Iterator[bytes]:
    """The file as a form."""
    yield BEFORE_FILE
    yield from blocks(size)
    yield AFTER_FILE


def upload_head(size: int, *lines: bytes, authorization: bytes = AUTHORIZATION) -> bytes:
    """The head of a request that uploads a file of this size as a form."""
    length = b"Content-Length: %d" % (len(BEFORE_FILE) + size + len(AFTER_FILE))
    form = b"Content-Type: multipart/form-data; boundary=b"
    return request_head("POST", FILES, length, form, *lines, authorization=authorization)


def sha256(pieces: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


async def sends_big_file(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.send(head(200, length=GIB))
        for block in blocks():
            await peer.send(block)


class Sink:
    """An upstream that takes any upload, and keeps its size and hash instead of its bytes."""

    def __init__(self, on_bytes: Callable[[], object] = lambda: None) -> None:
        self.digest = hashlib.sha256()
        self.size = 0
        self.whole = False
        self._on_bytes = on_bytes

    async def __call__(self, peer: Peer) -> None:
        request = await peer.head()
        rest = int(request.header(b"content-length") or 0)
        while rest:
            piece = await peer.receive(min(rest, MIB))
            self.digest.update(piece)
            self.size += len(piece)
            rest -= len(piece)
            self._on_bytes()
        self.whole = True
        await peer.send(reply(200, b"{}", JSON))
