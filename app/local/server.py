"""Serving the embedded provider: as an ASGI application, or on a socket of its own inside a running event loop."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn.config
import uvicorn.server

from app.local.application import MAX_FILE_BYTES, LocalApp
from app.local.http import ASGIApp
from quaymaster.operations import BASE_PATH

KEEP_ALIVE_SECONDS: Final = 120
"""Longer than a client's pool keeps an idle connection, so that it is never the server that closes it in between."""


def create_local_app(
    data_dir: Path,
    *,
    api_key: str | None = None,
    clock: Callable[[], float] = time.time,
    max_file_bytes: int = MAX_FILE_BYTES,
) -> LocalApp:
    """The containers API over `data_dir`, for any ASGI server; no lifespan is needed. Close it with `aclose`."""
    return LocalApp(data_dir, api_key=api_key, clock=clock, max_file_bytes=max_file_bytes)


class LocalServer:
    """The embedded provider on a TCP port (0: any free one), in the event loop that starts it.

    `bound` is a socket to serve on in the place of `host` and `port`; whoever made it closes it. Starts once and stops
    once. It leaves the process's signal handlers alone.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        bound: socket.socket | None = None,
        api_key: str | None = None,
        clock: Callable[[], float] = time.time,
        max_file_bytes: int = MAX_FILE_BYTES,
        drain_seconds: int = 5,
    ) -> None:
        self._data_dir = data_dir
        self._address = (host, port)
        self._bound = bound
        self._api_key = api_key
        self._clock = clock
        self._max_file_bytes = max_file_bytes
        self._drain_seconds = drain_seconds
        self._app: LocalApp | None = None
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Open the data folder and the port; returns the base URL, such as "http://127.0.0.1:40123/v1".

        Raises as LocalApp, or OSError where the port cannot be had; nothing stays open then.
        """
        bound = self._bound or _bind(*self._address)
        try:
            self._app = await asyncio.to_thread(
                LocalApp,
                self._data_dir,
                api_key=self._api_key,
                clock=self._clock,
                max_file_bytes=self._max_file_bytes,
            )
            self._server = _Server(self._config(self._app))
            self._serving = asyncio.create_task(self._server.serve(sockets=[bound]), name="local provider")
            self._serving.add_done_callback(self._server.on_end)
            await self._server.settled.wait()
            if self._serving.done():
                self._serving.result()
        except BaseException:
            bound.close()
            await self.stop()
            raise
        host, port = bound.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{BASE_PATH}"

    async def stop(self) -> None:
        """Take no new connections, drain for `drain_seconds`, cut off what is left, and close the data folder."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.wait([self._serving])
            await self._server.cut_off()
        if self._app is not None:
            await self._app.aclose()
        self._app = self._server = self._serving = None

    def _config(self, app: ASGIApp) -> uvicorn.config.Config:
        return uvicorn.config.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            workers=1,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=self._drain_seconds,
        )


class _Server(uvicorn.server.Server):
    """A uvicorn server that is a guest in someone else's process."""

    def __init__(self, config: uvicorn.config.Config) -> None:
        super().__init__(config)
        self.settled = asyncio.Event()
        """Set when it listens, or has failed to."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process's signals are not ours to take."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so when it is listening."""
        await super().startup(sockets)
        self.settled.set()

    def on_end(self, _serving: asyncio.Task[None]) -> None:
        """Nobody waits for a server that has ended."""
        self.settled.set()

    async def cut_off(self) -> None:
        """Drop connections that outlived the drain, and wait until what served them has cleaned up."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound
