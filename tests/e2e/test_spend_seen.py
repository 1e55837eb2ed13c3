"""Who spent what, as operators and LiteLLM's scripts ask for it, against what clients were told."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.books import LEAST, WHOLE, Books, keeping_books
from tests.e2e.rows import until

TAGS = ['=cmd|" /C calc"!A0', "+1", "-2", "@x", "\t=1", '\n=1,"', "plain"]
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


@pytest.fixture
async def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Books]:
    monkeypatch.setattr("app.main.CLOSE_SECONDS", 0.1)
    async with keeping_books(tmp_path) as books:
        yield books


async def spent_by_four(books: Books) -> list[str]:
    """Four keys of two users and two teams, each with a container more than the one before, one of which is deleted."""
    keys = [
        await books.gateway.make_key(user_id=user, team_id=team)
        for user, team in (("ann", "sea"), ("bob", "sea"), ("ann", "air"), ("bob", "air"))
    ]
    for number, key in enumerate(keys):
        made = [await books.make(key) for _ in range(number + 1)]
        await books.delete(key, made[0])
    return keys


async def test_reports_logs_and_standings_say_the_same(books: Books) -> None:
    keys = await spent_by_four(books)
    for number, key in enumerate(keys):
        info = (await books.see("/key/info", key=key))["info"]
        logs = (await books.see("/spend/logs", api_key=key))["data"]
        assert round(sum(entry["spend"] for entry in logs), 9) == info["spend"] == (number + 1) * LEAST / 1e9
        assert round(sum(entry["reserved"] for entry in logs), 9) == info["reserved"] == number * (WHOLE - LEAST) / 1e9
        assert info["containers"] == number
    report = await books.see("/spend/report", group_by="user,team")
    lines = {(line["user"], line["team"]): (line["spend"], line["containers"]) for line in report["data"]}
    assert lines == {
        ("ann", "sea"): (0.0075, 1),
        ("bob", "sea"): (0.015, 2),
        ("ann", "air"): (0.0225, 3),
        ("bob", "air"): (0.03, 4),
    }
    for team, spend in (("sea", 0.0225), ("air", 0.0525)):
        assert books.balance(f"team:{team}")[1] == round(spend * 1e9)


async def test_pages_of_the_ledger_have_each_entry_once(books: Books) -> None:
    await spent_by_four(books)
    whole = [row["number"] for row in books.rows("SELECT number FROM ledger_entries ORDER BY number")]
    for order, expected in (("asc", whole), ("desc", whole[::-1])):
        seen: list[int] = []
        more = True
        after: dict[str, str] = {}
        while more:
            page = await books.see("/spend/logs", limit="3", order=order, **after)
            seen += [entry["id"] for entry in page["data"]]
            more, after = page["has_more"], {"after": str(page["last_id"])}
        assert seen == expected


async def test_what_has_expired_is_found_by_the_request_that_made_it(books: Books) -> None:
    key = await books.gateway.make_key()
    made = await books.ask(key, "POST", json={"name": "crate"})
    books.rows("UPDATE holds SET covered_until = datetime(covered_until, '-30 minutes') || '.000000'")
    await until(lambda: books.balance("key:")[2] == 0)
    logs = (await books.see("/spend/logs", request_id=made.headers["x-request-id"]))["data"]
    assert [(entry["kind"], entry["spend"]) for entry in logs] == [
        ("settle", 0.0225),
        ("settle", 0.0075),
        ("reserve", 0),
    ]


async def test_a_spreadsheet_takes_no_name_for_a_formula(books: Books) -> None:
    await books.make(await books.gateway.make_key(tags=TAGS, team_id='=HYPERLINK("x")', user_id="-1"))
    answer = await books.gateway.client.get("/spend/report", params={"group_by": "tag,team,user", "format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    head, *rows = csv.reader(io.StringIO(answer.text))
    assert head == ["tag", "team", "user", "spend_usd", "containers"]
    assert len(rows) == len(TAGS)
    for *names, spend, containers in rows:
        assert not [name for name in names if name.lstrip(" \n").startswith(FORMULAS)]
        assert (spend, containers) == ("0.0075", "1")


async def test_litellms_scripts_read_what_was_spent(books: Books) -> None:
    """As docs.litellm.ai writes them, on its page about spend tracking."""
    keys = await spent_by_four(books)
    dates = {"start_date": "2024-04-01", "end_date": "2094-06-30"}
    by_team = await books.see("/global/spend/report", **dates, group_by="team")
    assert {line["team"]: line["spend"] for line in by_team["data"]} == {"sea": 0.0225, "air": 0.0525}
    of_key = await books.see("/global/spend/report", **dates, api_key=keys[1])
    assert [line["spend"] for line in of_key["data"]] == [0.015]
    of_user = await books.see("/global/spend/report", **dates, internal_user_id="ann")
    assert sum(line["spend"] for line in of_user["data"]) == 0.03
    assert [line["spend"] for line in await books.see("/spend/keys")] == [0.03, 0.0225, 0.015, 0.0075]
    assert {line["user_id"]: line["spend"] for line in await books.see("/spend/users")} == {"ann": 0.03, "bob": 0.045}
    both = await books.gateway.client.get("/spend/logs", params={"user_id": "ann", "internal_user_id": "bob"})
    assert (both.status_code, both.json()["error"]["param"]) == (400, "internal_user_id")


async def test_a_deleted_key_is_still_accounted_for(books: Books) -> None:
    key = await books.gateway.make_key(key_alias="crane")
    await books.make(key)
    await books.admin("/key/delete", keys=[key])
    key_id = key.split("-")[2]
    assert sum(entry["spend"] for entry in (await books.see("/spend/logs", key=key_id))["data"]) == LEAST / 1e9
    assert [line["key"] for line in (await books.see("/spend/report", group_by="key"))["data"]] == [key_id]
