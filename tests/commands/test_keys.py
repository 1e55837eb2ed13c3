"""`quaymaster keys`: what operators do with keys."""

from __future__ import annotations

import json

import pytest

from tests.commands.running import run
from tests.e2e.gateway import RunningGateway

pytestmark = pytest.mark.usefixtures("operator")


def works(gateway: RunningGateway, key: str) -> bool:
    """Whether the gateway takes this key."""
    answer = gateway.client.get("/v1/containers", headers={"authorization": f"Bearer {key}"})
    return answer.status_code == 200


def test_a_keys_life(gateway: RunningGateway, team: str) -> None:
    made = run("keys", "create", "--alias", f"{team}-1", "--team", team, "--duration", "30d")
    assert made.code == 0
    (key,) = made.lines
    assert works(gateway, key)
    assert "It is shown this once." in made.stderr
    assert key not in made.stderr

    heading, row = run("keys", "list", "--team", team).lines
    shown = dict(zip(heading.lower().split(), row.split(), strict=True))
    key_id = shown["key_id"]
    assert (shown["key_alias"], shown["team_id"], shown["user_id"], shown["blocked"]) == (f"{team}-1", team, "-", "no")
    assert {"role", "spend", "reserved", "remaining", "max_budget", "budget_reset_at"} < shown.keys()

    assert run("keys", "block", key_id).code == 0
    assert not works(gateway, key)
    assert run("keys", "unblock", f"{team}-1").code == 0
    assert works(gateway, key)

    renewed = run("keys", "regenerate", key_id)
    assert renewed.code == 0
    assert not works(gateway, key)
    assert works(gateway, renewed.stdout.strip())

    deleted = run("keys", "delete", key_id)
    assert (deleted.code, deleted.stdout) == (0, f"{key_id}\n")
    gone = run("keys", "info", key_id)
    assert (gone.code, gone.stdout) == (3, "")


def test_what_was_said_is_set_and_the_rest_stays(team: str) -> None:
    allow = ("--allow", "containers.list", "--allow", "containers.files.*", "--scope", "all", "--deployment", "*")
    more = ("--tag", "x", "--tag", "y", "--metadata", '{"a": [1]}', "--user", "u")
    made = json.loads(run("keys", "create", *allow, *more, "--json").stdout)
    fields = {
        "allowed_operations": ["containers.list", "containers.files.*"],
        "container_scope": "all",
        "allowed_deployments": ["*"],
        "tags": ["x", "y"],
        "metadata": {"a": [1]},
        "user_id": "u",
    }
    assert {name: made[name] for name in fields} == fields
    changed = run(
        "keys", "update", made["key_id"], "--alias", team, "--set", "tags=null", "--set", "user_id=v", "--json"
    )
    answer = json.loads(changed.stdout)
    expected = fields | {"tags": [], "user_id": "v", "key_alias": team}
    assert {name: answer[name] for name in expected} == expected
    shown = dict(line.split(None, 1) for line in run("keys", "info", team).lines)
    assert shown["key_id"] == made["key_id"]
    assert shown["allowed_operations"] == "containers.list, containers.files.*"
    assert shown["metadata"] == '{"a": [1]}'


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["info", "nobody"], 3, "No key has this id or alias."),
        (["delete", "nobody"], 3, "No key has this id or alias."),
        (["create", "--metadata", "[1]"], 2, "--metadata is not a JSON object"),
        (["create", "--metadata", "{"], 2, "--metadata is not a JSON object"),
        (["create", "--set", "tags"], 2, "'tags' is not FIELD=VALUE"),
        (["create", "--set", "teem_id=x"], 2, "teem_id"),
        (["create", "--duration", "soon"], 2, "duration"),
        (["create", "--scope", "most"], 2, "--scope"),
        (["update"], 2, "KEY"),
    ],
)
def test_what_is_refused_is_said_in_words(arguments: list[str], code: int, words: str) -> None:
    done = run("keys", *arguments)
    assert (done.code, done.stdout) == (code, "")
    assert words in done.stderr


def test_a_virtual_key_is_not_enough(key: str) -> None:
    done = run("keys", "list", "--api-key", key)
    assert (done.code, done.stdout) == (4, "")
    assert key not in done.stderr
