"""A gateway that spends until it is killed, over and over, and what its books say afterwards.

Nothing of the gateway's own code is used to judge it: only HTTP, its database, and what its upstream has seen.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from tests.e2e.gateway import RunningGateway, forwarding_to, running_gateway
from tests.e2e.rows import query
from tests.fakes.quay import JSON, Quay
from tests.fakes.scripted import Peer, Received, ScriptedUpstream, reply

KEYS = (("ann", "sea"), ("bob", "sea"), ("cid", "air"))
"""The user and the team of each key."""
WORKERS = 3
"""How many use each key at once."""
MAX_CREATES = 40
"""The kill comes after one to so many creates."""
MAX_UPSTREAM_SECONDS = 0.03
WHOLE, LEAST, MINUTE = 30_000_000, 7_500_000, 1_500_000
"""What a container of 1 GB costs for 20 minutes, at least, and for each minute, in nano-USD."""
TEAM_BUDGET = 100 * WHOLE
PATIENCE_SECONDS = 2.0
"""The kill comes after so long at the latest: creates of which nobody knows the end may have used the budget up."""


class Port(Quay):
    """A quay whose containers can be used and deleted, and where one create in four goes wrong in some way."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.deleted: set[str] = set()
        self.refused = 0
        self._random = random.Random(seed)

    @property
    def living(self) -> set[str]:
        """The ids of those that were made and not deleted."""
        return {one["id"] for one in self.made} - self.deleted

    async def __call__(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            container_id = request.target.decode().partition("?")[0].removeprefix("/v1/containers").strip("/")
            if request.method == b"POST":
                await self._create(peer, request)
            elif container_id:
                await self._one(peer, request, container_id)
            else:
                await peer.send(reply(200, self._page(request), JSON))

    async def _one(self, peer: Peer, request: Received, container_id: str) -> None:
        if container_id not in self.living:
            said = {"error": {"message": f"Container with id '{container_id}' not found.", "code": None}}
            await peer.send(reply(404, json.dumps(said).encode(), JSON))
            return
        made = next(one for one in self.made if one["id"] == container_id)
        if request.method == b"DELETE":
            self.deleted.add(container_id)
            made = {"id": container_id, "object": "container.deleted", "deleted": True}
        await asyncio.sleep(self._random.uniform(0, MAX_UPSTREAM_SECONDS))
        await peer.send(reply(200, json.dumps(made).encode(), JSON))

    async def _create(self, peer: Peer, request: Received) -> None:
        what = self._random.choices(["made", 400, 500, "reset", "late 500", "garbage"], [75, 12, 3, 4, 3, 3])[0]
        if isinstance(what, int):
            self.refused += 1
            await peer.send(reply(what, b'{"error":{"message":"no"}}', JSON))
            return
        made = self.make(json.loads(request.body)["name"])
        self.creating.set()
        await asyncio.sleep(self._random.uniform(0, MAX_UPSTREAM_SECONDS))
        match what:
            case "reset":
                peer.reset()
            case "late 500":
                await peer.send(reply(500, b'{"error":{"message":"no"}}', JSON))
            case "garbage":
                await peer.send(reply(200, b'{"id": "cntr_', JSON))
            case _:
                await peer.send(reply(200, json.dumps(made).encode(), JSON))

    def _page(self, request: Received) -> bytes:
        everything = self.made
        self.made = [one for one in everything if one["id"] not in self.deleted]
        try:
            return super()._page(request)
        finally:
            self.made = everything


class Spending:
    """One gateway's folder, its upstream, and what its clients were told.

    `costs` is what answers said that they cost, in nano-USD by request id; `made` and `deleted` are the containers of
    which clients heard that they were: deleted is also what was not there any more when they asked for it.
    """

    def __init__(self, folder: Path, port: Port, origin: str, seed: int, database_url: str | None) -> None:
        self.folder = folder
        self.environment = {} if database_url is None else {"DATABASE_URL": database_url}
        self.port = port
        self.keys: list[str] = []
        self.costs: dict[str, int] = {}
        self.made: dict[str, str] = {}
        """The key of each."""
        self.deleted: set[str] = set()
        self.statuses: Counter[tuple[str, int]] = Counter()
        self._config = forwarding_to(origin, routing={"cooldown_seconds": 0.2})
        self._random = random.Random(seed)

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[RunningGateway]:
        """The gateway, started again in its folder."""
        running = running_gateway(self.folder, self._config, **self.environment)
        gateway = await asyncio.to_thread(running.__enter__)
        try:
            if not self.keys:
                await asyncio.to_thread(self._make_accounts, gateway)
            yield gateway
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)

    async def until_killed(self, gateway: RunningGateway) -> None:
        """Make, use and delete containers, and kill -9 the gateway at some moment of it."""
        enough = len(self.port.made) + self._random.randint(1, MAX_CREATES)
        async with httpx.AsyncClient(base_url=gateway.url, timeout=20) as client:
            users = [asyncio.create_task(self._use(client, key)) for key in self.keys for _ in range(WORKERS)]
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while len(self.port.made) < enough:
                        self.port.creating.clear()
                        await self.port.creating.wait()
            await asyncio.sleep(self._random.uniform(0, MAX_UPSTREAM_SECONDS))
            gateway.process.kill()
            await asyncio.gather(*users)

    async def delete_all(self, gateway: RunningGateway) -> None:
        """Delete what the gateway lists, as the owners."""
        async with httpx.AsyncClient(base_url=gateway.url, timeout=20) as client:
            for key in self.keys:
                listed: list[str] = []
                after: dict[str, str] = {}
                while True:
                    answer = await self._ask(client, key, "GET", "", params={"limit": "100"} | after)
                    page = answer.json()
                    listed += [one["id"] for one in page["data"]]
                    if not page["has_more"]:
                        break
                    after = {"after": page["last_id"]}
                for container_id in listed:
                    await self._ask(client, key, "DELETE", container_id)

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """What the database has."""
        if (url := self.environment.get("DATABASE_URL")) is None:
            return query(self.folder, statement)
        with psycopg.connect(url, row_factory=dict_row) as connection:
            return connection.execute(statement.encode()).fetchall()

    def expire(self) -> None:
        """Let the time of all containers be over that are still held for."""
        earlier = "datetime(covered_until, '-60 minutes') || '.000000'"
        if self.environment:
            earlier = "covered_until - interval '60 minutes'"
        self.rows(f"UPDATE holds SET covered_until = {earlier} WHERE closed_at IS NULL RETURNING hold_id")

    def pending(self) -> int:
        """How many creations are not over."""
        return int(self.rows("SELECT count(*) AS n FROM creations WHERE state = 'pending'")[0]["n"])

    def _make_accounts(self, gateway: RunningGateway) -> None:
        for team in ("sea", "air"):
            budget = TEAM_BUDGET / 1e9
            assert gateway.client.post("/team/new", json={"team_id": team, "max_budget": budget}).status_code == 200
        for user, team in KEYS:
            self.keys.append(gateway.make_key(user_id=user, team_id=team, max_budget=100, tags=[user]))

    async def _use(self, client: httpx.AsyncClient, key: str) -> None:
        """Make a container, use it, delete most: until there is no gateway any more."""
        mine: list[str] = []
        with suppress(httpx.TransportError):
            while True:
                name = "abc"[self.keys.index(key)]  # so that everybody's can be told apart
                answer = await self._ask(client, key, "POST", "", json={"name": name})
                if answer.status_code == 200 and _is_whole(answer):
                    mine.append(answer.json()["id"])
                if mine and self._random.random() < 0.5:
                    await self._ask(client, key, "GET", self._random.choice(mine))
                if mine and (answer.status_code == 429 or self._random.random() < 0.5):
                    gone = mine.pop(self._random.randrange(len(mine)))
                    answers = [self._ask(client, key, "DELETE", gone) for _ in range(self._random.choice([1, 1, 1, 2]))]
                    await _all(answers)
                elif answer.status_code == 429:
                    for old in [one for one, its in self.made.items() if its == key and one not in self.deleted][:3]:
                        await self._ask(client, key, "DELETE", old)

    async def _ask(
        self, client: httpx.AsyncClient, key: str, method: str, container_id: str, **request: Any
    ) -> httpx.Response:
        answer = await client.request(
            method, f"/v1/containers/{container_id}".rstrip("/"), headers={"Authorization": f"Bearer {key}"}, **request
        )
        self.statuses[method, answer.status_code] += 1
        if answer.status_code == 503:  # so many failed that its circuit opened
            assert answer.json()["error"]["code"] == "no_healthy_deployment", answer.text
            await asyncio.sleep(0.1)
        cost = int(Decimal(answer.headers["x-quaymaster-cost-usd"]) * 10**9)
        if cost:
            self.costs[answer.headers["x-request-id"]] = cost
        if answer.status_code == 200 and method == "POST" and _is_whole(answer):
            assert cost == LEAST, (answer.headers, answer.text)
            self.made[answer.json()["id"]] = key
        if answer.status_code in (200, 404) and method == "DELETE":
            self.deleted.add(container_id)
        return answer


