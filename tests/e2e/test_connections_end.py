"""A connection that has ended is gone: nothing of it waits for the garbage collector."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from weakref import ref

from app.api.protocol import GatewayProtocol
from tests.e2e.raw import head, raw_connection
from tests.e2e.serving import serving_gateway


def end_of_the_only_connection() -> tuple[asyncio.Event, ref[GatewayProtocol]]:
    """What is set when it is gone; whoever lets go of the reference is not told."""
    gone = asyncio.Event()
    [connection] = [each for each in gc.get_objects() if isinstance(each, GatewayProtocol)]
    return gone, ref(connection, lambda _: gone.set())


async def test_an_ended_connection_leaves_no_cycle(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path) as gateway:
        gc.collect()
        gc.disable()
        try:
            async with raw_connection(gateway.port) as client:
                await client.send(head("GET", "/v1/containers/cntr_1"))
                assert (await client.answer()).status == 404
                gone, _connection = end_of_the_only_connection()
            async with asyncio.timeout(5):
                await gone.wait()
        finally:
            gc.enable()
