"""An application that is not needed yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send


class Late:
    """An ASGI application that `make` makes, on a thread, when it is told to `load` or first asked something; who asks
    then waits for it.

    What `make` raises, those who waited get, and whoever asks next has it made again.
    """

    def __init__(self, make: Callable[[], ASGIApp]) -> None:
        self._make = make
        self._app: ASGIApp | None = None
        self._making: asyncio.Task[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what making it has raised, and what the application raises."""
        if self._app is None:
            self._app = await self._made()
        await self._app(scope, receive, send)

    async def load(self) -> None:
        """Have it made, where it is not yet. Raises what making it raises."""
        if self._app is None:
            self._app = await self._made()

    async def _made(self) -> ASGIApp:
        if self._making is None:
            self._making = asyncio.get_running_loop().create_task(
                asyncio.to_thread(self._make), name="make-application"
            )
            self._making.add_done_callback(self._forget_failure)
        return await asyncio.shield(self._making)  # who leaves does not take it from the others

    def _forget_failure(self, making: asyncio.Task[ASGIApp]) -> None:
        if making.cancelled() or making.exception() is not None:
            self._making = None
