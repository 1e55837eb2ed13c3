"""The registry against a plain model: random operations by random principals at two replicas of one database.

    python -m tests.chaos.registry_model --operations 100000 [--seed 7]

The model is a dictionary of containers. What a replica answers must be what the model says now, or what it said at some
time since that replica last followed the other's changes; what was changed at a replica itself counts there at once,
and lists are never behind. Prints what was done, and fails at the first answer that is neither.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from app.domain.containers import Access, Answer, Container, Creation, Ending, Ownership
from app.domain.errors import GatewayError
from app.domain.identity import MASTER, ContainerScope, Holder, Principal, VirtualKey
from app.domain.ports import ContainerQuery, UnknownCursor
from app.gateway.authorize import Gate
from app.registry.ownership import Ownerships
from app.storage.containers import SqlContainerStore
from app.storage.creations import SqlCreationStore
from app.storage.engine import Database
from quaymaster.operations import OPERATIONS, Operation
from tests.storage.spending import order

NAMES = ("crate", "barrel")
DEPLOYMENTS = ("here", "there")
TEAMS = ("x", "team:x", "y", None, None)
USERS = ("x", "z", "team:x", None, None)
BEGINNING = datetime(2026, 8, 1, tzinfo=UTC)
ANSWER = Answer(status=200, content_type="application/json", body=b"{}")
ON_CONTAINERS = [operation for operation in OPERATIONS if "{container_id}" in operation.path]
MOST_ALIVE = 60
"""Few enough that operations meet."""


@dataclass(frozen=True)
class Truth:
    """What there is to know of a container."""

    owner: str | None
    deployment: str
    shares: tuple[tuple[str, Access], ...] = ()
    deleted: bool = False

    def right(self, principal: Principal) -> str:
        """What a principal may do with it: all, write, read or nothing."""
        if principal.sees_all:
            return "all"
        if self.deleted:
            return "nothing"
        if self.owner == principal.owner:
            return "write"
        held = {access for identity, access in self.shares if identity in principal.identities}
        return "write" if Access.WRITE in held else "read" if held else "nothing"


@dataclass
class Box:
    """A container of the model. `past` has, by replica, which of its truths that may still believe."""

    number: int
    container_id: str
    name: str
    created_at: datetime
    truth: Truth
    past: dict[int, list[Truth]] = field(default_factory=dict)

    def believable(self, replica: int) -> list[Truth]:
        return [self.truth, *self.past.get(replica, ())]


class Replica:
    """One process's view: its own connections, memory and gate."""

    def __init__(self, url: str) -> None:
        self.database = Database.open(url)
        self.store = SqlContainerStore(self.database)
        self.creations = SqlCreationStore(self.database)
        self.ownerships = Ownerships(self.store, unknown_seconds=0.0)
        self.gate = Gate(self.ownerships, self.store)


