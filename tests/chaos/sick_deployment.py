"""One of three deployments falls ill under load: how many clients notice, and how much is still sent there.

    python -m tests.chaos.sick_deployment [--creates 2000]

For each illness. Fails where more than a few clients notice, or after the first hundred requests (unless it hangs: that
takes a timeout to see), or where a hundredth of all requests or more are sent there, probes included.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import httpx
import structlog

from tests.e2e.gateway import forwarding_to
from tests.e2e.serving import ServingGateway, serving_gateway
from tests.fakes.scripted import ScriptedUpstream
from tests.fakes.sickly import Illness, Sickly

AT_ONCE = 16


@dataclass
class Fleet:
    """A gateway in front of three deployments, and the key of somebody who makes containers."""

    gateway: ServingGateway
    berths: dict[str, Sickly]
    key: str = ""

    async def create(self) -> httpx.Response:
        return await self.gateway.client.post(
            "/v1/containers", json={"name": "n"}, headers={"Authorization": f"Bearer {self.key}"}
        )

    async def retrieve(self, container_id: str) -> httpx.Response:
        return await self.gateway.client.get(
            f"/v1/containers/{container_id}", headers={"Authorization": f"Bearer {self.key}"}
        )

    async def warmed_up(self) -> None:
        """Let every deployment have made some."""
        assert {answer.status_code for _, answer in await self.load(60)} == {200}
        assert all(len(berth.asked) >= 5 for berth in self.berths.values())

    async def load(self, creates: int) -> list[tuple[int, httpx.Response]]:
        """So many creates, 16 at a time: their numbers in the order they were sent, and their answers."""
        numbers = itertools.count()
        answers: list[tuple[int, httpx.Response]] = []

        async def client() -> None:
            while (number := next(numbers)) < creates:
                answers.append((number, await self.create()))

        await asyncio.gather(*(client() for _ in range(AT_ONCE)))
        return answers

    async def states(self) -> dict[str, dict[str, Any]]:
        """How each deployment is, as /health/readiness says and the metrics agree."""
        answer = await self.gateway.client.get("/health/readiness?details")
        assert answer.status_code == 200
        return {each["deployment"]: each for each in answer.json()["deployments"]}

    async def is_closed(self, name: str) -> bool:
        """Whether new containers are made there, as far as is known."""
        return bool((await self.states())[name]["state"] == "closed")

    async def state_in_metrics(self, name: str) -> str:
        text = (await self.gateway.client.get("/metrics")).text
        prefix = f'quaymaster_deployment_state{{deployment="{name}",state="'
        [state] = [line for line in text.splitlines() if line.startswith(prefix) and line.endswith(" 1.0")]
        return state.removeprefix(prefix).partition('"')[0]


@asynccontextmanager
async def opened_fleet(folder: Path, **settings: Any) -> AsyncIterator[Fleet]:
    """Open everything, and close it. `settings` are the gateway's. Of b alone an answer is not waited for long."""
    async with AsyncExitStack() as stack:
        berths = {name: Sickly() for name in "abc"}
        first, *others = [
            {
                "name": name,
                "provider": "openai",
                "api_base": f"{(await stack.enter_async_context(ScriptedUpstream(berth))).origin}/v1",
                "api_key": f"sk-of-{name}",
                # The others stay well, also while the machine pauses for longer than that: all share one event loop.
                "timeouts": {"read_seconds": 1.0} if name == "b" else {},
            }
            for name, berth in berths.items()
        ]
        config = forwarding_to("http://unused", deployment=first, others=others, **settings)
        gateway = await stack.enter_async_context(serving_gateway(folder, config))
        opened = Fleet(gateway, berths)
        opened.key = await gateway.make_key(team_id="sea")
        yield opened


@dataclass(frozen=True)
class Outage:
    """What came of creates at a fleet whose `b` fell ill: the numbers of those that failed, how many b had, and what
    was said to those that failed."""

    failed: list[int]
    sent_there: int
    said: list[str]


async def outage(it: Fleet, how: Illness, creates: int) -> Outage:
    """Let b fall ill, and go on."""
    berth = it.berths["b"]
    berth.how, before = how, len(berth.asked)
    failed = {number: answer.text for number, answer in await it.load(creates) if answer.status_code != 200}
    return Outage(sorted(failed), len(berth.asked) - before, [failed[number] for number in sorted(failed)])


async def main(creates: int) -> None:
    """Every illness, one after the other."""
    for how in get_args(Illness):
        with tempfile.TemporaryDirectory() as folder:
            async with opened_fleet(Path(folder)) as it:
                await it.warmed_up()
                seen = await outage(it, how, creates)
        share = seen.sent_there / creates
        print(f"{how}: {len(seen.failed)} of {creates} noticed, the last at {max(seen.failed)}; {share:.2%} sent there")
        assert len(seen.failed) <= AT_ONCE
        assert how == "hangs" or max(seen.failed) < 100
        assert share < 0.01


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--creates", type=int, default=2000)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(main(parser.parse_args().creates))
