"""Downloads: from a content stream to where it lands, blocking and asynchronous."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing
from functools import partial
from pathlib import Path

from quaymaster.contents import AsyncContentStream, ContentStream
from quaymaster.landings import Landing
from quaymaster.threads import in_thread
from quaymaster.types import OnProgress


def download(
    stream: Callable[[bool], AbstractContextManager[ContentStream]], landing: Landing, on_progress: OnProgress | None
) -> Path | None:
    """Land a content. `stream` opens it, and is told whether it may begin again. Raises APIError and OSError."""
    try:
        landing.open()
        with stream(landing.can_restart) as content:
            for piece in content.iter_bytes():
                landing.add(piece, content.restarts)
                if landing.is_full:
                    landing.store()
                if on_progress is not None:
                    on_progress(content.received_bytes, content.total_bytes)
        return landing.finish(content.restarts)
    finally:
        landing.close()


async def adownload(
    stream: Callable[[bool], AbstractAsyncContextManager[AsyncContentStream]],
    landing: Landing,
    on_progress: OnProgress | None,
) -> Path | None:
    """`download`, with file work in threads."""
    try:
        await in_thread(landing.open)
        async with stream(landing.can_restart) as content, aclosing(content.aiter_bytes()) as pieces:
            async for piece in pieces:
                landing.add(piece, content.restarts)
                if landing.is_full:
                    await in_thread(landing.store)
                if on_progress is not None:
                    on_progress(content.received_bytes, content.total_bytes)
        return await in_thread(partial(landing.finish, content.restarts))
    finally:
        await in_thread(landing.close)
