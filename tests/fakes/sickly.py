"""A deployment that falls ill, and gets better, when a test says so.

berth = Sickly()
async with ScriptedUpstream(berth) as upstream:
    ...
    berth.how = "resets"
"""

from __future__ import annotations

from typing import Literal

from tests.fakes.listing import JSON, Listing
from tests.fakes.scripted import Peer, reply

Illness = Literal["refuses", "fails", "resets", "hangs"]
REFUSAL = b'{"error":{"message":"no such key","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}'


class Sickly:
    """A script. `how` is what it does with requests, None to answer them; `asked` are those it had, in their order."""

    def __init__(self) -> None:
        self.listing = Listing()
        self.how: Illness | None = None
        self.asked: list[str] = []

    async def __call__(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            method, target = request.method.decode(), request.target.decode()
            self.asked.append(f"{method} {target}")
            match self.how:
                case None:
                    answered = await self.listing.send(request.method, request.target, [], bytes(request.body))
                    await peer.send(reply(answered.status, await answered.read(), *JSON))
                case "refuses":
                    await peer.send(reply(401, REFUSAL, *JSON))
                case "fails":
                    await peer.send(reply(500, b"{}", *JSON))
                case "resets":
                    peer.reset()
                    return
                case "hangs":
                    await peer.gone()
                    return
