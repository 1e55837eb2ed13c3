"""A gateway whose books are looked at from outside, by HTTP and SQL, and an upstream that can be made to misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.rows import let_leases_end, query, until
from tests.e2e.serving import ServingGateway, fronting
from tests.fakes.quay import JSON, Instead, Quay
from tests.fakes.scripted import Peer, reply

WHOLE, LEAST = 30_000_000, 7_500_000
"""What a container of 1 GB costs for 20 minutes, and at least, in nano-USD."""


class Berth(Quay):
    """A quay that forgets what is deleted, and may be made to answer deletions otherwise: `may_delete` holds those
    that have come in (`deleting`) back, `instead_of_deleting` says something else once they are done."""

    def __init__(self) -> None:
        super().__init__()
        self.deleting = asyncio.Event()
        self.may_delete = asyncio.Event()
        self.may_delete.set()
        self.deletions = 0
        self.instead_of_deleting: list[Instead] = []

    async def __call__(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            container_id = request.target.decode().partition("?")[0].removeprefix("/v1/containers").strip("/")
            if request.method == b"POST":
                await self._create(peer, request)
            elif request.method == b"DELETE":
                await self._delete(peer, container_id)
            elif container_id:
                found = [one for one in self.made if one["id"] == container_id]
                await peer.send(said(found[0]) if found else unknown(container_id))
            else:
                await peer.send(reply(200, self._page(request), JSON))

    async def _delete(self, peer: Peer, container_id: str) -> None:
        self.deletions += 1
        self.deleting.set()
        await self.may_delete.wait()
        found = [one for one in self.made if one["id"] == container_id]
        self.made = [one for one in self.made if one["id"] != container_id]
        answer = unknown(container_id)
        if found:
            answer = said({"id": container_id, "object": "container.deleted", "deleted": True})
        if self.instead_of_deleting:
            await self.instead_of_deleting.pop(0)(peer, answer)
        else:
            await peer.send(answer)


def said(document: Any) -> bytes:
    """A good answer."""
    return reply(200, json.dumps(document).encode(), JSON)


def unknown(container_id: str) -> bytes:
    """The answer for a container that is not there."""
    error = {"error": {"message": f"Container with id '{container_id}' not found.", "type": "invalid_request_error"}}
    return reply(404, json.dumps(error).encode(), JSON)


class Books:
    """A gateway and what is on its books."""

    def __init__(self, folder: Path, gateway: ServingGateway, berth: Berth) -> None:
        self.folder = folder
        self.gateway = gateway
        self.berth = berth

    async def ask(self, key: str, method: str, path: str = "", **request: Any) -> httpx.Response:
        """Send a request with this key."""
        headers = {"Authorization": f"Bearer {key}"} | request.pop("headers", {})
        return await self.gateway.client.request(method, f"/v1/containers{path}", headers=headers, **request)

    async def make(self, key: str, **fields: Any) -> str:
        """Make a container; its id."""
        made = await self.ask(key, "POST", json={"name": "crate"} | fields)
        assert made.status_code == 200, made.text
        container_id: str = made.json()["id"]
        return container_id

    async def delete(self, key: str, container_id: str) -> httpx.Response:
        """Delete one."""
        return await self.ask(key, "DELETE", f"/{container_id}")

    async def admin(self, path: str, **fields: Any) -> Any:
        """Change something as the master key; what is answered."""
        answer = await self.gateway.client.post(path, json=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def see(self, path: str, **asked: str) -> Any:
        """Look something up as the master key."""
        answer = await self.gateway.client.get(path, params=asked)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def balance(self, account: str) -> tuple[int, int, int]:
        """What an account has reserved, spent and alive."""
        (row,) = self.rows(f"SELECT * FROM balances WHERE account LIKE '{account}%'")
        return row["reserved_nanousd"], row["spent_nanousd"], row["containers"]

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """Run a statement on its database."""
        return query(self.folder, statement)

    def agree(self) -> None:
        """Each balance is the sum of its entries, and what is reserved is that of the holds that are open."""
        for row in self.rows("SELECT * FROM balances"):
            kind, _, name = row["account"].partition(":")
            (entered,) = self.rows(
                "SELECT coalesce(sum(reserved_nanousd), 0) AS reserved, coalesce(sum(spent_nanousd), 0) AS spent"
                f" FROM ledger_entries WHERE {kind}_id = '{name}'"
            )
            (held,) = self.rows(
                "SELECT coalesce(sum(reserved_nanousd), 0) AS reserved, count(*) AS alive"
                f" FROM holds WHERE closed_at IS NULL AND {kind}_id = '{name}'"
            )
            assert entered == {"reserved": row["reserved_nanousd"], "spent": row["spent_nanousd"]}
            assert held == {"reserved": row["reserved_nanousd"], "alive": row["containers"]}

    async def decided(self) -> None:
        """Let two minutes pass, and what became of the creates that nobody saw the end of be found out."""
        for made in self.berth.made:
            made["created_at"] -= 120
        let_leases_end(self.folder)
        self.rows("DELETE FROM turns")
        await until(lambda: not self.rows("SELECT * FROM creations WHERE state = 'pending'"))
        self.wait_to_decide()

    def wait_to_decide(self) -> None:
        """Let nobody look for what became of creates until `decided`: between two clocks he would be wrong."""
        self.rows("INSERT OR REPLACE INTO turns VALUES ('reconcile', '9999-01-01 00:00:00.000000')")


def nanousd(answer: httpx.Response) -> int:
    """What an answer says that it cost."""
    return round(float(answer.headers["x-quaymaster-cost-usd"]) * 1e9)


@asynccontextmanager
async def keeping_books(folder: Path) -> AsyncIterator[Books]:
    """Serve a gateway in this folder, whose books have to agree at the end."""
    berth = Berth()
    async with fronting(folder, berth) as (gateway, _):
        books = Books(folder, gateway, berth)
        books.wait_to_decide()
        yield books
        books.agree()
