"""Which containers and files a body names, and who is let through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from app.domain.containers import Access, Container, Ending
from app.domain.errors import GatewayError
from app.domain.identity import ALL_OPERATIONS, MASTER, Holder, Principal, Role, VirtualKey
from app.domain.ports import Observations, SeenFile
from app.gateway.authorize import Gate, authorize, referenced
from app.registry.ownership import Ownerships
from app.storage.containers import SqlContainerStore
from app.storage.engine import Database
from quaymaster.operations import CONTAINERS_DELETE, CONTAINERS_RETRIEVE, FILES_CREATE, FILES_LIST, OPERATIONS
from tests.exchanges import opened_exchange

OURS = "cntr_" + "a" * 48
THEIRS = "cntr_" + "b" * 48
NOBODYS = "cntr_" + "c" * 48
UNKNOWN = "cntr_" + "d" * 48
OUR_FILE = "cfile_" + "1" * 32
THEIR_FILE = "cfile_" + "2" * 32
UNKNOWN_FILE = "cfile_" + "3" * 32
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def principal(owner: str, *identities: str) -> Principal:
    return Principal(
        key_id="1" * 16,
        owner=owner,
        is_master=False,
        allowed_operations=ALL_OPERATIONS,
        identities=identities or (owner,),
    )


US = principal("team:us", "team:us", "user:one", "key:" + "1" * 16)


class Registry:
    """A gate over a real database, whose statements are counted."""

    def __init__(self, database: Database) -> None:
        self.store = SqlContainerStore(database)
        self.ownerships = Ownerships(self.store)
        self.gate = Gate(self.ownerships, self.store)
        self.statements: list[str] = []
        event.listen(database._backend.engine, "before_cursor_execute", self._count)

    def _count(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self.statements.append(statement)

    async def adopt(self, container_id: str, owner: str | None) -> None:
        container = Container(
            container_id=container_id, owner=owner, deployment="main", created_at=NOON, seen_at=NOON, name="n"
        )
        await self.store.adopt(container)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    database = Database.open(f"sqlite:///{tmp_path}/registry.db")
    try:
        await database.migrate()
        registry = Registry(database)
        await registry.adopt(OURS, "team:us")
        await registry.adopt(THEIRS, "team:them")
        await registry.adopt(NOBODYS, None)
        await registry.ownerships.follow()
        yield registry
    finally:
        await database.close()


async def refusal(registry: Registry, who: Principal, container_id: str, operation: Any = CONTAINERS_RETRIEVE) -> str:
    with pytest.raises(GatewayError) as refused:
        await registry.gate.container(who, operation, container_id)
    return f"{refused.value.code} {refused.value.message}"


@pytest.mark.parametrize("operation", [operation for operation in OPERATIONS if "{container_id}" in operation.path])
async def test_an_owner_may_do_everything_and_others_learn_nothing(registry: Registry, operation: Any) -> None:
    known = await registry.gate.container(US, operation, OURS)
    assert known is not None
    assert known.deployment == "main"
    for stranger in (THEIRS, NOBODYS, UNKNOWN):
        said = await refusal(registry, US, stranger, operation)
        assert said == f"container_not_found Container with id '{stranger}' not found."


async def test_a_known_container_is_let_through_without_a_statement(registry: Registry) -> None:
    await registry.gate.container(US, FILES_LIST, OURS)
    registry.statements.clear()
    for _ in range(10):
        await registry.gate.container(US, FILES_LIST, OURS)
    assert registry.statements == []


async def test_without_waiting_only_owners_and_those_who_see_all_are_let_through(registry: Registry) -> None:
    assert registry.gate.cached(US, OURS) is None  # nothing is remembered yet
    for container_id in (OURS, THEIRS, NOBODYS):
        await registry.gate.container(MASTER, FILES_LIST, container_id)
    registry.statements.clear()
    passed = {
        name: [each for each in (OURS, THEIRS, NOBODYS, UNKNOWN) if registry.gate.cached(who, each) is not None]
        for name, who in (("us", US), ("master", MASTER))
    }
    assert passed == {"us": [OURS], "master": [OURS, THEIRS, NOBODYS]}
    registry.ownerships.deleted(OURS)
    assert registry.gate.cached(US, OURS) is None
    assert registry.statements == []


async def test_a_refusal_asks_the_same_question_whatever_is_remembered(registry: Registry) -> None:
    await registry.gate.container(MASTER, FILES_LIST, THEIRS)  # now it is remembered
    asked = []
    for stranger in (THEIRS, NOBODYS, UNKNOWN):
        registry.statements.clear()
        await refusal(registry, US, stranger)
        asked.append(list(registry.statements))
    assert asked[0] == asked[1] == asked[2]
    assert asked[0]


async def test_the_master_key_passes_with_registered_and_unknown_ids(registry: Registry) -> None:
    for container_id in (OURS, THEIRS, NOBODYS):
        assert await registry.gate.container(MASTER, CONTAINERS_DELETE, container_id) is not None
    assert await registry.gate.container(MASTER, CONTAINERS_DELETE, UNKNOWN) is None


async def test_a_deleted_container_is_not_found_by_its_owner(registry: Registry) -> None:
    await registry.gate.container(US, CONTAINERS_RETRIEVE, OURS)
    registry.ownerships.deleted(OURS)
    await registry.store.end(OURS, Ending.DELETED, NOON)
    assert "not found" in await refusal(registry, US, OURS)


@pytest.mark.parametrize("grantee", US.identities)
async def test_a_share_reaches_a_key_by_each_of_its_names(registry: Registry, grantee: str) -> None:
    await registry.store.share(THEIRS, grantee, Access.READ)
    assert await registry.gate.container(US, FILES_LIST, THEIRS) is not None
    said = await refusal(registry, US, THEIRS, FILES_CREATE)
    assert said.startswith("operation_not_allowed This container is shared with this key to read, which")
    await registry.store.share(THEIRS, grantee, Access.WRITE)
    await registry.ownerships.follow()
    assert await registry.gate.container(US, FILES_CREATE, THEIRS) is not None
    await registry.store.share(THEIRS, grantee, None)
    await registry.ownerships.follow()
    assert "not found" in await refusal(registry, US, THEIRS, FILES_LIST)


async def test_a_user_whose_name_looks_like_a_team_is_not_that_team(registry: Registry) -> None:
    impostor = principal("user:team:us")
    assert "not found" in await refusal(registry, impostor, OURS)


async def check(registry: Registry, body: Any, who: Principal = US) -> str | None:
    exchange = opened_exchange()
    exchange.request_json = body
    try:
        await registry.gate.check_references(who, exchange)
    except GatewayError as refused:
        return f"{refused.code}: {refused.message}"
    return None


async def test_what_a_body_names_is_checked_like_a_path(registry: Registry) -> None:
    files = ((OURS, OUR_FILE), (THEIRS, THEIR_FILE))
    seen = [SeenFile(container_id=container_id, file_id=file_id, bytes=1) for container_id, file_id in files]
    await registry.store.observe(Observations(files_seen=seen))
    assert await check(registry, {"file_ids": [OUR_FILE, "file-abc"], "container": OURS, "name": THEIRS}) is None
    for stranger in (THEIRS, UNKNOWN):
        assert (
            await check(registry, {"x": [{"y": stranger}]})
            == f"container_not_found: Container with id '{stranger}' not found."
        )
    for stranger in (THEIR_FILE, UNKNOWN_FILE):
        assert await check(registry, {"file_id": stranger}) == f"file_not_found: File {stranger} not found."
    assert await check(registry, {"container": THEIRS, "file_id": UNKNOWN_FILE}, MASTER) is None


@pytest.mark.parametrize(
    ("body", "containers", "files"),
    [
        ({"name": OURS, "description": OUR_FILE}, [], []),
        ({"container_id": "container_id"}, ["container_id"], []),
        ({"containers": ["a", {"id": "b"}, OURS]}, ["a", OURS], []),
        ({"note": OURS, "deep": [[{"k": OUR_FILE}]]}, [OURS], [OUR_FILE]),
        ({"file_ids": ["file-1", OUR_FILE, OUR_FILE]}, [], [OUR_FILE]),
        ({"container": "", "file_id": None, "n": 1}, [], []),
        ({"container": f" {OURS}\n", "file_id": f"{OUR_FILE} "}, [OURS], [OUR_FILE]),
        ("cntr_short", [], []),
    ],
)
def test_references(body: Any, containers: list[str], files: list[str]) -> None:
    found = referenced(body)
    assert sorted(found[0]) == sorted(containers)
    assert found[1] == files


def test_a_deep_body_is_searched_to_its_end() -> None:
    body: Any = OURS
    for _ in range(100_000):
        body = [body]
    assert referenced({"x": body}) == ([OURS], [])


@pytest.mark.parametrize(
    ("role", "allowed", "reason"),
    [
        (Role.VIEWER, ("*",), "its role is viewer"),
        (Role.MEMBER, ("containers.list",), "its allowed_operations do not include it"),
    ],
)
def test_a_refusal_names_the_reason(role: Role, allowed: tuple[str, ...], reason: str) -> None:
    key = VirtualKey(
        key_id="1" * 16, secret_hash=b"", created_at=NOON, updated_at=NOON, role=role, allowed_operations=allowed
    )
    with pytest.raises(GatewayError, match=f"containers.delete: {reason}"):
        authorize(Principal.of(Holder(key=key)), CONTAINERS_DELETE)
