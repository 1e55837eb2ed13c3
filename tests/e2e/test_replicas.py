"""Three gateways on one PostgreSQL: what one of them makes, shares or deletes counts for all of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from app.local.server import LocalServer
from tests.e2e.gateway import RunningGateway, running_gateway

pytestmark = pytest.mark.service


@asynccontextmanager
async def three_gateways(folder: Path, database_url: str) -> AsyncIterator[list[RunningGateway]]:
    """In front of two deployments of one provider."""
    async with AsyncExitStack() as stack:
        deployments = []
        for name in ("left", "right"):
            server = LocalServer(folder / name, api_key=f"sk-{name}", max_file_bytes=1000)
            api_base = await server.start()
            stack.push_async_callback(server.stop)
            deployments.append({"name": name, "provider": "quay", "api_base": api_base, "api_key": f"sk-{name}"})
        gateways = []
        for number in range(3):
            config = json.dumps({"deployments": deployments, "database_url": database_url})
            (home := folder / f"gateway{number}").mkdir()
            context = running_gateway(home, config)
            gateways.append(await asyncio.to_thread(context.__enter__))
            stack.push_async_callback(asyncio.to_thread, context.__exit__, None, None, None)
        yield gateways


async def until(answers: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a change of another process: two seconds, with room for a busy machine."""
    async with asyncio.timeout(6):
        while not await answers():  # noqa: ASYNC110 - no event of ours comes from another process
            await asyncio.sleep(0.05)


async def test_three_gateways_are_one(tmp_path: Path, postgres_url: str) -> None:
    async with three_gateways(tmp_path, postgres_url) as gateways, AsyncExitStack() as stack:
        ours, theirs = [await asyncio.to_thread(gateways[0].make_key, team_id=team) for team in ("sea", "land")]

        async def client(key: str, gateway: RunningGateway) -> httpx.AsyncClient:
            headers = {"Authorization": f"Bearer {key}"}
            return await stack.enter_async_context(
                httpx.AsyncClient(base_url=f"{gateway.url}/v1/containers", headers=headers, timeout=30)
            )

        we = [await client(ours, gateway) for gateway in gateways]
        they = [await client(theirs, gateway) for gateway in gateways]

        made: dict[str, str] = {}
        for number in range(18):  # each goes left or right by chance
            answer = await we[number % 3].post("", json={"name": str(number)})
            made[answer.json()["id"]] = answer.headers["x-quaymaster-deployment"]
        assert set(made.values()) == {"left", "right"}

        for container_id, home in made.items():
            for mine, other in zip(we, they, strict=True):
                found = await mine.get(f"/{container_id}")
                assert (found.status_code, found.headers["x-quaymaster-deployment"]) == (200, home)
                assert (await other.get(f"/{container_id}")).status_code == 404
        for mine, other in zip(we, they, strict=True):
            listed = (await mine.get("")).json()["data"]
            assert [container["id"] for container in listed] == list(reversed(made))
            assert (await other.get("")).json()["data"] == []

        first = next(iter(made))
        asked = {"container_id": first, "team_id": "land"}
        master = gateways[0].client
        assert (await asyncio.to_thread(lambda: master.post("/container/share", json=asked))).status_code == 200

        async def status(expected: int) -> bool:
            return [(await other.get(f"/{first}")).status_code for other in they] == [expected] * 3

        await until(lambda: status(200))
        assert (await asyncio.to_thread(lambda: master.post("/container/unshare", json=asked))).status_code == 200
        await until(lambda: status(404))

        assert (await we[1].delete(f"/{first}")).status_code == 200
        for mine in we:
            assert first not in [container["id"] for container in (await mine.get("")).json()["data"]]
            assert (await mine.get(f"/{first}")).status_code == 404
