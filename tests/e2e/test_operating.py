"""What an operator does to containers, as the programs that use them notice it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.serving import ServingGateway, serving_gateway
from tests.fakes.yard import Yard


async def make(gateway: ServingGateway, key: str) -> str:
    answer = await gateway.client.post("/v1/containers", json={"name": "crate"}, headers=bearer(key))
    assert answer.status_code == 200, answer.text
    container_id: str = answer.json()["id"]
    return container_id


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def retrieve(gateway: ServingGateway, key: str, container_id: str) -> int:
    return (await gateway.client.get(f"/v1/containers/{container_id}", headers=bearer(key))).status_code


async def delete(gateway: ServingGateway, key: str, container_id: str) -> int:
    return (await gateway.client.delete(f"/v1/containers/{container_id}", headers=bearer(key))).status_code


async def operate(gateway: ServingGateway, what: str, **fields: Any) -> Any:
    answer = await gateway.client.post(f"/container/{what}", json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_adopting_and_sharing_count_with_the_next_request(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path) as gateway:
        sea, lake = [await gateway.make_key(team_id=team) for team in ("sea", "lake")]
        one = await make(gateway, sea)
        assert [await retrieve(gateway, key, one) for key in (sea, lake)] == [200, 404]
        await operate(gateway, "share", container_id=one, team_id="lake")
        assert [await retrieve(gateway, key, one) for key in (sea, lake)] == [200, 200]
        assert await delete(gateway, lake, one) == 403
        await operate(gateway, "unshare", container_id=one, team_id="lake")
        assert [await retrieve(gateway, key, one) for key in (sea, lake)] == [200, 404]
        await operate(gateway, "adopt", container_id=one, key=lake)
        assert [await retrieve(gateway, key, one) for key in (sea, lake)] == [404, 200]
        listed = (await gateway.client.get("/v1/containers", headers=bearer(lake))).json()
        assert [each["id"] for each in listed["data"]] == [one]
        assert await delete(gateway, lake, one) == 200


async def test_what_a_revoked_key_left_behind_is_deleted(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path) as gateway:
        good, leaked = [await gateway.make_key(key_alias=alias, team_id="sea") for alias in ("good", "leaked")]
        kept, doomed = await make(gateway, good), await make(gateway, leaked)
        await gateway.client.post("/key/delete", json={"key_aliases": ["leaked"]})
        answer = await operate(gateway, "reap", revoked_keys=True, dry_run=False)
        assert [(each["id"], each["outcome"]) for each in answer["containers"]] == [(doomed, "deleted")]
        assert [await retrieve(gateway, good, each) for each in (kept, doomed)] == [200, 404]
        listed = (await gateway.client.get("/v1/containers", headers=bearer(good))).json()
        assert [each["id"] for each in listed["data"]] == [kept]


async def test_a_key_chooses_the_deployments_it_is_allowed(tmp_path: Path) -> None:
    deployments = [{"name": name, "provider": "local", "data_dir": str(tmp_path / name)} for name in ("a", "b")]
    async with serving_gateway(tmp_path, json.dumps({"deployments": deployments})) as gateway:
        key = await gateway.make_key(allowed_deployments=["b"])

        async def choose(name: str) -> httpx.Response:
            headers = bearer(key) | {"x-quaymaster-deployment": name}
            return await gateway.client.post("/v1/containers", json={"name": "crate"}, headers=headers)

        assert (await choose("b")).headers["x-quaymaster-deployment"] == "b"
        assert (await choose("a")).status_code == 403


async def test_the_settings_schedule_runs_by_itself(tmp_path: Path) -> None:
    async with Yard() as yard:
        yard.put("cntr_unknown", created_at=1_785_585_600)
        config = {
            "deployments": [
                {"name": "main", "provider": "openai", "api_base": f"{yard.origin}/v1", "api_key": "sk-upstream"}
            ],
            "reap": {"every_seconds": 3600, "unknown": True},
        }
        deleted = asyncio.Event()

        async def watch(line: str) -> None:
            if line.startswith("DELETE"):
                deleted.set()

        yard.before_answer = watch
        async with serving_gateway(tmp_path, json.dumps(config)), asyncio.timeout(10):
            await deleted.wait()
        assert yard.deletions == ["cntr_unknown"]
