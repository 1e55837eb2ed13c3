"""`quaymaster containers create|ls|get|rm`: a user's own containers."""

from __future__ import annotations

import json

import pytest

from tests.commands.running import run
from tests.e2e.gateway import RunningGateway

NOBODYS = "cntr_" + "0" * 48


def test_a_containers_life(key: str) -> None:
    made = run("containers", "create", "crate", "--minutes", "7", "--memory", "4g")
    assert (made.code, made.stderr) == (0, "")
    (container,) = made.lines

    heading, row = run("containers", "ls").lines
    assert heading.split() == ["ID", "NAME", "STATUS", "MEMORY_LIMIT", "CREATED_AT", "EXPIRES_AT"]
    assert row.split()[:4] == [container, "crate", "running", "4g"]

    shown = dict(line.split(None, 1) for line in run("containers", "get", container).lines)
    assert (shown["id"], shown["name"]) == (container, "crate")
    assert json.loads(shown["expires_after"]) == {"anchor": "last_active_at", "minutes": 7}

    removed = run("containers", "rm", container)
    assert (removed.code, removed.stdout, removed.stderr) == (0, f"{container}\n", "")
    gone = run("containers", "get", container)
    assert (gone.code, gone.stdout) == (3, "")
    assert f"Container with id '{container}' not found." in gone.stderr


def test_what_is_made_is_what_was_asked_for(key: str) -> None:
    closed = json.loads(run("containers", "create", "a", "--no-network", "--json").stdout)
    assert closed["network_policy"] == {"type": "disabled"}
    domains = ("--allow-domain", "a.example", "--allow-domain", "b.example")
    open_ = json.loads(run("containers", "create", "b", *domains, "--json").stdout)
    assert open_["network_policy"]["allowed_domains"] == ["a.example", "b.example"]
    both = run("containers", "create", "c", "--no-network", *domains)
    assert (both.code, both.stdout) == (2, "")
    assert [each["name"] for each in json.loads(run("containers", "ls", "--json").stdout)] == ["b", "a"]


def test_a_list_is_as_long_as_was_asked_for(key: str) -> None:
    assert run("containers", "ls").stdout == ""
    assert run("containers", "ls", "--json").stdout == "[]\n"
    made = [run("containers", "create", name).stdout.strip() for name in ("one", "two", "two")]
    assert [line.split()[0] for line in run("containers", "ls", "--order", "asc").lines[1:]] == made
    assert [line.split()[0] for line in run("containers", "ls", "--limit", "2").lines[1:]] == made[:0:-1]
    assert [line.split()[0] for line in run("containers", "ls", "--name", "one").lines[1:]] == made[:1]


def test_a_list_goes_on_over_all_pages(key: str, gateway: RunningGateway) -> None:
    for number in range(103):
        headers = {"authorization": f"Bearer {key}"}
        gateway.client.post("/v1/containers", json={"name": str(number)}, headers=headers).raise_for_status()
    listed = json.loads(run("containers", "ls", "--json").stdout)
    assert [each["name"] for each in listed] == [str(number) for number in reversed(range(103))]


def test_rm_removes_what_it_can(key: str) -> None:
    made = [run("containers", "create", name).stdout.strip() for name in ("one", "two")]
    done = run("containers", "rm", made[0], NOBODYS, made[1], "--json")
    assert done.code == 3
    assert [each["id"] for each in json.loads(done.stdout)] == made
    assert all(each["deleted"] for each in json.loads(done.stdout))
    assert NOBODYS in done.stderr


def test_a_provider_can_be_named(key: str) -> None:
    made = run("containers", "create", "crate", "--provider", "local")
    assert made.code == 0
    refused = run("containers", "create", "crate", "--provider", "nowhere")
    assert (refused.code, refused.stdout) == (2, "")
    assert "nowhere" in refused.stderr


@pytest.mark.parametrize("command", ["ls", "get"])
def test_a_name_cannot_command_the_terminal(key: str, command: str) -> None:
    container = run("containers", "create", "sec\x1b[31mond").stdout.strip()
    done = run("containers", *([command] if command == "ls" else [command, container]))
    assert "\x1b" not in done.stdout
    assert "sec?[31mond" in done.stdout
