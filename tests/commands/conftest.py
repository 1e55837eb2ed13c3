"""A gateway to command, and an environment in which nothing else configures the command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.gateway import MASTER_KEY, RunningGateway, clean_environment, running_gateway


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway with the embedded provider."""
    with running_gateway(tmp_path_factory.mktemp("commands")) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without settings, a home without a configuration, no variable that would say anything."""
    for name in os.environ.keys() - clean_environment().keys():
        monkeypatch.delenv(name)
    for name in ("NO_COLOR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def team(request: pytest.FixtureRequest) -> str:
    """A team of this test's own."""
    name: str = request.node.name[:60]
    return name


@pytest.fixture
def key(gateway: RunningGateway, team: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A virtual key of the team, which commands find in the environment."""
    key = gateway.make_key(team_id=team)
    monkeypatch.setenv("QUAYMASTER_API_BASE", gateway.url)
    monkeypatch.setenv("QUAYMASTER_API_KEY", key)
    return key


@pytest.fixture
def operator(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of who may do everything."""
    monkeypatch.setenv("QUAYMASTER_API_BASE", gateway.url)
    monkeypatch.setenv("QUAYMASTER_API_KEY", MASTER_KEY)
