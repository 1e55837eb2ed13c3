"""Who may do what with whose container: nine operations, ten actors, six forms of an id, over real sockets.

What is expected stands in a table of its own here. A leak is any success with somebody else's container, and any
difference between what is answered for it and for one that does not exist, in status, body or headers.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine, event

from quaymaster.operations import (
    CONTAINERS_CREATE,
    CONTAINERS_DELETE,
    CONTAINERS_LIST,
    FILES_CREATE,
    OPERATIONS,
    Operation,
)
from tests.e2e.gateway import MASTER_KEY, forwarding_to
from tests.e2e.rows import until
from tests.e2e.serving import ServingGateway, serving_gateway
from tests.fakes.listing import Listing
from tests.fakes.scripted import ScriptedUpstream

FORMS = ("own", "foreign", "unknown", "encoded", "double-encoded", "case-changed")

RIGHTS = {
    "owner": ("write", None),
    "same team": ("write", None),
    "other team": (None, None),
    "shared read": ("read", None),
    "shared write": ("write", None),
    "master": ("all", "all"),
    "scope all": ("all", "all"),
    "revoked": ("nothing", "nothing"),
    "blocked": ("nothing", "nothing"),
    "anonymous": ("nothing", "nothing"),
}
"""What each may do with the container that the team sea made ("own"), and with one of the team far ("foreign")."""

NAMES_OWN_IN_PATH = {"own", "encoded"}
"""A path's segment is decoded once."""
NAMES_OWN_IN_BODY = {"own"}
"""A body is not decoded."""
VARYING = {b"x-request-id", b"x-quaymaster-overhead-ms", b"date"}


class Case(NamedTuple):
    """One request and where its id leads."""

    operation: Operation
    form: str
    segment: str


