"""A gateway inside the test's own event loop, on a real socket: quick to start, for all but process matters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.api.server import make_server
from app.config.load import load_settings
from app.main import create_app
from tests.e2e.gateway import MASTER_KEY, forwarding_to
from tests.fakes.scripted import Script, ScriptedUpstream


@dataclass
class ServingGateway:
    """A gateway that answers. `client` sends the master key."""

    url: str
    client: httpx.AsyncClient

    @property
    def port(self) -> int:
        """Its TCP port, on 127.0.0.1."""
        return int(self.url.rpartition(":")[2])

    async def make_key(self, **fields: Any) -> str:
        """A new virtual key."""
        answer = await self.client.post("/key/generate", json=fields)
        assert answer.status_code == 200, answer.text
        key: str = answer.json()["key"]
        return key


@asynccontextmanager
async def serving_gateway(folder: Path, config: str = "") -> AsyncIterator[ServingGateway]:
    """Serve a gateway with these settings (YAML) until the context ends."""
    path = folder / "gateway.yaml"
    path.write_text(config or "{}")
    variables = {"QUAYMASTER_MASTER_KEY": MASTER_KEY, "QUAYMASTER_DATA_DIR": str(folder / "data")}
    settings = load_settings(path, variables)
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with create_app(settings, MASTER_KEY) as app:
        server = make_server(
            app,
            host="127.0.0.1",
            port=0,
            max_header_bytes=settings.server.max_header_bytes,
            max_headers=settings.server.max_headers,
            keepalive_seconds=settings.server.keepalive_seconds,
            drain_seconds=settings.server.drain_seconds,
            on_started=started.set_result,
        )
        serving = asyncio.create_task(server.serve())
        url = f"http://127.0.0.1:{await started}"
        headers = {"Authorization": f"Bearer {MASTER_KEY}"}
        try:
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
                yield ServingGateway(url, client)
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def fronting(
    folder: Path, *scripts: Script, **settings: Any
) -> AsyncIterator[tuple[ServingGateway, ScriptedUpstream]]:
    """A gateway in front of an upstream that follows these scripts; `settings` as for `forwarding_to`."""
    async with (
        ScriptedUpstream(*scripts) as upstream,
        serving_gateway(folder, forwarding_to(upstream.origin, **settings)) as gateway,
    ):
        yield gateway, upstream