def _is_whole(answer: httpx.Response) -> bool:
    try:
        return "id" in answer.json()
    except ValueError:
        return False


async def _all(asking: list[Any]) -> None:
    """Do all of these; the first trouble is raised when all are done."""
    ends = await asyncio.gather(*asking, return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end


@asynccontextmanager
async def spending(folder: Path, seed: int = 0, database_url: str | None = None) -> AsyncIterator[Spending]:
    """An upstream, and a gateway in this folder that is yet to be started, with SQLite or another database."""
    port = Port(seed)
    async with ScriptedUpstream(port) as upstream:
        yield Spending(folder, port, upstream.origin, seed, database_url)


def troubles(run: Spending) -> list[str]:
    """What in the books is not as it has to be at any moment, a line for each: sums, balances, and promises kept."""
    found = [*_sums(run), *_budgets(run)]
    booked = {
        row["request_id"]: row["spent"]
        for row in run.rows("SELECT request_id, sum(spent_nanousd) AS spent FROM ledger_entries GROUP BY request_id")
    }
    for request_id, cost in run.costs.items():
        if booked.get(request_id, 0) < cost:
            found.append(f"{request_id} was told that it costs {cost}; booked are {booked.get(request_id, 0)}")
    holds = {row["container_id"]: row for row in run.rows("SELECT * FROM holds WHERE container_id IS NOT NULL")}
    found += [f"{one} was answered, and there is no hold for it" for one in run.made.keys() - holds.keys()]
    deleted = [one for one in run.deleted & holds.keys() if holds[one]["closed_at"] is None]
    found += [f"{one} was deleted, and is held for" for one in deleted]
    return found


def troubles_at_the_end(run: Spending) -> list[str]:
    """What has to be as well when no create is pending and nothing more is on its way."""
    found = []
    holds = {row["container_id"]: row for row in run.rows("SELECT * FROM holds WHERE container_id IS NOT NULL")}
    registry = {row["container_id"]: row for row in run.rows("SELECT * FROM containers")}
    made = {one["id"] for one in run.port.made}
    found += [f"{one} was made, and nobody pays for it" for one in made - holds.keys()]
    found += [f"{one} is paid for, and was never made" for one in holds.keys() - made]
    found += [f"{one} was made, and is not registered" for one in made - registry.keys()]
    found += [
        f"{one} lives, and the registry says {registry[one]['ending']}"
        for one in run.port.living & registry.keys()
        if registry[one]["ending"] is not None
    ]
    for one in made & holds.keys():
        if holds[one]["spent_nanousd"] < LEAST:
            found.append(f"{one} was made, and cost {holds[one]['spent_nanousd']}")
        if registry.get(one, {}).get("key_id") != holds[one]["key_id"]:
            found.append(f"{one} is of one key and paid for by another")
    for row in run.rows("SELECT * FROM holds WHERE container_id IS NULL"):
        if row["closed_at"] is None or row["spent_nanousd"] or row["reserved_nanousd"]:
            found.append(f"hold {row['hold_id']} is for nothing that was made, and is open or cost something")
    return found


def _sums(run: Spending) -> list[str]:
    """Balances, and what is held, that are not the sums of the entries."""
    found = []
    for kind in ("key", "user", "team"):
        statement = f"""
            SELECT '{kind}:' || {kind}_id AS account, sum(reserved_nanousd) AS reserved, sum(spent_nanousd) AS spent,
                (SELECT count(*) FROM holds WHERE holds.{kind}_id = e.{kind}_id AND closed_at IS NULL) AS alive,
                (SELECT coalesce(sum(reserved_nanousd), 0) FROM holds
                 WHERE holds.{kind}_id = e.{kind}_id AND closed_at IS NULL) AS held
            FROM ledger_entries AS e GROUP BY {kind}_id"""
        for row in run.rows(statement):
            balances = run.rows(f"SELECT * FROM balances WHERE account = '{row['account']}'")
            says = [(one["reserved_nanousd"], one["spent_nanousd"], one["containers"]) for one in balances]
            if says != [(row["reserved"], row["spent"], row["alive"])] or row["held"] != row["reserved"]:
                found.append(f"{row['account']}: balance {says}, entries {row}")
    return found


def _budgets(run: Spending) -> list[str]:
    """Teams that have spent and reserved more than they may: what uses have prolonged comes on top."""
    found = []
    for team in ("sea", "air"):
        (more,) = run.rows(f"""SELECT coalesce(sum(reserved_nanousd), 0) AS nanousd FROM ledger_entries AS e
            WHERE team_id = '{team}' AND kind = 'reserve' AND number >
                (SELECT min(number) FROM ledger_entries WHERE hold_id = e.hold_id)""")
        for row in run.rows(f"SELECT * FROM balances WHERE account = 'team:{team}'"):
            spent = row["spent_nanousd"] - row["spent_before_nanousd"]
            if spent + row["reserved_nanousd"] - more["nanousd"] > TEAM_BUDGET:
                found.append(f"team {team} has spent {spent} and reserved {row['reserved_nanousd']} of {TEAM_BUDGET}")
    return found
