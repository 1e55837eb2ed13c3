from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import httpx
import psutil
import pytest

from app.local.data_folder import DataFolder
from app.local.server import LocalServer, create_local_app
from tests.local.hosting import Clock


async def test_it_leaves_signals_alone(tmp_path: Path) -> None:
    def mine(*_arguments: object) -> None: ...

    before = signal.signal(signal.SIGTERM, mine)
    try:
        server = LocalServer(tmp_path)
        await server.start()
        assert signal.getsignal(signal.SIGTERM) is mine
        await server.stop()
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = LocalServer(tmp_path, port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            await server.start()
    DataFolder(tmp_path, Clock()).close()


async def test_the_port_and_the_folder_are_free_after_it(tmp_path: Path) -> None:
    server = LocalServer(tmp_path)
    port = httpx.URL(await server.start()).port
    await server.stop()
    server = LocalServer(tmp_path, port=port or 0)
    url = await server.start()
    assert url == f"http://127.0.0.1:{port}/v1"
    await server.stop()


async def test_stopping_what_never_started(tmp_path: Path) -> None:
    await LocalServer(tmp_path).stop()


async def test_ipv6(tmp_path: Path) -> None:
    server = LocalServer(tmp_path, host="::1")
    try:
        url = await server.start()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{url}/containers")).status_code == 200
    await server.stop()


async def test_a_stuck_upload_is_cut_off_and_leaves_nothing(tmp_path: Path) -> None:
    server = LocalServer(tmp_path, drain_seconds=0)
    url = httpx.URL(await server.start())
    async with httpx.AsyncClient() as client:
        container_id = (await client.post(f"{url}/containers", json={"name": "n"})).json()["id"]
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        b"POST /v1/containers/%s/files HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" % container_id.encode()
    )
    assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
    writer.write(b"--b\r\nContent-Disposition: form-data; name=file\r\n\r\n" + b"x" * 1_000_000)
    await writer.drain()
    await asyncio.wait_for(server.stop(), 10)
    assert list((tmp_path / "blobs").iterdir()) == []
    assert len(asyncio.all_tasks()) == 1
    writer.close()


async def test_a_stuck_download_is_cut_off(tmp_path: Path) -> None:
    server = LocalServer(tmp_path, drain_seconds=0)
    url = httpx.URL(await server.start())
    async with httpx.AsyncClient(base_url=url) as client:
        container_id = (await client.post("/containers", json={"name": "n"})).json()["id"]
        path = f"/containers/{container_id}/files"
        file_id = (await client.post(path, files={"file": ("a", b"x" * 20_000_000)})).json()["id"]
    reader, writer = await asyncio.open_connection(url.host, url.port, limit=1000)
    writer.write(f"GET /v1{path}/{file_id}/content HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.wait_for(server.stop(), 10)
    open_ports = {socket.laddr.port for socket in psutil.Process().net_connections() if socket.status != "TIME_WAIT"}
    assert url.port not in open_ports
    assert len(asyncio.all_tasks()) == 1
    writer.close()


async def test_the_application_serves_without_our_server(tmp_path: Path) -> None:
    app = create_local_app(tmp_path, api_key="sk-local")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://local") as client:
        assert (await client.get("/v1/containers")).status_code == 401
        reply = await client.get("/v1/containers", headers={"authorization": "Bearer sk-local"})
        assert reply.status_code == 200
    await app.aclose()
