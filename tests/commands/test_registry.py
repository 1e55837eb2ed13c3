"""`quaymaster containers list|info|reap` against a running gateway: what they print, what they delete, how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.running import Done, run
from tests.e2e.gateway import MASTER_KEY, RunningGateway, forwarding_to, running_gateway


@pytest.fixture
def owner(gateway: RunningGateway, request: pytest.FixtureRequest) -> str:
    """An owner of this test's own, with two containers."""
    team = request.node.name[:60]
    key = gateway.make_key(team_id=team)
    for name in ("first", "sec\x1b[31mond"):
        made = gateway.client.post("/v1/containers", json={"name": name}, headers={"authorization": f"Bearer {key}"})
        assert made.status_code == 200
    return f"team:{team}"


@pytest.fixture(autouse=True)
def master_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings at hand have the gateway's master key."""
    monkeypatch.setenv("QUAYMASTER_MASTER_KEY", MASTER_KEY)


def containers(*arguments: str, url: str) -> Done:
    """Run `containers` at this gateway."""
    return run("containers", *arguments, "--base-url", url)


def running(gateway: RunningGateway, owner: str) -> list[str]:
    """The ids of an owner's running containers, newest first."""
    answer = gateway.client.get("/container/list", params={"owner": owner, "status": "running"})
    return [container["id"] for container in answer.json()["containers"]]


def test_reap_shows_first_and_deletes_when_told(gateway: RunningGateway, owner: str) -> None:
    newer, older = running(gateway, owner)
    done = containers("reap", "--owner", owner, url=gateway.url)
    assert done.code == 0
    heading, *rows = done.lines
    assert heading.split() == ["ID", "OWNER", "DEPLOYMENT", "NAME", "CREATED_AT", "REASON"]
    assert [row.split()[0] for row in rows] == [newer, older]
    assert all(f"it is {owner}'s"[:50] in row for row in rows)
    assert done.stderr == "2 containers would be deleted. Nothing was: the same with --yes deletes.\n"
    assert running(gateway, owner) == [newer, older]

    done = containers("reap", "--owner", owner, "--limit", "1", "--yes", url=f"{gateway.url}/v1/")
    assert done.code == 0
    assert done.stderr == "1 container: 1 deleted.\nMore fit than are shown here.\n"
    assert running(gateway, owner) == [older]

    done = containers("reap", "--owner", owner, "--no-dry-run", "--json", url=gateway.url)
    answer = json.loads(done.stdout)
    assert (answer["deleted"], [each["id"] for each in answer["containers"]]) == (1, [older])
    assert running(gateway, owner) == []

    done = containers("reap", "--owner", owner, url=gateway.url)
    assert (done.code, done.stdout, done.stderr) == (0, "", "No running container fits.\n")


def test_a_name_cannot_command_the_terminal(gateway: RunningGateway, owner: str) -> None:
    (container_id, _) = running(gateway, owner)
    for arguments in (("list", "--owner", owner), ("info", container_id), ("reap", "--owner", owner)):
        done = containers(*arguments, url=gateway.url)
        assert done.code == 0
        assert "\x1b" not in done.stdout
        assert "sec?[31mond" in done.stdout


def test_list_and_info(gateway: RunningGateway, owner: str) -> None:
    newer, older = running(gateway, owner)
    gateway.client.post("/container/share", json={"container_id": older, "team_id": "lake", "access": "write"})
    done = containers("list", "--owner", owner, "--status", "running", "--size", "1", "--page", "2", url=gateway.url)
    assert done.code == 0
    assert done.stdout.splitlines()[1].startswith(f"{older}  ")
    assert done.stderr == "2 in all, page 2 of 2.\n"
    done = containers("list", "--unowned", url=gateway.url)
    assert (done.code, done.stdout, done.stderr) == (0, "", "0 in all, page 1 of 0.\n")
    listed = json.loads(containers("list", "--owner", owner, "--json", url=gateway.url).stdout)
    assert [container["id"] for container in listed["containers"]] == [newer, older]
    done = containers("info", older, url=gateway.url)
    shown = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    assert shown["id"].strip() == older
    assert shown["shares"].strip() == "team:lake (write)"
    assert shown["ended_at"].strip() == "-"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["reap"], 2, "Say which containers"),
        (["reap", "--older-than", "2 hours", "--yes"], 2, "older_than"),
        (["reap", "--owner", "sea", "--yes"], 2, "team:…"),
        (["reap", "--limit", "0"], 2, "limit"),
        (["reap", "--key", "nobody", "--yes"], 3, "No key has this id or alias."),
        (["reap", "--olderthan", "2h"], 2, "olderthan"),
        (["info", "cntr_none"], 3, "no such container"),
        (["list", "--owner", "sea"], 2, "team:…"),
    ],
)
def test_what_is_refused_is_said_in_words(gateway: RunningGateway, arguments: list[str], code: int, words: str) -> None:
    done = containers(*arguments, url=gateway.url)
    assert (done.code, done.stdout) == (code, "")
    assert words in done.stderr


def test_a_virtual_key_is_not_enough(gateway: RunningGateway) -> None:
    key = gateway.make_key(container_scope="all")
    done = containers("list", "--api-key", key, url=gateway.url)
    assert (done.code, done.stdout) == (4, "")
    assert "may not use the admin routes" in done.stderr
    assert key not in done.stderr


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:1", "nothing answers at http://127.0.0.1:1 "),
        ("127.0.0.1:1", "nothing answers at 127.0.0.1:1 "),
        ("http://[", "nothing answers at http://[ "),
    ],
)
def test_where_no_gateway_is_it_says_what_to_do(url: str, words: str) -> None:
    done = containers("list", url=url)
    assert (done.code, done.stdout) == (6, "")
    assert done.stderr.startswith(f"quaymaster: {words}")
    assert "--base-url" in done.stderr


def test_what_is_no_gateway_is_not_taken_for_one(gateway: RunningGateway) -> None:
    done = containers("list", url=f"{gateway.url}/metrics?")
    assert (done.code, done.stdout) == (1, "")
    assert "is no gateway of this kind (status 200)" in done.stderr


def test_a_key_that_cannot_be_sent(gateway: RunningGateway) -> None:
    done = containers("list", "--api-key", "sk-ключ", url=gateway.url)
    assert (done.code, done.stdout) == (2, "")


def test_a_failure_is_an_exit_code(tmp_path: Path) -> None:
    with running_gateway(tmp_path, forwarding_to("http://127.0.0.1:1")) as gateway:
        done = containers("reap", "--unknown", url=gateway.url)
    assert done.code == 1
    assert "The deployment main was left out, as its list did not answer" in done.stderr
