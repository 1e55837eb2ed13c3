"""What an upload's form names is checked like what a JSON body names: somebody else's is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.gateway import forwarding_to
from tests.e2e.serving import ServingGateway, serving_gateway
from tests.e2e.test_provider import MULTIPART, form
from tests.fakes.listing import Listing
from tests.fakes.scripted import ScriptedUpstream

SMALL, LARGE = b"a,b\n", b"0123456789abcdef" * 20_000


class Upload:
    """A gateway, a container of a key's own, and what is somebody else's."""

    def __init__(self, gateway: ServingGateway, upstream: ScriptedUpstream) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.own = self.foreign = self.foreign_file = self.key = ""

    async def prepare(self) -> None:
        self.key, other = await self.gateway.make_key(), await self.gateway.make_key()
        self.own = (await self.post(self.key, "containers", json={"name": "crate"})).json()["id"]
        self.foreign = (await self.post(other, "containers", json={"name": "crate"})).json()["id"]
        made = await self.post(other, f"containers/{self.foreign}/files", json={})
        self.foreign_file = made.json()["id"]
        self.upstream.requests.clear()

    async def post(self, key: str, path: str, **request: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} | request.pop("headers", {})
        return await self.gateway.client.post(f"/v1/{path}", headers=headers, **request)

    async def send(self, *parts: tuple[str, str | None, bytes], key: str | None = None) -> httpx.Response:
        path = f"containers/{self.own}/files"
        return await self.post(key or self.key, path, content=form(*parts), headers=MULTIPART)

    @property
    def whole(self) -> int:
        """Requests that the upstream got to their ends."""
        return sum(request.whole for request in self.upstream.requests)


@asynccontextmanager
async def uploading(folder: Path) -> AsyncIterator[Upload]:
    async with (
        ScriptedUpstream(Listing().serve) as upstream,
        serving_gateway(folder, forwarding_to(upstream.origin)) as gateway,
    ):
        upload = Upload(gateway, upstream)
        await upload.prepare()
        yield upload


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("first", [True, False], ids=["before the file", "after the file"])
async def test_what_is_somebody_elses_is_refused_wherever_it_stands(
    tmp_path: Path, content: bytes, first: bool
) -> None:
    async with uploading(tmp_path) as upload:
        file = ("file", "a.csv", content)
        for name, value in [
            ("file_id", upload.foreign_file),
            ("container_id", upload.foreign),
            ("whatever", upload.foreign),
            ("file_id", "cfile_" + "0" * 32),
        ]:
            field = (name, None, value.encode())
            answer = await upload.send(*((field, file) if first else (file, field)))
            assert answer.status_code == 404, name
            assert value in answer.json()["error"]["message"]
        assert upload.whole == 0


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_what_is_ones_own_passes(tmp_path: Path, content: bytes) -> None:
    async with uploading(tmp_path) as upload:
        parts = [
            ("container_id", None, upload.own.encode()),
            ("file", "a.csv", content),
            ("file_id", None, b"file-1"),
            ("name", None, upload.foreign.encode()),
        ]
        answer = await upload.send(*parts)
        assert answer.status_code == 200, answer.text
        assert upload.upstream.requests[-1].body == form(*parts)


async def test_a_key_that_sees_all_may_name_anything(tmp_path: Path) -> None:
    async with uploading(tmp_path) as upload:
        key = upload.gateway.client.headers["Authorization"].removeprefix("Bearer ")
        answer = await upload.send(("file_id", None, upload.foreign_file.encode()), ("file", "a", LARGE), key=key)
        assert answer.status_code == 200


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/mixed; boundary=x"])
async def test_a_body_that_nobody_can_check_is_refused(tmp_path: Path, kind: str) -> None:
    async with uploading(tmp_path) as upload:
        body = f"file_id={upload.foreign_file}".encode()
        path = f"containers/{upload.own}/files"
        answer = await upload.post(upload.key, path, content=body, headers={"content-type": kind})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "content-type")
        assert upload.upstream.requests == []
