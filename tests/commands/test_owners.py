"""`quaymaster teams` and `quaymaster users` at a gateway: what they set, what they show, and how they end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.commands.running import run
from tests.e2e.gateway import RunningGateway

pytestmark = pytest.mark.usefixtures("operator")


def create_container(gateway: RunningGateway, key: str) -> int:
    """Make a container with a key: the status."""
    headers = {"authorization": f"Bearer {key}"}
    return gateway.client.post("/v1/containers", json={"name": "crate"}, headers=headers).status_code


def fields(*arguments: str) -> dict[str, str]:
    """What a command shows of one thing."""
    done = run(*arguments)
    assert done.code == 0, done.stderr
    pairs = [line.split(None, 1) for line in done.lines]
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize("noun", ["team", "user"])
def test_the_life_of_one(gateway: RunningGateway, team: str, noun: str) -> None:
    group = f"{noun}s"
    made = run(group, "create", "--id", team, "--alias", f"The {team}", "--max-budget", "0.05", "--tag", "a")
    assert (made.code, made.stdout, made.stderr) == (0, f"{team}\n", "")
    key = gateway.make_key(**{f"{noun}_id": team})
    key_id = key.split("-")[2]

    assert create_container(gateway, key) == 200
    assert create_container(gateway, key) == 429
    shown = fields(group, "info", team)
    assert next(iter(shown)) == f"{noun}_id"
    assert (shown[f"{noun}_id"], shown[f"{noun}_alias"], shown["tags"]) == (team, f"The {team}", "a")
    assert [shown[name] for name in ("spend", "reserved", "remaining", "max_budget")] == [
        "0.0075",
        "0.0225",
        "0.02",
        "0.05",
    ]
    assert (shown["keys"], shown["key_count"], shown["containers"]) == (key_id, "1", "1")

    changed = fields(group, "update", team, "--max-budget", "1", "--set", f"{noun}_alias=null", "--budget-duration=day")
    assert (changed["remaining"], changed[f"{noun}_alias"], changed["tags"]) == ("0.97", "-", "a")
    assert changed["budget_reset_at"].endswith("T00:00:00Z")
    assert create_container(gateway, key) == 200

    assert fields(group, "block", team)["blocked"] == "yes"
    assert create_container(gateway, key) in {401, 403}
    assert fields(group, "unblock", team)["blocked"] == "no"
    assert create_container(gateway, key) == 200

    deleted = run(group, "delete", team)
    assert (deleted.code, deleted.stdout) == (0, f"{team}\n")
    assert create_container(gateway, key) == 401
    gone = run(group, "info", team)
    assert (gone.code, gone.stdout) == (3, "")
    assert f"There is no {noun} of this id" in gone.stderr


@pytest.mark.parametrize("noun", ["team", "user"])
def test_a_list_shows_how_they_stand_page_by_page(gateway: RunningGateway, team: str, noun: str) -> None:
    group = f"{noun}s"
    names = [f"{team}-{number}" for number in range(3)]
    for name in names:
        assert run(group, "create", "--id", name, "--alias", name, "--max-budget", "0.3").code == 0
    assert create_container(gateway, gateway.make_key(**{f"{noun}_id": names[2]})) == 200
    heading, newest, older = (line.split() for line in run(group, "list", "--size", "2").lines)
    standing = "BLOCKED SPEND RESERVED REMAINING MAX_BUDGET BUDGET_DURATION BUDGET_RESET_AT"
    assert " ".join(heading) == f"{noun.upper()}_ID {noun.upper()}_ALIAS {standing}"
    assert newest == [names[2], names[2], "no", "0.0075", "0.0225", "0.27", "0.3", "-", "-"]
    assert older[0] == names[1]

    following = run(group, "list", "--size", "2", "--page", "2")
    assert following.lines[1].split()[0] == names[0]
    total = int(following.stderr.split()[0])
    assert following.stderr == f"{total} in all, page 2 of {-(-total // 2)}.\n"
    (_, one) = run(group, "list", "--alias", names[1]).lines
    assert one.split()[0] == names[1]
    listed = json.loads(run(group, "list", "--size", "1", "--json").stdout)
    assert [each[f"{noun}_id"] for each in listed[group]] == [names[2]]


def test_a_new_user_has_no_key_that_nobody_saw(team: str) -> None:
    made = json.loads(run("users", "create", "--json").stdout)
    assert made["key"] is None
    assert fields("users", "info", made["user_id"])["key_count"] == "0"


def test_every_limit_has_an_option(team: str) -> None:
    counts = ["rpm_limit", "max_parallel_requests", "max_creates_per_minute", "max_containers", "max_memory_gb"]
    counts += ["max_file_bytes", "max_upload_bytes_per_day", "max_download_bytes_per_day"]
    said = [word for number, name in enumerate(counts) for word in (f"--{name.replace('_', '-')}", str(number))]
    said += ["--max-budget", "2.5", "--soft-budget", "0", "--budget-duration", "week", "--budget-timezone"]
    said += ["Europe/Berlin", "--allow-memory", "1g", "--allow-memory", "4g", "--shadow", "--metadata", "{}"]
    made = json.loads(run("teams", "create", "--id", team, *said, "--json").stdout)
    expected: dict[str, Any] = {name: number for number, name in enumerate(counts)}
    expected |= {"max_budget": 2.5, "soft_budget": 0, "budget_duration": "week", "budget_timezone": "Europe/Berlin"}
    expected |= {"allowed_memory_limits": ["1g", "4g"], "shadow": True, "metadata": {}}
    assert {name: made[name] for name in expected} == expected
    answer = json.loads(run("teams", "update", team, "--no-shadow", "--set", "max_budget=null", "--json").stdout)
    assert (answer["data"]["shadow"], answer["data"]["max_budget"]) == (False, None)
    assert answer["data"]["rpm_limit"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("teams info none", 3, "There is no team of this id"),
        ("teams block none", 3, "There is no team of this id"),
        ("users delete none", 3, "There is no user of this id"),
        ("teams create --max-budget -1", 2, "max_budget"),
        ("teams create --budget-duration soon", 2, "budget_duration"),
        ("teams create --set models=x", 2, "models"),
        ("users create --set colour=blue", 2, "Unknown parameter: 'colour'"),
        ("teams list --size 0", 2, "--size"),
        ("teams update", 2, "ID"),
    ],
)
def test_what_is_refused_is_said_in_words(arguments: str, code: int, words: str) -> None:
    done = run(*arguments.split())
    assert (done.code, done.stdout) == (code, "")
    assert words in done.stderr


def test_all_are_deleted_or_none(team: str) -> None:
    assert run("teams", "create", "--id", team).code == 0
    assert run("teams", "delete", team, "none").code == 3
    assert run("teams", "info", team).code == 0


@pytest.mark.parametrize("group", ["teams", "users"])
def test_a_virtual_key_is_not_enough(key: str, group: str) -> None:
    done = run(group, "list", "--api-key", key)
    assert (done.code, done.stdout) == (4, "")
    assert "may not use the admin routes" in done.stderr