class Answer(NamedTuple):
    """An answer without what differs every time, and with ID in the place of the id that was asked for."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def expected(actor: str, operation: Operation, form: str) -> str:
    """What is to come of it: done, not found, not allowed, unauthorized, upstream (which is to say what it thinks)."""
    own, foreign = RIGHTS[actor]
    in_path = operation.request.value != "json" or operation is FILES_CREATE
    names_own = form in (NAMES_OWN_IN_PATH if in_path else NAMES_OWN_IN_BODY)
    right = own if names_own else foreign if form == "foreign" else "all" if own == "all" else None
    if own == "nothing":
        return "unauthorized"
    if operation is CONTAINERS_LIST:
        absent = "upstream" if own == "all" else "no such cursor"
        return "done" if right and (names_own or form == "foreign") else absent
    if right == "all":
        return "done" if names_own or form == "foreign" or operation is CONTAINERS_CREATE else "upstream"
    if right is None:
        return "not found"
    if operation is CONTAINERS_CREATE:
        return "done"
    return "not allowed" if right == "read" and operation.method != "GET" else "done"


class Port:
    """A gateway with its actors, a container and a file of the team sea, and the same of the team far."""

    def __init__(self, gateway: ServingGateway) -> None:
        self.gateway = gateway
        self.keys: dict[str, str | None] = {"master": MASTER_KEY, "anonymous": None}
        self.containers: dict[str, str] = {}
        self.files: dict[str, str] = {}

    async def open(self) -> None:
        make = self.gateway.make_key
        self.keys |= {
            "owner": await make(team_id="sea"),
            "same team": await make(team_id="sea", user_id="ann"),
            "other team": await make(team_id="land"),
            "shared read": await make(team_id="air"),
            "shared write": await make(user_id="bob"),
            "scope all": await make(team_id="office", container_scope="all"),
            "revoked": await make(team_id="sea"),
            "blocked": await make(team_id="sea"),
            "far": await make(team_id="far"),
        }
        for whose, key in (("own", "owner"), ("foreign", "far")):
            await self.replenish(whose, key)
        for actor in ("revoked", "blocked"):  # known, and then known to be no more
            assert (await self.ask(actor, "GET", f"/v1/containers/{self.containers['own']}")).status_code == 200
        await self.admin("/key/delete", keys=[self.keys["revoked"]])
        await self.admin("/key/block", key=self.keys["blocked"])

    async def replenish(self, whose: str, key: str) -> None:
        """Another container with a file in it."""
        made = await self.ask(key, "POST", "/v1/containers", json={"name": whose})
        assert made.status_code == 200, made.text
        container_id = made.json()["id"]
        upload = {"file": ("a.txt", b"cargo")}
        file = await self.ask(key, "POST", f"/v1/containers/{container_id}/files", files=upload)
        assert file.status_code == 200, file.text
        self.containers[whose], self.files[whose] = container_id, file.json()["id"]
        if whose == "own":
            await self.admin("/container/share", container_id=container_id, team_id="air", access="read")
            await self.admin("/container/share", container_id=container_id, user_id="bob", access="write")

    async def admin(self, path: str, **fields: Any) -> Any:
        answer = await self.gateway.client.post(path, json=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ask(self, actor: str, method: str, path: str, **options: Any) -> httpx.Response:
        request = self.gateway.client.build_request(method, path, **options)
        key = self.keys[actor]
        if key is None:
            del request.headers["authorization"]
        else:
            request.headers["authorization"] = f"Bearer {key}"
        return await self.gateway.client.send(request)

    def segment(self, form: str) -> str:
        """An id as it stands in a path or body."""
        own = self.containers["own"]
        match form:
            case "own":
                return own
            case "foreign":
                return self.containers["foreign"]
            case "unknown":
                return f"cntr_{uuid4().hex}{uuid4().hex[:16]}"
            case "encoded":
                return own.replace("c", "%63")
            case "double-encoded":
                return own.replace("c", "%2563")
            case "case-changed":
                return own.upper()
        raise ValueError(form)

    async def answer(self, actor: str, case: Case) -> Answer:
        operation, form, segment = case
        whose = "foreign" if form == "foreign" else "own"
        path = operation.path.format(container_id=segment, file_id=self.files[whose])
        options: dict[str, Any] = {}
        if operation is CONTAINERS_CREATE:
            options["json"] = {"name": "new", "from": {"container_id": segment}}
        elif operation is CONTAINERS_LIST:
            path += f"?limit=1&after={segment}"
        elif operation is FILES_CREATE:
            options["files"] = {"file": ("b.txt", b"more cargo")}
        answer = await self.ask(actor, operation.method, f"/v1{path}", **options)
        headers = [(name, b"" if name.lower() in VARYING else value) for name, value in answer.headers.raw]
        body = answer.content
        for told in (segment, httpx.URL(f"http://x/{segment}").path[1:]):
            body = body.replace(told.encode(), b"ID")
        return Answer(answer.status_code, headers, body)


@asynccontextmanager
async def port(folder: Path) -> AsyncIterator[Port]:
    async with serving_gateway(folder) as gateway:
        opened = Port(gateway)
        await opened.open()
        yield opened


def outcome(answer: Answer) -> str:
    """What came of it, by status and words."""
    names = {name.lower() for name, _ in answer.headers}
    from_upstream = b"x-quaymaster-deployment" in names
    if answer.status < 300:
        return "done"
    error = json.loads(answer.body)["error"]
    if answer.status == 401 and error["code"] in {"invalid_api_key", "blocked_api_key"}:
        return "unauthorized"
    if answer.status == 403 and error["code"] == "operation_not_allowed":
        return "not allowed"
    if from_upstream and answer.status in {400, 404}:
        return "upstream"
    if answer.status == 404 and error["message"] == "Container with id 'ID' not found.":
        return "not found"
    if answer.status == 400 and error["message"] == "Invalid 'after': no item with id 'ID'.":
        return "no such cursor"
    return f"{answer.status} {error}"


async def test_everybody_gets_what_the_table_says_and_nobody_more(tmp_path: Path) -> None:
    async with port(tmp_path) as it:
        wrong = [
            found for actor in RIGHTS for operation in OPERATIONS for found in await differences(it, actor, operation)
        ]
    assert wrong == []


async def differences(it: Port, actor: str, operation: Operation) -> list[str]:
    """Where what an actor gets is not what is to come of it, or tells somebody else's container from none."""
    wrong: list[str] = []
    answers: dict[str, Answer] = {}
    for form in FORMS:
        answer = answers[form] = await it.answer(actor, Case(operation, form, it.segment(form)))
        came, wanted = outcome(answer), expected(actor, operation, form)
        if came != wanted:
            wrong.append(f"{actor}, {operation.name}, {form}: {came} instead of {wanted}")
        if operation.method == "DELETE" and came == "done":
            whose = "foreign" if form == "foreign" else "own"
            await it.replenish(whose, "far" if whose == "foreign" else "owner")
    if RIGHTS[actor][1] != "all":
        wrong += [
            f"{actor}, {operation.name}: {form} is told from unknown: {answers[form]} {answers['unknown']}"
            for form in ("foreign", "case-changed")
            if answers[form] != answers["unknown"]
        ]
    return wrong


