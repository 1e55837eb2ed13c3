"""`quaymaster teams`, `users` and `spend`: what they ask a gateway for, and what they show of its answers."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.commands.running import Done, run
from tests.fakes.scripted import Received, ScriptedUpstream, answers, reply

TEAM = {
    "team_id": "lake",
    "team_alias": None,
    "blocked": False,
    "spend": 1.5,
    "reserved": 0.03,
    "remaining": 8.47,
    "max_budget": 10.0,
    "budget_reset_at": "2026-09-01T00:00:00Z",
    "colour": "blue",
}


async def ask(answer: Any, *arguments: str, status: int = 200) -> tuple[Done, Received]:
    """Run a command at a gateway that gives this answer: how it ended, and what it had asked for."""
    async with ScriptedUpstream(answers(reply(status, json.dumps(answer).encode()))) as gateway:
        done = await asyncio.to_thread(run, *arguments, "--base-url", gateway.origin, "--api-key", "sk-operator")
    (received,) = gateway.requests
    assert received.header(b"authorization") == b"Bearer sk-operator"
    return done, received


@pytest.mark.parametrize(
    ("arguments", "asked", "body"),
    [
        ("teams create --id lake --max-budget 10", "/team/new", {"team_id": "lake", "max_budget": 10.0}),
        ("teams create --alias Lake --tag a --tag b", "/team/new", {"team_alias": "Lake", "tags": ["a", "b"]}),
        ("teams update lake --rpm-limit 6", "/team/update", {"team_id": "lake", "rpm_limit": 6}),
        ("teams update lake --set max_budget=null", "/team/update", {"team_id": "lake", "max_budget": None}),
        ("teams update lake --metadata {}", "/team/update", {"team_id": "lake", "metadata": {}}),
        ("teams block lake", "/team/block", {"team_id": "lake"}),
        ("teams unblock lake", "/team/unblock", {"team_id": "lake"}),
        ("teams delete lake sea", "/team/delete", {"team_ids": ["lake", "sea"]}),
        ("users create --id ada", "/user/new", {"user_id": "ada"}),
        ("users update ada --soft-budget 0", "/user/update", {"user_id": "ada", "soft_budget": 0.0}),
        ("users delete ada", "/user/delete", {"user_ids": ["ada"]}),
        ("keys create --max-parallel-requests 2", "/key/generate", {"max_parallel_requests": 2}),
    ],
)
async def test_what_a_change_sends(arguments: str, asked: str, body: dict[str, Any]) -> None:
    done, received = await ask(TEAM | {"user_id": "ada", "key": "sk-qm-new"}, *arguments.split())
    assert (done.code, received.method, received.target.decode()) == (0, b"POST", asked)
    assert json.loads(received.body) == body


@pytest.mark.parametrize(
    ("arguments", "path", "query"),
    [
        ("teams info lake", "/team/info", {"team_id": ["lake"]}),
        ("teams list --page 2 --size 5", "/team/list", {"page": ["2"], "size": ["5"]}),
        ("users info ada", "/user/info", {"user_id": ["ada"]}),
        ("spend logs --team lake --where model=x", "/spend/logs", {"team_id": ["lake"], "model": ["x"]}),
        (
            "spend report --since 2026-08-01 --until 2026-08-02 --group-by team",
            "/spend/report",
            {"start_date": ["2026-08-01"], "end_date": ["2026-08-02"], "group_by": ["team"]},
        ),
    ],
)
async def test_what_a_view_asks_for(arguments: str, path: str, query: dict[str, list[str]]) -> None:
    done, received = await ask(TEAM, *arguments.split())
    target = urlsplit(received.target.decode())
    assert (done.code, received.method, target.path, parse_qs(target.query)) == (0, b"GET", path, query)


async def test_a_list_shows_money_and_leaves_out_what_the_gateway_does_not_say() -> None:
    page = {"teams": [TEAM, {"team_id": "s\x1bea"}], "total_count": 2, "current_page": 1, "total_pages": 1}
    done, _ = await ask(page, "teams", "list")
    heading, lake, sea = (line.split() for line in done.lines)
    columns = "TEAM_ID TEAM_ALIAS BLOCKED SPEND RESERVED REMAINING MAX_BUDGET BUDGET_RESET_AT"
    assert " ".join(heading) == columns
    assert " ".join(lake) == "lake - no 1.5 0.03 8.47 10.0 2026-09-01T00:00:00Z"
    assert sea == ["s?ea", *"-------"]
    assert done.stderr == "2 in all, page 1 of 1.\n"
    bare, _ = await ask([TEAM], "teams", "list")
    assert [line.split() for line in bare.lines] == [heading, lake]


async def test_keys_show_what_they_spent() -> None:
    key = {
        "key_id": "k1",
        "key_alias": None,
        "spend": 0.5,
        "reserved": 0.1,
        "remaining": 0.4,
        "budget_reset_at": "soon",
    }
    done, _ = await ask({"keys": [key]}, "keys", "list")
    assert done.lines[0].split() == ["KEY_ID", "KEY_ALIAS", "SPEND", "RESERVED", "REMAINING", "BUDGET_RESET_AT"]
    assert done.lines[1].split() == ["k1", "-", "0.5", "0.1", "0.4", "soon"]


async def test_one_thing_is_shown_with_every_field() -> None:
    done, _ = await ask({"team_id": "lake", "team_info": TEAM, "keys": []}, "teams", "info", "lake")
    shown = dict(line.split(None, 1) for line in done.lines)
    assert shown.keys() == {"keys", *TEAM}
    assert (shown["remaining"], shown["colour"]) == ("8.47", "blue")


async def test_a_report_is_shown_as_it_comes() -> None:
    done, _ = await ask(
        {"report": [{"team_id": "lake", "spend": 1}, {"team_id": "sea", "creates": 2}]}, "spend", "report"
    )
    assert [line.split() for line in done.lines] == [
        ["TEAM_ID", "SPEND", "CREATES"],
        ["lake", "1", "-"],
        ["sea", "-", "2"],
    ]
    nothing, _ = await ask({"report": []}, "spend", "report")
    assert (nothing.code, nothing.stdout) == (0, "")
    raw, _ = await ask({"report": []}, "spend", "report", "--json")
    assert json.loads(raw.stdout) == {"report": []}


@pytest.mark.parametrize(("status", "code"), [(400, 2), (401, 4), (404, 3), (429, 5), (500, 1)])
async def test_a_refusal_is_an_exit_code(status: int, code: int) -> None:
    done, _ = await ask({"error": {"message": "No\x1b!"}}, "teams", "info", "lake", status=status)
    assert (done.code, done.stdout, done.stderr) == (code, "", "quaymaster: No?!\n")