class Run:
    """One run: the model, two replicas, and operations that are done to all of them."""

    def __init__(self, url: str, seed: int) -> None:
        self.replicas = [Replica(url), Replica(url)]
        self.random = random.Random(seed)
        self.boxes: list[Box] = []
        self.keys = [self._new_key() for _ in range(8)]
        self.made = 0
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    async def open(self) -> None:
        await self.replicas[0].database.migrate()
        for replica in self.replicas:
            await replica.ownerships.follow()

    async def close(self) -> None:
        for replica in self.replicas:
            await replica.database.close()

    async def run(self, operations: int) -> None:
        """Do so many operations. Raises AssertionError."""
        kinds: dict[Callable[[int], Awaitable[None]], int] = {
            self.pass_gate: 50,
            self.page: 15,
            self.create: 7,
            self.share: 7,
            self.unshare: 5,
            self.adopt: 3,
            self.delete: 5,
            self.follow: 5,
            self.change_key: 2,
            self.walk: 1,
        }
        chosen = self.random.choices(list(kinds), list(kinds.values()), k=operations)
        for number, operation in enumerate(chosen):
            try:
                await operation(self.random.randrange(len(self.replicas)))
            except AssertionError as wrong:
                raise AssertionError(f"operation {number}, {operation.__name__}: {wrong}") from wrong
            self.done[operation.__name__] += 1

    # What changes something.

    async def create(self, at: int) -> None:
        principal = self._principal()
        replica = self.replicas[at]
        number = self.made = self.made + 1
        dead = [box for box in self.boxes if box.truth.deleted]
        again = self.random.choice(dead) if dead and self.random.random() < 0.1 else None
        container_id = again.container_id if again is not None else f"cntr_{uuid4().hex}{uuid4().hex[:16]}"
        now = BEGINNING + timedelta(seconds=number // 3)  # several in the same second
        made = Container(
            container_id=container_id,
            owner=principal.owner,
            deployment=self.random.choice(DEPLOYMENTS),
            created_at=now,
            seen_at=now,
            name=self.random.choice(NAMES),
            document=b"{}",
        )
        creation = Creation(
            creation_id=uuid4().hex,
            owner=principal.owner,
            key_id=principal.key_id,
            deployment=made.deployment,
            name=made.name,
            fingerprint=b"1" * 32,
            started_at=now,
            lease_until=now,
        )
        await replica.creations.begin(creation, order(started_at=now), same_key_since=BEGINNING)
        await replica.creations.complete(creation.creation_id, made, ANSWER)
        replica.ownerships.remember(
            Ownership(container_id=container_id, owner=principal.owner, deployment=made.deployment)
        )
        truth = Truth(principal.owner, made.deployment)
        if again is None:
            self.boxes.append(Box(number, container_id, made.name, now, truth))
        else:  # an upstream uses an id again: its row stays where it was registered
            again.name, again.created_at = made.name, now
            self._change(again, at, truth)
        await self._keep_few(at)

    async def share(self, at: int) -> None:
        box, identity = self._box(), self._identity()
        if box is None or box.truth.deleted:
            return
        access = self.random.choice(list(Access))
        assert await self.replicas[at].store.share(box.container_id, identity, access)
        self.replicas[at].ownerships.forget(box.container_id)
        shares = {**dict(box.truth.shares), identity: access}
        self._change(box, at, replace(box.truth, shares=tuple(shares.items())))

    async def unshare(self, at: int) -> None:
        box = self._box()
        if box is None:
            return
        shares = dict(box.truth.shares)
        identity = self.random.choice([*shares, self._identity()])
        was_shared = await self.replicas[at].store.share(box.container_id, identity, None)
        self.replicas[at].ownerships.forget(box.container_id)
        assert was_shared == (identity in shares)
        shares.pop(identity, None)
        self._change(box, at, replace(box.truth, shares=tuple(shares.items())))

    async def adopt(self, at: int) -> None:
        box = self._box()
        if box is None or box.truth.deleted:
            return
        owner = self.random.choice([None, self._principal().owner, self._principal().owner])
        known = Container(
            container_id=box.container_id,
            owner=owner,
            deployment=box.truth.deployment,
            created_at=box.created_at,
            seen_at=box.created_at,
            name=box.name,
            document=b"{}",
        )
        await self.replicas[at].store.adopt(known)
        self.replicas[at].ownerships.forget(box.container_id)
        self._change(box, at, replace(box.truth, owner=owner, shares=()))

    async def delete(self, at: int) -> None:
        box, principal = self._box(), self._principal()
        if box is None or not await self._passes(box, at, principal, _operation("containers.delete")):
            return
        await self._end(box, at)

    async def change_key(self, at: int) -> None:
        place = self.random.randrange(len(self.keys))
        key = self.keys[place]
        self.keys[place] = replace(
            key, team_id=self.random.choice(TEAMS), user_id=self.random.choice(USERS), secret_hash=uuid4().bytes
        )

    async def follow(self, at: int) -> None:
        await self.replicas[at].ownerships.follow()
        for box in self.boxes:
            # That something was deleted elsewhere is not followed: its upstream says so. Its rights are.
            box.past[at] = [replace(box.truth, deleted=False)] if box.truth.deleted else []

    # What only asks.

    async def pass_gate(self, at: int) -> None:
        box = self._box()
        if box is None:
            return
        await self._passes(box, at, self._principal(), self.random.choice(ON_CONTAINERS))

    async def page(self, at: int) -> None:
        principal = self._principal()
        limit, descending = self.random.randint(1, 8), self.random.random() < 0.5
        name = self.random.choice((*NAMES, None, None))
        deployments = self.random.choice((None, frozenset({"here"})))
        cursor = self._box() if self.random.random() < 0.6 else None
        after = None if cursor is None else cursor.container_id
        query = ContainerQuery(
            owner=principal.owner,
            identities=principal.identities,
            deployments=deployments,
            name=name,
            after=after,
            limit=limit,
            descending=descending,
        )
        expected = self._page(query, cursor)
        try:
            found, has_more = await self.replicas[at].store.page(query)
        except UnknownCursor:
            self.refused["unknown cursor"] += 1
            assert expected is None, f"the cursor {after} is in the list of {principal.owner}"
            return
        assert expected is not None, f"the cursor {after} is not in the list of {principal.owner}"
        ids = [container.container_id for container in found]
        assert (ids, has_more) == expected, f"{query}: {ids}, {has_more} instead of {expected}"

    async def walk(self, at: int) -> None:
        """Every page, one after the other."""
        principal = self._principal()
        query = ContainerQuery(owner=principal.owner, identities=principal.identities, limit=self.random.randint(1, 7))
        ids: list[str] = []
        while True:
            found, has_more = await self.replicas[at].store.page(query)
            ids += [container.container_id for container in found]
            if not has_more:
                break
            query = replace(query, after=ids[-1])
        assert ids == [box.container_id for box in self._listed(query)[::-1]]

    # The model.

    async def _passes(self, box: Box, at: int, principal: Principal, operation: Operation) -> bool:
        """Whether the gate lets this pass, having checked that it may say so."""
        rights = {truth.right(principal) for truth in box.believable(at)}
        try:
            known = await self.replicas[at].gate.container(principal, operation, box.container_id)
        except GatewayError as refusal:
            self.refused[refusal.code] += 1
            code = refusal.code.value
            assert code in {"container_not_found", "operation_not_allowed"}, code
            right = "nothing" if code == "container_not_found" else "read"
            assert right in rights, self._wrong(box, at, principal, operation, code)
            assert right == "nothing" or operation.method != "GET"
            return False
        passing = {"all", "write"} | ({"read"} if operation.method == "GET" else set())
        assert rights & passing, self._wrong(box, at, principal, operation, f"passed as {known}")
        assert known is not None
        assert known.deployment in {truth.deployment for truth in box.believable(at)}
        return True

    def _wrong(self, box: Box, at: int, principal: Principal, operation: Operation, came: str) -> str:
        return f"{operation.name} by {principal.owner} {principal.identities} at {at}: {came}; {box.believable(at)}"

    async def _end(self, box: Box, at: int) -> None:
        await self.replicas[at].store.end(box.container_id, Ending.DELETED, datetime.now(UTC))
        self.replicas[at].ownerships.deleted(box.container_id)
        self._change(box, at, replace(box.truth, deleted=True))

    def _change(self, box: Box, at: int, truth: Truth) -> None:
        for other in range(len(self.replicas)):
            box.past[other] = [] if other == at else [box.truth, *box.past.get(other, ())]
        box.truth = truth

    def _listed(self, query: ContainerQuery) -> list[Box]:
        """Everything that is on some page of this query, the oldest first."""
        seen = [box for box in self.boxes if self._in_list(box, query) and not box.truth.deleted]
        return sorted(seen, key=_place)

    def _page(self, query: ContainerQuery, cursor: Box | None) -> tuple[list[str], bool] | None:
        if cursor is not None and not self._in_list(cursor, query):
            return None
        boxes = self._listed(query)
        if cursor is not None:
            at = _place(cursor)
            boxes = [box for box in boxes if (_place(box) < at if query.descending else _place(box) > at)]
        ids = [box.container_id for box in (boxes[::-1] if query.descending else boxes)]
        return ids[: query.limit], len(ids) > query.limit

    @staticmethod
    def _in_list(box: Box, query: ContainerQuery) -> bool:
        shared = any(identity in query.identities for identity, _ in box.truth.shares)
        return (
            (box.truth.owner == query.owner or shared)
            and query.name in {None, box.name}
            and (query.deployments is None or box.truth.deployment in query.deployments)
        )

    async def _keep_few(self, at: int) -> None:
        alive = [box for box in self.boxes if not box.truth.deleted]
        for box in alive[:-MOST_ALIVE]:
            await self._end(box, at)
        dead = [box for box in self.boxes if box.truth.deleted]
        for box in dead[:-MOST_ALIVE]:  # it stays in the database, and must never be on a page again
            self.boxes.remove(box)

    def _box(self) -> Box | None:
        return self.random.choice(self.boxes) if self.boxes else None

    def _principal(self) -> Principal:
        return MASTER if self.random.random() < 0.05 else Principal.of(Holder(key=self.random.choice(self.keys)))

    def _identity(self) -> str:
        return self.random.choice([*Principal.of(Holder(key=self.random.choice(self.keys))).identities, "team:nobody"])

    def _new_key(self) -> VirtualKey:
        return VirtualKey(
            key_id=f"{self.random.getrandbits(64):016x}",
            secret_hash=b"1" * 32,
            created_at=BEGINNING,
            updated_at=BEGINNING,
            team_id=self.random.choice(TEAMS),
            user_id=self.random.choice(USERS),
            container_scope=ContainerScope.ALL if self.random.random() < 0.1 else ContainerScope.OWN,
        )


def _place(box: Box) -> tuple[datetime, int]:
    return box.created_at, box.number


def _operation(name: str) -> Operation:
    return next(operation for operation in OPERATIONS if operation.name == name)


async def run_model(folder: Path, operations: int, seed: int) -> Run:
    """Do so many operations on a new database in this folder; what was done. Raises AssertionError."""
    run = Run(f"sqlite:///{folder}/registry.db", seed)
    try:
        await run.open()
        await run.run(operations)
    finally:
        await run.close()
    return run


def main() -> None:
    """Run, and print what was done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="quaymaster-model-") as folder:
        run = asyncio.run(run_model(Path(folder), arguments.operations, arguments.seed))
    print(f"{arguments.operations} operations in {time.monotonic() - begun:.0f} s, none of them wrong")
    print("done:", ", ".join(f"{name} {count}" for name, count in run.done.most_common()))
    print("refused:", ", ".join(f"{code} {count}" for code, count in run.refused.most_common()))


if __name__ == "__main__":
    main()
