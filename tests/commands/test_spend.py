"""`quaymaster spend` at a gateway: the ledger page by page, and reports for people, programs and spreadsheets."""

from __future__ import annotations

import csv
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.commands.running import environment, on_a_terminal, run
from tests.e2e.gateway import MASTER_KEY, RunningGateway

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture
def containers(gateway: RunningGateway, team: str) -> list[str]:
    """Three containers of the team: two by ada's key, and one of them deleted."""
    ids = []
    for fields in ({"user_id": "ada", "tags": ["x"], "key_alias": f"{team} ada"}, {"user_id": "=bob"}):
        headers = {"authorization": f"Bearer {gateway.make_key(team_id=team, **fields)}"}
        for _ in range(2 if fields["user_id"] == "ada" else 1):
            made = gateway.client.post("/v1/containers", json={"name": "crate"}, headers=headers)
            ids.append(made.json()["id"])
    gateway.client.delete(f"/v1/containers/{ids[0]}").raise_for_status()
    return ids


def test_the_ledger_page_by_page(containers: list[str], team: str) -> None:
    first = run("spend", "logs", "--team", team, "--limit", "4")
    heading, *rows = first.lines
    columns = "ID AT KIND SPEND RESERVED KEY_ID USER_ID TEAM_ID MEMORY_LIMIT CONTAINER_ID"
    assert heading.split() == columns.split()
    newest = rows[0].split()
    assert newest[2:5] == ["release", "0", "-0.0225"]
    assert newest[6:] == ["ada", team, "1g", containers[0]]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", newest[1])
    last = rows[-1].split()[0]
    assert first.stderr == f"There are more: --after {last}.\n"

    rest = run("spend", "logs", "--team", team, "--after", last)
    assert (len(rest.lines), rest.stderr) == (4, "")
    ids = [int(line.split()[0]) for line in (*rows, *rest.lines[1:])]
    assert ids == sorted(ids, reverse=True)
    forward = json.loads(run("spend", "logs", "--team", team, "--order", "asc", "--json").stdout)
    assert [entry["id"] for entry in forward["data"]] == ids[::-1]
    assert forward["has_more"] is False


def test_filters(containers: list[str], team: str) -> None:
    def kinds(*filters: str) -> list[str]:
        done = run("spend", "logs", "--team", team, *filters, "--order", "asc")
        assert done.code == 0, done.stderr
        return [line.split()[2] for line in done.lines[1:]]

    everything = json.loads(run("spend", "logs", "--team", team, "--json").stdout)["data"]
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert kinds("--container", containers[1]) == ["settle"]
    assert kinds("--user", "=bob") == ["reserve", "settle"]
    assert kinds("--tag", "x") == kinds("--key", f"{team} ada") == ["reserve", "settle"] * 2 + ["release"]
    assert kinds("--request", everything[0]["request_id"]) == ["release"]
    assert len(kinds("--since", today, "--until", today)) == len(everything) == 7
    assert kinds("--until", "2026-01-01") == kinds("--since", "2100-01-01T00:00:00Z") == []


def test_a_report(containers: list[str], team: str) -> None:
    done = run("spend", "report", "--team", team)
    assert [line.split() for line in done.lines] == [["TEAM", "SPEND", "CONTAINERS"], [team, "0.0225", "3"]]
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    done = run("spend", "report", "--team", team, "--group-by", "day,user")
    assert [line.split() for line in done.lines] == [
        ["DAY", "USER", "SPEND", "CONTAINERS"],
        [today, "=bob", "0.0075", "1"],
        [today, "ada", "0.015", "2"],
    ]
    assert done.stderr == ""
    cut = run("spend", "report", "--team", team, "--group-by", "user", "--limit", "1")
    assert (len(cut.lines), cut.stderr) == (2, "There are more lines than are shown here.\n")
    raw = json.loads(run("spend", "report", "--team", team, "--json").stdout)
    assert raw["data"] == [{"team": team, "spend": 0.0225, "containers": 3}]
    nothing = run("spend", "report", "--team", "none")
    assert (nothing.code, nothing.stdout) == (0, "")


def test_a_report_for_a_spreadsheet(containers: list[str], team: str) -> None:
    done = run("spend", "report", "--team", team, "--group-by", "user", "--csv")
    assert done.code == 0
    assert list(csv.reader(done.stdout.splitlines())) == [
        ["user", "spend_usd", "containers"],
        ["ada", "0.015", "2"],
        ["'=bob", "0.0075", "1"],
    ]
    assert done.stderr == ""
    cut = run("spend", "report", "--team", team, "--group-by", "user", "--csv", "--limit", "1")
    assert (len(cut.lines), cut.stderr) == (2, "There are more lines than are shown here.\n")
    both = run("spend", "report", "--csv", "--json")
    assert (both.code, both.stdout, both.stderr) == (2, "", "quaymaster: say --csv or --json, not both\n")


def test_a_name_in_a_spreadsheet_cannot_command_the_terminal(
    gateway: RunningGateway, team: str, elsewhere: Path
) -> None:
    key = gateway.make_key(team_id=f"{team}\x1b[31m")
    gateway.client.post("/v1/containers", json={"name": "a"}, headers={"authorization": f"Bearer {key}"})
    arguments = ("spend", "report", "--csv", "--team", f"{team}\x1b[31m")
    variables = environment(QUAYMASTER_API_BASE=gateway.url, QUAYMASTER_API_KEY=MASTER_KEY)
    seen = on_a_terminal(*arguments, cwd=elsewhere, env=variables)
    assert seen.code == 0
    assert f"{team}?[31m,0.0075,1" in seen.stderr
    assert "\x1b[31m" in run(*arguments).stdout


def test_a_table_too_wide_for_the_terminal_loses_nothing(
    gateway: RunningGateway, containers: list[str], team: str, elsewhere: Path
) -> None:
    variables = environment(QUAYMASTER_API_BASE=gateway.url, QUAYMASTER_API_KEY=MASTER_KEY, COLUMNS="80")
    seen = on_a_terminal("spend", "logs", "--team", team, cwd=elsewhere, env=variables)
    assert all(container in seen.stderr for container in containers)
    assert "…" not in seen.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("report --group-by colour", 2, "'deployment' or 'day'"),
        ("report --group-by day,day", 2, "once"),
        ("report --csv --group-by colour", 2, "'deployment' or 'day'"),
        ("report --limit 0", 2, "--limit"),
        ("logs --since yesterday", 2, "2026-11-21"),
        ("logs --since 2026-08-02 --until 2026-08-01", 2, "'end_date' must be later"),
        ("logs --key nobody", 3, "No key has this id or alias."),
        ("logs --order up", 2, "--order"),
    ],
)
def test_what_is_refused_is_said_in_words(arguments: str, code: int, words: str) -> None:
    done = run("spend", *arguments.split())
    assert (done.code, done.stdout) == (code, "")
    assert words in done.stderr


def test_what_is_no_spreadsheet_is_not_taken_for_one(gateway: RunningGateway) -> None:
    done = run("spend", "report", "--csv", "--base-url", f"{gateway.url}/metrics?")
    assert (done.code, done.stdout) == (1, "")
    assert "is no gateway of this kind" in done.stderr
