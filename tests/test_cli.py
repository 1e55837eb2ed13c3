"""The `quaymaster` command as a whole: what there is, what it loads, what shells are offered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tests.commands.running import environment, run, spawn
from tests.e2e.gateway import ROOT, RunningGateway, running_gateway

HEAVY = ("httpx", "rich", "tomllib", "quaymaster.client", "app.commands.invocation")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without settings."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - environment().keys():
        monkeypatch.delenv(name, raising=False)


def test_serving_does_not_load_what_only_other_commands_need() -> None:
    program = f"import sys, app.cli, app.serving; print([name for name in {HEAVY} if sys.modules.get(name)])"
    # What structlog would take of rich, `serve` keeps from it.
    program = f"import sys; sys.modules['rich'] = None; {program}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_who_says_everything_does_not_pay_for_settings(tmp_path: Path) -> None:
    program = (
        "import sys, app.cli\n"
        "try: app.cli.cli(['containers', 'ls', '--base-url', 'http://127.0.0.1:1', '--api-key', 'k'])\n"
        "except SystemExit as end: print(end.code, 'app.config.settings' in sys.modules)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.stdout == "6 False\n", done.stderr


def test_help_shows_every_group() -> None:
    done = run("--help")
    shown = {line.split()[0] for line in done.stdout.partition("Commands:")[2].splitlines() if line.strip()}
    assert {"serve", "check", "demo", "containers", "files", "keys", "teams", "users", "spend", "db"} <= shown


def test_its_version_is_that_of_the_distribution() -> None:
    done = run("--version")
    assert (done.code, done.stdout) == (0, f"quaymaster {metadata.version('quaymaster')}\n")


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    done = run("fils")
    assert (done.code, done.stdout) == (2, "")
    assert "Did you mean 'files'?" in done.stderr


def test_check_answers_programs_too() -> None:
    answer = json.loads(run("check", "--json").stdout)
    assert answer["default_provider"] == "local"
    assert [each["name"] for each in answer["deployments"]] == ["local"]


def offered(*words: str, cwd: Path, **variables: str) -> list[str]:
    """What bash is offered for the last of these words."""
    asked = {"_QUAYMASTER_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    program = "import sys, app.cli; sys.argv[0] = 'quaymaster'; app.cli.main()"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=cwd,
        env=environment(**asked, **variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway with the embedded provider."""
    with running_gateway(tmp_path_factory.mktemp("cli")) as gateway:
        yield gateway


def test_shells_are_offered_commands_profiles_and_containers(gateway: RunningGateway, tmp_path: Path) -> None:
    assert {"files", "containers"} <= set(offered("quaymaster", "", cwd=tmp_path))
    assert offered("quaymaster", "files", "p", cwd=tmp_path) == ["put"]
    container = gateway.client.post("/v1/containers", json={"name": "x"}).json()["id"]
    key = gateway.make_key(container_scope="all")
    reach = {"QUAYMASTER_API_BASE": gateway.url, "QUAYMASTER_API_KEY": key}
    assert offered("quaymaster", "containers", "get", container[:9], cwd=tmp_path, **reach) == [container]
    assert offered("quaymaster", "files", "ls", "cntr_!", cwd=tmp_path, **reach) == []
    folder = tmp_path / "quaymaster"
    folder.mkdir()
    (folder / "config.toml").write_text("[profiles.work]\n[profiles.home]\n")
    words = ("quaymaster", "files", "ls", "--profile", "w")
    assert offered(*words, cwd=tmp_path, XDG_CONFIG_HOME=str(tmp_path)) == ["work"]


def test_where_nobody_answers_nothing_is_offered(tmp_path: Path) -> None:
    reach = {"QUAYMASTER_API_BASE": "http://127.0.0.1:1", "QUAYMASTER_API_KEY": "k"}
    assert offered("quaymaster", "containers", "get", "", cwd=tmp_path, **reach) == []
    (tmp_path / "config.yaml").write_text("server: 1\n")
    assert offered("quaymaster", "containers", "get", "c", cwd=tmp_path) == []


def test_a_process_of_its_own_ends_the_same_way(tmp_path: Path) -> None:
    done = spawn("containers", "list", cwd=tmp_path)
    expected = b"quaymaster: no key: say --api-key, or start the gateway first\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", expected)
