"""Does time tell somebody else's container from one that does not exist? Prints both distributions.

    python -m tests.chaos.ownership_timing [--requests 5000]

Requests for the two alternate at random, one at a time, so that whatever else the machine does falls on both alike.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import tempfile
import time
from math import sqrt
from pathlib import Path
from statistics import fmean, quantiles, stdev
from uuid import uuid4

import structlog

from tests.e2e.serving import ServingGateway, serving_gateway

FOREIGN = 50


async def measured(gateway: ServingGateway, requests: int) -> dict[str, list[float]]:
    """Microseconds for each request, by whether its container exists."""
    theirs, ours = await gateway.make_key(team_id="far"), await gateway.make_key(team_id="sea")
    foreign = []
    for _ in range(FOREIGN):
        made = await gateway.client.post(
            "/v1/containers", json={"name": "n"}, headers={"Authorization": f"Bearer {theirs}"}
        )
        foreign.append(made.json()["id"])
    taken: dict[str, list[float]] = {"foreign": [], "unknown": []}
    headers = {"Authorization": f"Bearer {ours}"}
    for number in range(-200, requests):  # the first warm everything up
        kind = random.choice(["foreign", "unknown"])
        container_id = random.choice(foreign) if kind == "foreign" else f"cntr_{uuid4().hex}{uuid4().hex[:16]}"
        begun = time.perf_counter()
        answer = await gateway.client.get(f"/v1/containers/{container_id}", headers=headers)
        seconds = time.perf_counter() - begun
        assert answer.status_code == 404
        if number >= 0:
            taken[kind].append(seconds * 1e6)
    return taken


def shown(taken: dict[str, list[float]]) -> str:
    """Both distributions, and how far apart their means are in standard errors, without the slowest hundredth."""
    lines, kept = [], {}
    for kind, micros in taken.items():
        cuts = quantiles(micros, n=100)
        p5, p50, p95, p99 = cuts[4], cuts[49], cuts[94], cuts[98]
        kept[kind] = [it for it in micros if it <= p99]
        lines.append(f"{kind:8} {len(micros):6} requests  p5 {p5:.0f}  p50 {p50:.0f}  p95 {p95:.0f}  p99 {p99:.0f} µs")
    one, other = kept["foreign"], kept["unknown"]
    apart = fmean(one) - fmean(other)
    error = sqrt(stdev(one) ** 2 / len(one) + stdev(other) ** 2 / len(other))
    lines.append(f"means: foreign is {apart:+.1f} µs, {apart / error:+.1f} standard errors")
    return "\n".join(lines)


async def main(requests: int) -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as folder:
        async with serving_gateway(Path(folder)) as gateway:
            print(shown(await measured(gateway, requests)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5000)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(main(parser.parse_args().requests))
