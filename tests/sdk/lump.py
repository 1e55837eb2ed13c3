"""A large file, moved by a process of its own: how much memory that takes."""

from __future__ import annotations

import asyncio
import hashlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.memory import MemoryWatch
from tests.e2e.transfers import MIB, blocks, sha256
from tests.fakes.scripted import Peer, ScriptedUpstream, head, reply
from tests.sdk.mover import SMALL
from tests.sdk.served import ETAG
from tests.sdk.test_transfers import MADE


@dataclass
class Lump:
    """A script: sends and takes a large file, and small ones. `cuts` are the bytes after which it hangs up."""

    size: int
    cuts: list[int] = field(default_factory=list)
    taken_bytes: int = 0

    async def __call__(self, peer: Peer) -> None:
        while True:
            request = await peer.head()
            if request.method == b"POST":
                rest = int(request.header(b"content-length") or 0)
                while rest:
                    piece = await peer.receive(min(rest, MIB))
                    rest -= len(piece)
                    self.taken_bytes += len(piece)
                await peer.send(MADE)
            elif SMALL.encode() in request.target:
                await peer.send(reply(200, b"small"))
            else:
                asked = re.fullmatch(rb"bytes=(\d+)-", request.header(b"range") or b"")
                start = int(asked[1]) if asked else 0
                told = (b"content-range", b"bytes %d-%d/%d" % (start, self.size - 1, self.size))
                await peer.send(head(206 if asked else 200, ETAG, told, length=self.size - start))
                if not await self.sent(peer, start):
                    return

    async def sent(self, peer: Peer, start: int) -> bool:
        """Send from there; False where it was cut off."""
        cut = self.cuts.pop(0) if self.cuts else self.size
        for block in self.blocks(start):
            if start + len(block) > cut:
                await peer.send(block[: cut - start])
                return False
            await peer.send(block)
            start += len(block)
        return True

    def blocks(self, start: int) -> Iterator[bytes]:
        for number, block in enumerate(blocks(self.size)):
            if (number + 1) * MIB > start:
                yield block[max(0, start - number * MIB) :]


@dataclass(frozen=True)
class Moved:
    """What moving it took."""

    grown_bytes: int
    seconds: float


async def moved(way: str, direction: str, size: int, folder: Path, cuts: int = 0) -> Moved:
    """Move a file of this size, "up" or "down", and see that all of it arrives."""
    lump = Lump(size, [size * (number + 1) // (cuts + 1) + 7 for number in range(cuts)])
    path = folder / "lump"
    if direction == "up":
        await asyncio.to_thread(write, path, size)
    async with ScriptedUpstream(lump) as upstream:
        command = [
            sys.executable,
            "-W",
            "error",
            "-m",
            "tests.sdk.mover",
            way,
            direction,
            f"{upstream.origin}/v1",
            str(path),
        ]
        mover = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert mover.stdin is not None
        assert mover.stdout is not None
        assert await mover.stdout.readline() == b"ready\n"
        async with MemoryWatch(mover.pid) as memory:
            begun = time.monotonic()
            mover.stdin.write(b"go\n")
            done = await mover.stdout.readline()
            seconds = time.monotonic() - begun
            assert done == b"done\n"
        await mover.communicate(b"\n")
        assert mover.returncode == 0
    if direction == "up":
        assert lump.taken_bytes > size
    else:
        assert not lump.cuts
        assert await asyncio.to_thread(digest, path) == await asyncio.to_thread(sha256, blocks(size))
    path.unlink()
    return Moved(memory.grown_bytes, seconds)


def write(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.writelines(blocks(size))


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
