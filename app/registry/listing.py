"""A deployment's own list, page by page, for who looks for something in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Final

from app.domain.containers import Sighting
from app.domain.deployments import Deployment
from app.domain.errors import FaultKind, UpstreamFault
from app.registry.upstream import list_page

MAX_PAGES: Final = 1000
PAGE_SECONDS: Final = 30.0
"""The longest that one page may take."""


async def listed(deployment: Deployment) -> AsyncGenerator[list[Sighting]]:
    """What lives in a deployment, newest first, one page at a time, at most 100,000 containers.

    Raises UpstreamFault.
    """
    after: str | None = None
    cursors: set[str] = set()
    for _ in range(MAX_PAGES):
        asked_at = datetime.now(UTC)
        try:
            async with asyncio.timeout(PAGE_SECONDS):
                page = await list_page(deployment, after=after)
        except TimeoutError:
            raise UpstreamFault(FaultKind.TIMEOUT, "its list took too long", request_sent=True) from None
        yield [sighting for item in page.items if (sighting := Sighting.of(item, asked_at)) is not None]
        if not page.has_more or not page.items:
            return
        after = page.items[-1]["id"]
        if after in cursors:  # it would go round for ever
            return
        cursors.add(after)


async def find_listed(deployment: Deployment, container_id: str) -> Sighting | None:
    """A container, as its deployment's list shows it; None where no page does. Raises UpstreamFault."""
    pages = listed(deployment)
    try:
        async for page in pages:
            for sighting in page:
                if sighting.container_id == container_id:
                    return sighting
    finally:
        await pages.aclose()
    return None
