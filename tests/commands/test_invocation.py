"""Where commands send, and with which key: what is said last is the weakest."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.commands.exits import CommandError, ExitCode
from app.commands.invocation import Invocation
from tests.commands.running import run
from tests.e2e.gateway import MASTER_KEY, RunningGateway

VARIABLES = {"QUAYMASTER_API_BASE": "http://env", "QUAYMASTER_API_KEY": "sk-env"}
PROFILES = """
[profiles.default]
base_url = "http://default"
api_key = "sk-default"
[profiles.work]
base_url = "http://work"
api_key = "sk-work"
[profiles.bare]
base_url = "http://bare"
"""


@pytest.fixture
def profiles(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with profiles."""
    path = elsewhere / "xdg" / "quaymaster" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(PROFILES)
    path.chmod(0o600)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(elsewhere / "xdg"))
    return path


@pytest.mark.parametrize(
    ("said", "variables", "expected"),
    [
        ({}, {}, ("http://default", "sk-default")),
        ({}, {"QUAYMASTER_PROFILE": "work"}, ("http://work", "sk-work")),
        ({}, VARIABLES | {"QUAYMASTER_PROFILE": "work"}, ("http://env", "sk-env")),
        ({}, {"QUAYMASTER_API_KEY": "sk-env"}, ("http://default", "sk-env")),
        ({}, {"QUAYMASTER_API_KEY": "", "QUAYMASTER_PROFILE": ""}, ("http://default", "sk-default")),
        ({"profile": "work"}, VARIABLES, ("http://work", "sk-work")),
        ({"profile": "bare"}, VARIABLES, ("http://bare", "sk-env")),
        ({"profile": "work", "api_key": "sk-said"}, VARIABLES, ("http://work", "sk-said")),
        ({"base_url": "http://said", "api_key": "sk-said"}, VARIABLES, ("http://said", "sk-said")),
    ],
)
def test_the_strongest_is_taken(
    profiles: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: dict[str, str],
    variables: dict[str, str],
    expected: tuple[str, str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for for_operator in (False, True):
        assert Invocation(**said)._destination(for_operator=for_operator) == expected  # type: ignore[arg-type]


def test_without_a_word_it_is_the_gateway_of_this_folder(
    gateway: RunningGateway, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "config.yaml").write_text(f"server: {{port: {gateway.port}}}\n")
    monkeypatch.setenv("QUAYMASTER_MASTER_KEY", MASTER_KEY)
    assert run("containers", "ls").code == 0
    assert run("keys", "list").code == 0


def test_the_master_key_of_this_folder_does_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUAYMASTER_MASTER_KEY", MASTER_KEY)
    with pytest.raises(CommandError, match="no key for http://far: say --api-key") as caught:
        Invocation(base_url="http://far")._destination(for_operator=False)
    assert caught.value.code == ExitCode.MISUSED
    assert Invocation(base_url="http://far")._destination(for_operator=True) == ("http://far", MASTER_KEY)


def test_without_a_key_it_says_where_to_get_one() -> None:
    done = run("keys", "list")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == "quaymaster: no key: say --api-key, or start the gateway first\n"


def test_wrong_settings_are_said(elsewhere: Path) -> None:
    (elsewhere / "config.yaml").write_text("server: {prot: 1}\n")
    done = run("containers", "ls")
    assert (done.code, done.stdout) == (2, "")
    assert "server.prot: unknown setting; did you mean server.port?" in done.stderr


def test_no_key_is_ever_shown(profiles: Path) -> None:
    assert "sk-said" not in repr(Invocation(api_key="sk-said"))
