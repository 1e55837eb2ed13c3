"""The books after whatever an upstream, a client or an operator may do, judged from outside: HTTP and SQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.books import LEAST, WHOLE, Books, keeping_books, nanousd, said
from tests.e2e.rows import until
from tests.fakes.quay import JSON, Instead, resetting
from tests.fakes.scripted import Peer, reply


@pytest.fixture
async def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Books]:
    monkeypatch.setattr("app.main.CLOSE_SECONDS", 0.1)
    monkeypatch.setattr("app.main.RECONCILE_SECONDS", 0.1)
    async with keeping_books(tmp_path) as books:
        yield books


# Deletions.


async def test_two_who_delete_at_once_are_charged_once(books: Books) -> None:
    key = await books.gateway.make_key(team_id="sea")
    container_id = await books.make(key)
    books.berth.may_delete.clear()
    deleting = [asyncio.create_task(books.delete(key, container_id)) for _ in range(10)]
    await books.berth.deleting.wait()
    books.berth.may_delete.set()
    answers = await asyncio.gather(*deleting)
    assert sorted({answer.status_code for answer in answers}) in ([200], [200, 404])
    assert books.balance("team:sea") == (0, LEAST, 0)
    assert (await books.delete(key, container_id)).status_code == 404
    assert books.balance("team:sea") == (0, LEAST, 0)


async def test_a_container_that_is_gone_when_it_is_deleted_costs_no_more_than_until_then(books: Books) -> None:
    key = await books.gateway.make_key(team_id="sea")
    container_id = await books.make(key)
    books.berth.made.clear()
    assert (await books.delete(key, container_id)).status_code == 404
    await until(lambda: books.balance("team:sea")[2] == 0)
    assert books.balance("team:sea") == (0, LEAST, 0)


async def test_a_deletion_whose_answer_was_lost_is_settled_when_it_is_asked_for_again(books: Books) -> None:
    key = await books.gateway.make_key(team_id="sea")
    container_id = await books.make(key)
    books.berth.instead_of_deleting.append(resetting)
    first = await books.delete(key, container_id)
    second = first if first.status_code == 404 else await books.delete(key, container_id)
    assert second.status_code == 404
    await until(lambda: books.balance("team:sea")[2] == 0)
    assert books.balance("team:sea") == (0, LEAST, 0)


async def test_a_client_that_leaves_while_it_deletes_is_settled(books: Books) -> None:
    key = await books.gateway.make_key(team_id="sea")
    container_id = await books.make(key)
    books.berth.may_delete.clear()
    deleting = asyncio.create_task(books.delete(key, container_id))
    await books.berth.deleting.wait()
    deleting.cancel()
    await asyncio.sleep(0.2)
    books.berth.may_delete.set()
    await until(lambda: not books.berth.made)
    await until(lambda: books.balance("team:sea")[2] == 0)
    assert books.balance("team:sea") == (0, LEAST, 0)


async def test_who_is_given_a_container_does_not_pay_for_it(books: Books) -> None:
    ann, bob = [await books.gateway.make_key(user_id=name) for name in ("ann", "bob")]
    container_id = await books.make(ann)
    await books.admin("/container/adopt", container_id=container_id, user_id="bob")
    assert (await books.delete(ann, container_id)).status_code == 404
    assert (await books.delete(bob, container_id)).headers["x-quaymaster-cost-usd"] == "0"
    assert books.balance("user:ann") == (0, LEAST, 0)
    assert books.rows("SELECT * FROM balances WHERE account = 'user:bob'") == []


async def test_a_container_that_was_never_paid_for_is_deleted_for_nothing(books: Books) -> None:
    ann = await books.gateway.make_key(user_id="ann")
    found = books.berth.make("stray")
    await books.admin("/container/adopt", container_id=found["id"], user_id="ann")
    answer = await books.delete(ann, found["id"])
    assert (answer.status_code, answer.headers["x-quaymaster-cost-usd"]) == (200, "0")
    assert books.rows("SELECT * FROM ledger_entries") == []


async def test_a_share_that_deletes_settles_for_the_owner(books: Books) -> None:
    ann, bob = [await books.gateway.make_key(user_id=name) for name in ("ann", "bob")]
    container_id = await books.make(ann)
    await books.admin("/container/share", container_id=container_id, user_id="bob", access="write")
    assert (await books.delete(bob, container_id)).status_code == 200
    assert books.balance("user:ann") == (0, LEAST, 0)


@pytest.mark.parametrize("whole", ["key", "team", "user"])
async def test_what_a_deleted_account_has_spent_stays_on_the_books(books: Books, whole: str) -> None:
    await books.admin("/team/new", team_id="sea", max_budget=1)
    await books.admin("/user/new", user_id="ann", max_budget=1, auto_create_key=False)
    key = await books.gateway.make_key(team_id="sea", user_id="ann", tags=["dock"])
    container_id = await books.make(key)
    key_id = key.split("-")[2]
    wanted = {"key": {"keys": [key]}, "team": {"team_ids": ["sea"]}, "user": {"user_ids": ["ann"]}}[whole]
    await books.admin(f"/{whole}/delete", **wanted)
    assert (await books.ask(key, "GET")).status_code == 401
    assert books.balance("team:sea") == (WHOLE - LEAST, LEAST, 1)
    answer = await books.gateway.client.delete(f"/v1/containers/{container_id}")
    assert (answer.status_code, answer.headers["x-quaymaster-cost-usd"]) == (200, "0")
    for account in (f"key:{key_id}", "team:sea", "user:ann"):
        assert books.balance(account) == (0, LEAST, 0)
    logs = await books.see("/spend/logs", team_id="sea")
    assert sum(entry["spend"] for entry in logs["data"]) == LEAST / 1e9
    report = await books.see("/spend/report", group_by="key,tag")
    assert report["data"] == [{"key": key_id, "tag": "dock", "spend": LEAST / 1e9, "containers": 1}]
    if whole != "team":
        info = (await books.see("/team/info", team_id="sea"))["team_info"]
        assert (info["spend"], info["reserved"], info["containers"]) == (LEAST / 1e9, 0, 0)


async def test_a_reaped_container_is_settled(books: Books) -> None:
    key = await books.gateway.make_key(team_id="sea")
    await books.make(key)
    reaped = await books.admin("/container/reap", owner="team:sea", dry_run=False)
    assert reaped["deleted"] == 1, reaped
    assert books.balance("team:sea") == (0, LEAST, 0)


# Upstreams that answer something else.


def answering_with(document: Any) -> Instead:
    async def instead(peer: Peer, answer: bytes) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        await peer.send(reply(200, body, JSON))

    return instead


UNREADABLE = (
    *(b"", b"null", b"[]", b'"x"', b"{}", b'{"id": null}', b'{"id": 5}', b'{"id": ""}'),
    *(b'{"id": "cntr_', b"\xff\xfe", b"[" * 5000),
)


async def test_a_good_answer_that_nobody_can_read_costs_what_was_made(books: Books) -> None:
    keys = [await books.gateway.make_key(team_id=f"sea {number};") for number in range(len(UNREADABLE))]
    for number, (key, body) in enumerate(zip(keys, UNREADABLE, strict=True)):
        books.berth.instead.append(answering_with(body))
        answer = await books.ask(key, "POST", json={"name": f"crate {number}"})
        assert answer.status_code in (200, 502), answer.text
        assert answer.headers["x-quaymaster-cost-usd"] == "0"
        assert books.balance(f"team:sea {number};") == (WHOLE, 0, 1)
    books.agree()
    await books.decided()
    made = {one["name"]: one["id"] for one in books.berth.made}
    for number, key in enumerate(keys):
        assert books.balance(f"team:sea {number};") == (WHOLE - LEAST, LEAST, 1)
        assert (await books.delete(key, made[f"crate {number}"])).status_code == 200
        assert books.balance(f"team:sea {number};")[0] == 0


ODD: tuple[dict[str, Any], ...] = (
    *(
        {"expires_after": {"anchor": "last_active_at", "minutes": minutes}}
        for minutes in (0, -5, True, 1.5, "20", None, 10**12, 2**63, 1)
    ),
    *({"expires_after": value} for value in (None, 5, "soon", True)),
    *({"memory_limit": value} for value in (None, 5, "64g", "x" * 300, "0g", "\x00g")),
    *({"created_at": value} for value in (None, -1, 10**30, "now")),
    *({"last_active_at": 10**30}, {"status": None}, {"name": None}, {"name": "\x00\ud800"}),
)


async def test_whatever_a_container_says_of_itself_the_books_agree(books: Books) -> None:
    for number, fields in enumerate(ODD):
        key = await books.gateway.make_key(team_id=f"sea {number};", max_budget=1)
        name = f"crate {number}"

        async def instead(peer: Peer, answer: bytes, fields: dict[str, Any] = fields) -> None:
            await peer.send(said(json.loads(answer.partition(b"\r\n\r\n")[2]) | fields))

        books.berth.instead.append(instead)
        answer = await books.ask(key, "POST", json={"name": name})
        assert answer.status_code == 200, (fields, answer.text)
        books.agree()
        container_id = books.berth.made[-1]["id"]
        await books.ask(key, "GET", f"/{container_id}")
        books.agree()
        if books.rows("SELECT * FROM creations WHERE state = 'pending'"):
            await books.decided()
        await books.delete(key, container_id)
        await until(lambda number=number: books.balance(f"team:sea {number};")[::2] == (0, 0))  # type: ignore[misc]
        assert books.balance(f"team:sea {number};")[1] >= LEAST, fields


async def test_nothing_made_behind_a_broken_connection_is_given_back(books: Books) -> None:
    async def unmade(peer: Peer, _answer: bytes) -> None:
        books.berth.made.clear()
        peer.reset()

    books.berth.instead.append(unmade)
    key = await books.gateway.make_key(team_id="sea")
    assert (await books.ask(key, "POST", json={"name": "crate"})).status_code == 502
    assert books.balance("team:sea") == (WHOLE, 0, 1)
    await books.decided()
    assert books.balance("team:sea") == (0, 0, 0)


async def test_a_client_that_loses_patience_with_an_upstream_that_hangs(books: Books) -> None:
    books.berth.may_answer.clear()
    key = await books.gateway.make_key(team_id="sea")
    with pytest.raises(httpx.ReadTimeout):
        await books.ask(key, "POST", json={"name": "crate"}, timeout=0.3)
    assert books.balance("team:sea") == (WHOLE, 0, 1)
    books.berth.may_answer.set()
    await until(lambda: books.balance("team:sea")[1])
    assert books.balance("team:sea") == (WHOLE - LEAST, LEAST, 1)


# Many at once.


async def test_uses_creates_and_deletions_at_once_leave_nothing_behind(books: Books) -> None:
    await books.admin("/team/new", team_id="sea", max_budget=5 * WHOLE / 1e9)
    keys = [await books.gateway.make_key(team_id="sea", user_id=name) for name in ("ann", "bob", "cid")]

    async def live(key: str) -> int:
        spent = 0
        for _ in range(10):
            made = await books.ask(key, "POST", json={"name": "crate"})
            spent += nanousd(made)
            if made.status_code == 429:
                continue
            container_id = made.json()["id"]
            await asyncio.gather(*(books.ask(key, "GET", f"/{container_id}") for _ in range(3)))
            answers = await asyncio.gather(*(books.delete(key, container_id) for _ in range(2)))
            spent += sum(nanousd(answer) for answer in answers)
        return spent

    told = sum(await asyncio.gather(*(live(key) for key in keys for _ in range(4))))
    assert not books.berth.made
    assert books.balance("team:sea") == (0, told, 0)
