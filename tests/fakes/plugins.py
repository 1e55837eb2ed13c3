"""Plugins for tests that need one in the gateway's own process."""

from __future__ import annotations

import asyncio

from app.domain.exchange import Exchange
from app.hooks.spec import Hooks


class HoldsResponses(Hooks):
    """Lets no answer go on."""

    async def response(self, exchange: Exchange) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()
