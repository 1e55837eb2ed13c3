"""A hundred times kill -9 under load, in real time: does every container find its owner within a minute?

    python -m tests.chaos.kill_creates --kills 100 --gateways 5

Several gateways, each with a database and an upstream of its own, make containers for three owners until they are
killed at a random moment, and are started again at once. At the end it waits, and prints how long after the last start
the last container found its owner. Fails where one has none after a minute, or another's. Takes about three minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from tests.chaos.creating import creating

MINUTE = 60.0


async def run(folder: Path, kills: int, seed: int) -> tuple[int, float]:
    """Kill one gateway so many times; how many containers were made, and how long the last was without its owner."""
    async with creating(folder, seed) as run:
        for _ in range(kills):
            async with run.gateway() as gateway:
                await run.until_killed(gateway)
        async with run.gateway() as gateway:
            started_at = time.monotonic()
            while unowned := run.unowned():
                assert time.monotonic() - started_at < MINUTE, f"{len(unowned)} of {len(run.quay.made)} have no owner"
                await asyncio.sleep(0.2)
            seconds = time.monotonic() - started_at
            run.check()
        return len(run.quay.made), seconds


async def main() -> None:
    """Run them all at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--gateways", type=int, default=5)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    each = -(-arguments.kills // arguments.gateways)
    with tempfile.TemporaryDirectory(prefix="quaymaster-chaos-") as folder:
        folders = [Path(tempfile.mkdtemp(dir=folder)) for _ in range(arguments.gateways)]
        runs = [run(one, each, arguments.seed + number) for number, one in enumerate(folders)]
        for made, seconds in await asyncio.gather(*runs):
            print(f"{each} kills, {made} containers, all owned {seconds:.1f} s after the last start")


if __name__ == "__main__":
    asyncio.run(main())
