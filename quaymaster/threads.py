"""File work of the asynchronous functions, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Do short work in a thread. Cancellation waits for it to end: nobody is at the file any more after this."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    cancelled: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait({working})
        except asyncio.CancelledError as cancellation:
            cancelled = cancellation
    if cancelled is not None:
        working.exception()
        raise cancelled
    return working.result()