async def test_a_deleted_container_of_others_is_like_one_that_never_was(tmp_path: Path) -> None:
    async with port(tmp_path) as it:
        deleted = Case(CONTAINERS_DELETE, "foreign", it.segment("foreign"))
        assert (await it.answer("far", deleted)).status == 200
        for operation in OPERATIONS:
            for actor in ("other team", "far"):
                gone, unknown = [
                    await it.answer(actor, Case(operation, form, it.segment(form))) for form in ("foreign", "unknown")
                ]
                if actor == "far" and operation is CONTAINERS_LIST:  # its owner's page after it goes on
                    continue
                assert gone == unknown, (actor, operation.name)


@pytest.mark.parametrize("form", ["json", "multipart", "multipart, after the file"])
async def test_a_file_of_others_cannot_be_named(tmp_path: Path, form: str) -> None:
    """Copying it by its id, into a container of one's own."""
    async with port(tmp_path) as it:
        path = f"/v1/containers/{it.containers['own']}/files"
        told: list[Any] = []
        for file_id in (it.files["foreign"], f"cfile_{uuid4().hex}"):
            if form == "json":
                answer = await it.ask("owner", "POST", path, json={"file_id": file_id})
            else:
                parts: list[tuple[str, Any]] = [("file_id", (None, file_id)), ("file", ("a", b"x"))]
                answer = await it.ask("owner", "POST", path, files=parts if form == "multipart" else parts[::-1])
            raw = [(name, b"" if name.lower() in VARYING else value) for name, value in answer.headers.raw]
            told.append((answer.status_code, raw, answer.content.replace(file_id.encode(), b"ID")))
        assert told[0] == told[1]
        assert told[0][0] == 404
        assert json.loads(told[0][2])["error"]["message"] == "File ID not found."


@pytest.mark.parametrize("field", ["container_id", "note"])
async def test_a_container_of_others_cannot_be_named_in_a_form(tmp_path: Path, field: str) -> None:
    async with port(tmp_path) as it:
        path = f"/v1/containers/{it.containers['own']}/files"
        answers = []
        for segment in (it.segment("foreign"), it.segment("unknown")):
            parts: list[tuple[str, Any]] = [(field, (None, segment)), ("file", ("a", b"x"))]
            answer = await it.ask("owner", "POST", path, files=parts)
            answers.append((answer.status_code, answer.content.replace(segment.encode(), b"ID")))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
        listed = await it.ask("owner", "GET", path)
        assert len(listed.json()["data"]) == 1  # nothing was uploaded


@pytest.mark.parametrize("remembered", [False, True])
async def test_a_refusal_asks_the_database_the_same_and_no_upstream_anything(tmp_path: Path, remembered: bool) -> None:
    listing = Listing()
    async with (
        ScriptedUpstream(listing.serve) as upstream,
        serving_gateway(tmp_path, forwarding_to(upstream.origin)) as gateway,
    ):
        it = Port(gateway)
        it.keys |= {"far": await gateway.make_key(team_id="far"), "owner": await gateway.make_key(team_id="sea")}
        for whose, key in (("foreign", "far"), ("own", "owner")):
            it.containers[whose] = (await it.ask(key, "POST", "/v1/containers", json={"name": whose})).json()["id"]
            it.files[whose] = f"cfile_{uuid4().hex}"
        if remembered:
            assert (await it.ask("far", "GET", f"/v1/containers/{it.containers['foreign']}")).status_code == 200
        await it.ask("owner", "GET", "/v1/containers")  # its sweep is under way before anything is counted
        await until(lambda: any(line.startswith("GET /v1/containers?") for line in listing.asked))
        listing.asked.clear()
        for operation in OPERATIONS:
            asked = []
            for form in ("foreign", "unknown"):
                case = Case(operation, form, it.segment(form))
                with statements_about_containers() as statements:
                    assert outcome(await it.answer("owner", case)) in {"not found", "no such cursor"}
                asked.append(statements)
            assert asked[0] == asked[1], operation.name
            assert len(asked[0]) == 1
        assert listing.asked == []


