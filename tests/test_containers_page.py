"""docs/containers.md: its examples run as they stand, and its tables are those of the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

from app.api.admin.container_models import ReapContainers
from app.config.settings import Settings
from app.registry.reap import AT_ONCE, LIMIT, MAX_FAILURES, Outcome
from tests.e2e.gateway import ROOT, clean_environment, running_gateway
from tests.test_readme import BASE_URL, STRICT

PAGE = (ROOT / "docs" / "containers.md").read_text()


def blocks(language: str) -> str:
    return "".join(re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


def test_the_examples_run_as_they_stand(tmp_path: Path) -> None:
    with running_gateway(tmp_path, QUAYMASTER_MASTER_KEY="") as gateway:
        command = f'quaymaster() {{ {sys.executable} -m app "$@" --base-url {gateway.url}; }}\n'
        done = subprocess.run(
            ["bash", "-c", STRICT + command + blocks("sh").replace(BASE_URL, gateway.url)],
            check=False,
            cwd=tmp_path,
            env=clean_environment(PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            timeout=60,
        )
        left = gateway.client.get("/v1/containers", headers=key_of(tmp_path)).json()["data"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"shares":{"team:lake":"read"}' in done.stdout
    assert '"owner":"team:lake"' in done.stdout
    assert '"deleted":1' in done.stdout
    assert "1 in all, page 1 of 1." in done.stderr
    assert done.stderr.endswith("No running container fits.\n" * 2)
    assert left == []


def key_of(folder: Path) -> dict[str, str]:
    return {"authorization": f"Bearer {(folder / 'data' / 'master_key').read_text().strip()}"}


def test_the_settings_are_settings() -> None:
    settings = Settings(**yaml.safe_load(blocks("yaml")))
    assert settings.reap.has_criterion
    assert settings.reap.every_seconds == 600


def test_every_criterion_and_outcome_is_explained() -> None:
    table = PAGE[PAGE.index("| field | which containers |") :]
    explained = {
        name for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert explained == ReapContainers.model_fields.keys() - {"dry_run"}
    for outcome in Outcome:
        assert f"`{outcome.value}`" in table
    assert (f"{LIMIT:,} is the most" in table, AT_ONCE, MAX_FAILURES) == (True, 4, 5)  # "Four", "five"
