"""The rows that requests leave in the database: all of them, soon, and also where the database is slow."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.gateway import running_gateway
from tests.e2e.serving import serving_gateway
from tests.e2e.test_process import command

CONTAINERS = "/v1/containers"


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """What is in the table, by request id."""
    with closing(sqlite3.connect(folder / "data" / "quaymaster.db")) as database:
        database.row_factory = sqlite3.Row
        found = [dict(row) for row in database.execute("SELECT * FROM requests")]
    assert len({row["request_id"] for row in found}) == len(found)
    return {row["request_id"]: row for row in found}


def test_every_request_is_a_row_also_when_the_gateway_stops_at_once(tmp_path: Path) -> None:
    asked: dict[str, tuple[str | None, int]] = {}
    with running_gateway(tmp_path, "logging: {level: error}") as gateway:

        def ask(operation: str | None, method: str, path: str, **more: Any) -> httpx.Response:
            answer = gateway.client.request(method, path, **more)
            asked[answer.headers["x-request-id"]] = (operation, answer.status_code)
            return answer

        key = ask(None, "POST", "/key/generate", json={"allowed_operations": ["containers.list"]}).json()["key"]
        container = ask("containers.create", "POST", CONTAINERS, json={"name": "x"}).json()["id"]
        file = ask("containers.files.create", "POST", f"{CONTAINERS}/{container}/files", files={"file": ("a", b"12")})
        ask("containers.files.content", "GET", f"{CONTAINERS}/{container}/files/{file.json()['id']}/content")
        ask("containers.list", "GET", CONTAINERS)
        ask("containers.create", "POST", CONTAINERS, headers={"Authorization": f"Bearer {key}"}, json={"name": "x"})
        ask("containers.list", "GET", CONTAINERS, headers={"Authorization": "Bearer sk-nobody"})
        ask("containers.retrieve", "GET", f"{CONTAINERS}/cntr_unknown")
        ask("containers.delete", "DELETE", f"{CONTAINERS}/{container}")
        ask(None, "GET", "/nowhere")
        ask(None, "GET", "/key/list")
        for _ in range(300):
            ask("containers.list", "GET", CONTAINERS)
        assert gateway.client.get("/health/liveliness").status_code == 200
        assert gateway.stop() == 0
        assert not [line for line in gateway.lines if '"event":"request"' in line]
    found = rows(tmp_path)
    assert {id: (row["operation"], row["status"]) for id, row in found.items()} == asked
    assert {status for _, status in asked.values()} >= {200, 401, 403, 404}


def test_what_was_over_a_second_ago_survives_kill_9(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        begun = time.monotonic()
        request_id = gateway.client.get(CONTAINERS).headers["x-request-id"]
        while request_id not in rows(tmp_path):
            assert time.monotonic() - begun < 2
            time.sleep(0.05)
        gateway.process.kill()
        gateway.process.wait(10)
    assert request_id in rows(tmp_path)


async def test_new_requests_wait_while_rows_cannot_be_kept(tmp_path: Path) -> None:
    """Requests that need no database, on a database that somebody else keeps locked."""
    async with serving_gateway(tmp_path, "request_log: {max_pending_bytes: 40KiB}") as gateway:
        with closing(sqlite3.connect(tmp_path / "data" / "quaymaster.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting: list[asyncio.Task[httpx.Response]] = []
            answered: list[httpx.Response] = []
            while not waiting:
                asking = asyncio.create_task(gateway.client.get("/nowhere"))
                done, _ = await asyncio.wait([asking], timeout=0.5)
                answered += [task.result() for task in done]
                waiting += [] if done else [asking]
            assert 10 <= len(answered) <= 25
            waiting += [asyncio.create_task(gateway.client.get("/nowhere")) for _ in range(9)]
            assert (await gateway.client.get("/health/liveliness")).status_code == 200
            assert not any(task.done() for task in waiting)
            other.execute("ROLLBACK")
            async with asyncio.timeout(10):
                answered += await asyncio.gather(*waiting)
    assert {answer.status_code for answer in answered} == {404}
    assert {answer.headers["x-request-id"] for answer in answered} == set(rows(tmp_path))


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    done = command(tmp_path, "serve", "--port", "0", QUAYMASTER_REQUEST_LOG__FILE=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.endswith(f"quaymaster: request_log.file: {tmp_path} cannot be written: Is a directory\n")
