"""Running the gateway as several processes: workers behind one address, and a host for what only one process may have.

The embedded provider has its data folder for itself, so it gets a process of its own; workers reach it over the
loopback interface with a key that nobody else knows, like any other upstream.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

from app.api.server import why_not
from app.config.problems import ConfigurationError
from app.config.settings import Settings
from app.deployments import Hosted
from app.main import Company, migrate
from app.serving import StartError, banner, master_key_of, run_loop, serve, tell
from app.sparing import models_built_when_used, without
from app.telemetry.logging import configure_logging
from app.telemetry.turns import SharedStdout, open_turns
from app.telemetry.writer import LineWriter
from app.workers.link import Link
from app.workers.sockets import listen, listen_privately, port_of
from app.workers.supervisor import Job, StartFailed, Supervisor
from quaymaster.operations import BASE_PATH

_CANNOT_START: Final = 2


def run_crew(settings: Settings) -> int:
    """Serve from `server.workers` processes until SIGTERM or SIGINT; returns the exit code.

    Raises StartError and ConfigurationError.
    """
    crew = _Crew(settings)
    supervisor = Supervisor(
        crew.jobs(),
        drain_seconds=settings.server.drain_seconds,
        turns=crew.turns,
        on_ready=crew.say_so,
        on_stopping=crew.refuse_connections,
    )
    try:
        return supervisor.run()
    except StartFailed as failed:
        raise StartError(str(failed)) from None
    finally:
        crew.close()


class _Crew:
    """What every process of one gateway has from the first one: sockets, keys, and the libraries, read once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._master_key, self._key_is_new = master_key_of(settings)
        address = settings.server.host, settings.server.port
        try:
            self._places = listen(*address, settings.server.workers)
        except OSError as error:
            raise StartError(why_not(*address, error)) from error
        self._embedded = {one.name: listen_privately() for one in settings.deployments if one.provider == "local"}
        self._hosted = {
            name: Hosted(f"http://127.0.0.1:{port_of([bound])}{BASE_PATH}", secrets.token_urlsafe(32))
            for name, bound in self._embedded.items()
        }
        self.turns = open_turns()
        _import_what_all_need(settings)

    def jobs(self) -> list[Job]:
        """The database first; then the host, where there is something to host, and the workers."""
        host = [Job("host of local", self._host, stops_last=True)] if self._embedded else []
        workers = [Job(f"worker {number}", self._worker(number)) for number in range(1, len(self._places) + 1)]
        return [Job("migration", self._migrate, comes_first=True), *host, *workers]

    def say_so(self) -> None:
        """Tell the operator that all of them serve."""
        new_key = self._master_key if self._key_is_new else None
        tell(banner(self._settings, port_of(self._places[0]), new_key))

    def refuse_connections(self) -> None:
        """Let go of the address, so that it is free when the workers have done the same."""
        _close(each for place in self._places for each in place)

    def close(self) -> None:
        """Let go of what is left, when nobody needs it any more."""
        self.refuse_connections()
        _close(self._embedded.values())
        os.close(self.turns)

    def _migrate(self, end: socket.socket) -> int:
        return self._run(end, lambda _link, _writer: migrate(self._settings))

    def _worker(self, number: int) -> Callable[[socket.socket], int]:
        mine = self._places[number - 1]

        def work(end: socket.socket) -> int:
            _close(each for place in self._places if place is not mine for each in place)
            _close(self._embedded.values())
            return self._run(end, lambda link, writer: self._serve(link, writer, mine))

        return work

    async def _serve(self, link: Link, writer: LineWriter, sockets: list[socket.socket]) -> None:
        await link.open()
        try:
            company = Company(link, self._hosted)
            await serve(
                self._settings, self._master_key, writer, lambda _: link.ready(), company=company, sockets=sockets
            )
        finally:
            await link.aclose()

    def _host(self, end: socket.socket) -> int:
        self.refuse_connections()
        return self._run(end, lambda link, _: self._serve_embedded(link))

    async def _serve_embedded(self, link: Link) -> None:
        from app.local.server import LocalServer  # no worker needs it

        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        async with AsyncExitStack() as stack:
            await link.open()
            stack.push_async_callback(link.aclose)
            for deployment in self._settings.deployments:
                if deployment.data_dir is not None:
                    server = LocalServer(
                        deployment.data_dir,
                        bound=self._embedded[deployment.name],
                        api_key=self._hosted[deployment.name].api_key,
                        max_file_bytes=self._settings.server.max_upload_bytes,
                    )
                    await server.start()
                    stack.push_async_callback(server.stop)
            link.ready()
            await stopped.wait()

    def _run(self, end: socket.socket, main: Callable[[Link, LineWriter], Coroutine[Any, Any, None]]) -> int:
        """Be one of the processes until the end; returns its exit code."""
        link, log = Link(end), self._settings.logging
        writer = configure_logging(log.level, stream=SharedStdout(self.turns), format=log.format)
        try:
            run_loop(main(link, writer))
        except (ConfigurationError, StartError) as error:
            link.failed(str(error))
            return _CANNOT_START
        return 0


def _close(sockets: Iterable[socket.socket]) -> None:
    for each in sockets:
        each.close()


def _import_what_all_need(settings: Settings) -> None:
    """What processes import before they part takes memory once. Nothing here starts a thread."""
    with models_built_when_used(), without("pydantic.v1"):
        import app.control_plane
    with suppress(ImportError):  # a worker says it better
        if not settings.database_url.get_secret_value().startswith("sqlite"):
            import app.storage.postgres
        import app.limits.redis
    if any(deployment.transport == "httpx" for deployment in settings.deployments):
        import app.upstream.client  # noqa: F401
