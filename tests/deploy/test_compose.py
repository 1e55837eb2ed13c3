"""deploy/compose.yaml: what runs, what may reach what, and that every variable it needs is in env.example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config.load import load_settings
from app.config.settings import ServerSettings
from tests.deploy.dockerfile import ROOT, stages

DEPLOY = ROOT / "deploy"
CLOSING_SECONDS = 15
"""After the drain: background tasks, pools, the embedded provider."""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return parsed


def test_the_gateway_runs_alone_by_default(compose: dict[str, Any]) -> None:
    assert [name for name, service in compose["services"].items() if "profiles" not in service] == ["gateway"]
    assert {name for name, service in compose["services"].items() if service.get("profiles") == ["full"]} == {
        "postgres",
        "redis",
    }
    for dependency in compose["services"]["gateway"]["depends_on"].values():
        assert dependency == {"condition": "service_healthy", "required": False}


def test_every_service_is_locked_down(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "/tmp" in service["tmpfs"], name
        assert service["volumes"], name


def test_only_the_gateway_has_a_port_and_only_this_machine_reaches_it(compose: dict[str, Any]) -> None:
    published = {name: service.get("ports", []) for name, service in compose["services"].items()}
    (_, final) = stages()
    assert published == {"gateway": [f"127.0.0.1:4000:{final.one('EXPOSE')}"], "postgres": [], "redis": []}
    assert compose["networks"]["back"]["internal"] is True
    assert compose["services"]["postgres"]["networks"] == compose["services"]["redis"]["networks"] == ["back"]


def test_databases_say_when_they_are_ready(compose: dict[str, Any]) -> None:
    assert all("healthcheck" in compose["services"][name] for name in ("postgres", "redis"))


def test_a_stop_waits_for_the_drain(compose: dict[str, Any]) -> None:
    seconds = int(compose["services"]["gateway"]["stop_grace_period"].removesuffix("s"))
    assert seconds >= ServerSettings().drain_seconds + CLOSING_SECONDS


def test_named_volumes_and_networks_exist(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= compose["volumes"].keys()
        assert set(service["networks"]) <= compose["networks"].keys()
    assert compose["services"]["gateway"]["volumes"] == ["data:/data"]


def test_the_example_of_an_environment_is_complete_and_starts_the_gateway(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    example = (DEPLOY / "env.example").read_text()
    for variable in re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()):
        assert re.search(rf"^#?{variable}=", example, re.MULTILINE), variable
    switched_on = re.sub(r"^#(?=[A-Z_]+=)", "", example, flags=re.MULTILINE)
    environment = dict(line.split("=", 1) for line in switched_on.splitlines() if line and not line.startswith("#"))
    assert environment.pop("COMPOSE_PROFILES") == "full"
    environment["POSTGRES_PASSWORD"] = "only4tests"
    database = environment["DATABASE_URL"] = environment["DATABASE_URL"].replace("${POSTGRES_PASSWORD}", "only4tests")
    postgres = compose["services"]["postgres"]["environment"]
    assert database == f"postgresql://{postgres['POSTGRES_USER']}:only4tests@postgres:5432/{postgres['POSTGRES_DB']}"
    environment |= {"QUAYMASTER_MASTER_KEY": "sk-0123456789abcdef", "QUAYMASTER_SERVER__HOST": "0.0.0.0"}
    assert load_settings(ROOT / "config.yaml", environment).database_url.get_secret_value() == database
