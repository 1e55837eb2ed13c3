"""`quaymaster containers …` against a running gateway: what it prints, what it deletes, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from app.cli import cli
from tests.e2e.gateway import (
    MASTER_KEY,
    ROOT,
    RunningGateway,
    clean_environment,
    forwarding_to,
    running_gateway,
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway with the embedded provider."""
    with running_gateway(tmp_path_factory.mktemp("cli")) as gateway:
        yield gateway


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
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without settings, and an environment with nothing but the key."""
    for name in os.environ.keys() - clean_environment().keys():
        monkeypatch.delenv(name)
    monkeypatch.setenv("QUAYMASTER_MASTER_KEY", MASTER_KEY)
    monkeypatch.chdir(tmp_path)


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def containers(*arguments: str, url: str) -> Done:
    """Run `containers` to its end, in this process, which saves a second each."""
    result = CliRunner().invoke(cli, ["containers", *arguments, "--base-url", url])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def running(gateway: RunningGateway, owner: str) -> list[str]:
    """The ids of an owner's running containers, newest first."""
    answer = gateway.client.get("/container/list", params={"owner": owner, "status": "running"})
    return [container["id"] for container in answer.json()["containers"]]


def test_reap_shows_first_and_deletes_when_told(gateway: RunningGateway, owner: str) -> None:
    newer, older = running(gateway, owner)
    done = containers("reap", "--owner", owner, url=gateway.url)
    assert (done.returncode, done.stderr) == (0, "")
    heading, *rows, empty, verdict = done.stdout.splitlines()
    assert heading.split() == ["ID", "OWNER", "DEPLOYMENT", "NAME", "CREATED_AT", "REASON"]
    assert [row.split()[0] for row in rows] == [newer, older]
    assert all(f"it is {owner}'s"[:50] in row for row in rows)
    assert empty == ""
    assert verdict == "2 containers would be deleted. Nothing was: the same with --yes deletes."
    assert running(gateway, owner) == [newer, older]

    done = containers("reap", "--owner", owner, "--limit", "1", "--yes", url=f"{gateway.url}/v1/")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2:] == ["1 container: 1 deleted.", "More fit than are shown here."]
    assert running(gateway, owner) == [older]

    done = containers("reap", "--owner", owner, "--no-dry-run", "--json", url=gateway.url)
    answer = json.loads(done.stdout)
    assert (answer["deleted"], [each["id"] for each in answer["containers"]]) == (1, [older])
    assert running(gateway, owner) == []

    done = containers("reap", "--owner", owner, url=gateway.url)
    assert (done.returncode, done.stdout) == (0, "No running container fits.\n")


def test_a_name_cannot_command_the_terminal(gateway: RunningGateway, owner: str) -> None:
    (container_id, _) = running(gateway, owner)
    for arguments in (("list", "--owner", owner), ("info", container_id), ("reap", "--owner", owner)):
        done = containers(*arguments, url=gateway.url)
        assert done.returncode == 0
        assert "\x1b" not in done.stdout
        assert "sec?[31mond" in done.stdout


def test_list_and_info(gateway: RunningGateway, owner: str) -> None:
    newer, older = running(gateway, owner)
    gateway.client.post("/container/share", json={"container_id": older, "team_id": "lake", "access": "write"})
    done = containers("list", "--owner", owner, "--status", "running", "--size", "1", "--page", "2", url=gateway.url)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].startswith(f"{older}  ")
    assert done.stdout.splitlines()[-1] == "2 in all, page 2 of 2."
    done = containers("list", "--unowned", url=gateway.url)
    assert (done.returncode, done.stdout) == (0, "0 in all, page 1 of 0.\n")
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
        (["reap", "--key", "nobody", "--yes"], 1, "No key has this id or alias."),
        (["reap", "--olderthan", "2h"], 2, "olderthan"),
        (["info", "cntr_none"], 1, "no such container"),
        (["list", "--owner", "sea"], 2, "team:…"),
    ],
)
def test_what_is_refused_is_said_in_words(gateway: RunningGateway, arguments: list[str], code: int, words: str) -> None:
    done = containers(*arguments, url=gateway.url)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr


def test_a_virtual_key_is_not_enough(gateway: RunningGateway) -> None:
    key = gateway.make_key(container_scope="all")
    done = containers("list", "--api-key", key, url=gateway.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "This key may not use the admin routes" in done.stderr
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
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"quaymaster: {words}")
    assert "--base-url" in done.stderr


def test_what_is_no_gateway_is_not_taken_for_one(gateway: RunningGateway) -> None:
    done = containers("list", url=f"{gateway.url}/metrics?")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is no gateway of this kind (status 200)" in done.stderr


def test_a_key_that_cannot_be_sent(gateway: RunningGateway) -> None:
    done = containers("list", "--api-key", "sk-ключ", url=gateway.url)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_failure_is_an_exit_code(tmp_path: Path) -> None:
    with running_gateway(tmp_path, forwarding_to("http://127.0.0.1:1")) as gateway:
        done = containers("reap", "--unknown", url=gateway.url)
    assert done.returncode == 1
    assert "The deployment main was left out, as its list did not answer" in done.stdout


def test_without_a_key_it_says_where_to_get_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "app", "containers", "list"],
        env=clean_environment(PYTHONPATH=str(ROOT)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = "quaymaster: no key: say --api-key, or start the gateway first\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


def test_serving_does_not_load_what_only_these_commands_need() -> None:
    program = (
        "import sys, app.cli, app.serving; print([name for name in ('httpx', 'app.remote') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