@contextmanager
def statements_about_containers() -> Iterator[list[str]]:
    """The SQL statements of this process that look for one container by its id."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT") and "containers.container_id = " in statement:
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


# Lists.


async def listed(it: Port, actor: str, query: str = "") -> set[str]:
    answer = await it.ask(actor, "GET", f"/v1/containers?limit=100{query}")
    assert answer.status_code == 200, answer.text
    return {item["id"] for item in answer.json()["data"]}


async def test_each_sees_in_lists_what_it_may_use(tmp_path: Path) -> None:
    async with port(tmp_path) as it:
        own, foreign = it.containers["own"], it.containers["foreign"]
        for actor in ("owner", "same team", "shared read", "shared write"):
            assert await listed(it, actor) == {own}, actor
            assert await listed(it, actor, "&name=foreign") == set()
        assert await listed(it, "other team") == set()
        assert await listed(it, "far") == {foreign}
        for actor in ("master", "scope all"):
            assert await listed(it, actor) == {own, foreign}
        for actor in ("revoked", "blocked", "anonymous"):
            assert (await it.ask(actor, "GET", "/v1/containers")).status_code == 401


# Who an owner is.


async def make(it: Port, key: str, name: str = "n") -> str:
    it.keys["maker"] = key
    made = await it.ask("maker", "POST", "/v1/containers", json={"name": name})
    assert made.status_code == 200, made.text
    container_id: str = made.json()["id"]
    return container_id


async def sees(it: Port, key: str, container_id: str) -> bool:
    """Whether a key may retrieve a container; what it lists has to say the same."""
    it.keys["looker"] = key
    found = (await it.ask("looker", "GET", f"/v1/containers/{container_id}")).status_code
    assert found in {200, 404}
    assert (container_id in await listed(it, "looker")) == (found == 200)
    return found == 200


async def test_without_teams_and_users_every_key_is_for_itself(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path) as gateway:
        it = Port(gateway)
        one, other = await gateway.make_key(), await gateway.make_key()
        made = await make(it, one)
        assert await sees(it, one, made)
        assert not await sees(it, other, made)
        assert await sees(it, MASTER_KEY, made)
        assert not await sees(it, one, await make(it, MASTER_KEY))


async def test_names_of_one_kind_are_not_names_of_another(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path) as gateway:
        it = Port(gateway)
        plain = await gateway.make_key()
        key_id = plain.split("-")[2]
        victims = {
            "team": await make(it, await gateway.make_key(team_id="x")),
            "user": await make(it, await gateway.make_key(user_id="x")),
            "key": await make(it, plain),
            "master": await make(it, MASTER_KEY),
        }
        pretenders = ["x", "team:x", "user:x", "master", key_id, f"key:{key_id}", "team:team:x", "x ", "X", "\uff58"]
        for name in pretenders:
            for kind in ("team", "user"):
                key = await gateway.make_key(**{f"{kind}_id": name})
                seen = {whose for whose, container_id in victims.items() if await sees(it, key, container_id)}
                assert seen == ({kind} if name == "x" else set()), (kind, name)


async def test_a_new_secret_keeps_the_containers(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path) as gateway:
        it = Port(gateway)
        old = await gateway.make_key()
        made = await make(it, old)
        new = (await it.admin("/key/regenerate", key=old))["key"]
        assert new != old
        assert await sees(it, new, made)
        it.keys["old"] = old
        assert (await it.ask("old", "GET", f"/v1/containers/{made}")).status_code == 401


async def test_a_key_that_changes_teams_leaves_the_containers_behind(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path) as gateway:
        it = Port(gateway)
        mover, stayer = await gateway.make_key(team_id="sea"), await gateway.make_key(team_id="sea")
        before = await make(it, mover)
        await it.admin("/key/update", key=mover, team_id="land")
        after = await make(it, mover)
        assert not await sees(it, mover, before)
        assert await sees(it, stayer, before)
        assert await sees(it, mover, after)
        assert not await sees(it, stayer, after)
        await it.admin("/key/update", key=mover, team_id=None)
        alone = await make(it, mover)
        assert await sees(it, mover, alone)
        assert not await sees(it, mover, after)


async def test_nobodys_container_is_not_everybodys(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path) as gateway:
        it = Port(gateway)
        key = await gateway.make_key(team_id="sea")
        made = await make(it, MASTER_KEY)
        assert not await sees(it, key, made)
        await it.admin("/container/adopt", container_id=made, team_id="sea")
        assert await sees(it, key, made)
        await it.admin("/container/adopt", container_id=made, user_id="ann")
        assert not await sees(it, key, made)


async def test_a_share_given_to_a_key_is_not_its_teams(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path) as gateway:
        it = Port(gateway)
        made = await make(it, await gateway.make_key(team_id="sea"))
        guest, colleague = await gateway.make_key(team_id="land"), await gateway.make_key(team_id="land")
        await it.admin("/container/share", container_id=made, key=guest, access="write")
        assert await sees(it, guest, made)
        assert not await sees(it, colleague, made)
        await it.admin("/container/unshare", container_id=made, key=guest)
        assert not await sees(it, guest, made)
