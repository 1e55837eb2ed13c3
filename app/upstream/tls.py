"""Whom an upstream client trusts."""

from __future__ import annotations

import asyncio
import ssl


class Trust:
    """A TLS context: the given one, or else one that trusts the system's authorities, read once, when first needed."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._reading = asyncio.Lock()

    async def context(self) -> ssl.SSLContext:
        """The context. Reading the authorities takes tens of milliseconds, in a thread."""
        async with self._reading:
            if self._context is None:
                self._context = await asyncio.to_thread(ssl.create_default_context)
            return self._context
