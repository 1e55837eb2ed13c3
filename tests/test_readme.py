"""README's blocks, run from top to bottom as a stranger would paste them, against the embedded provider."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.gateway import RunningGateway, clean_environment, running_gateway
from tests.services import missing

ROOT = Path(__file__).parents[1]
BASE_URL = "http://localhost:4000"
OPENAI_FOR_NODE = "openai@7"
STRICT = 'set -euo pipefail\ncurl() { command curl --fail-with-body --show-error "$@"; }\n'
"""A stranger sees an error; a script has to be told to stop at it."""


class Block(NamedTuple):
    """A fenced block: its language, what stands behind the language, and its text."""

    language: str
    note: str
    text: str


def blocks(language: str | None = None) -> list[Block]:
    found = re.findall(r"^```(\w*) ?([\w-]*)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in map(Block._make, found) if language in {None, block.language}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the gateway is started, and where the stranger pastes."""
    return tmp_path_factory.mktemp("readme")


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[RunningGateway]:
    """What `make run` starts: no key, no settings."""
    with running_gateway(folder, QUAYMASTER_MASTER_KEY="") as gateway:
        key = (folder / "data" / "master_key").read_text().strip()
        gateway.client.headers["authorization"] = f"Bearer {key}"
        yield gateway


def at(gateway: RunningGateway, text: str) -> str:
    """The text with the address of this gateway."""
    return text.replace(BASE_URL, gateway.url)


def test_every_block_is_known() -> None:
    kinds = {(block.language, block.note) for block in blocks()}
    assert kinds == {("sh", ""), ("sh", "no-test"), ("python", ""), ("js", ""), ("json", "")}
    assert blocks()[0] == Block("sh", "", "make run\n")


def test_shell_and_python_blocks_run_as_they_stand(gateway: RunningGateway, folder: Path) -> None:
    script = [STRICT]
    for number, block in enumerate(blocks()[1:]):
        if block.language == "sh" and not block.note:
            script.append(block.text)
        elif block.language == "python":
            (folder / f"{number}.py").write_text(at(gateway, block.text))
            script.append(f"{sys.executable} {number}.py\n")
    done = subprocess.run(
        ["bash", "-c", at(gateway, "".join(script))],
        check=False,
        cwd=folder,
        env=clean_environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Ever Given,7") == 3
    assert (folder / "copy.csv").read_text() == "Ever Given,7\n"
    assert '"max_budget":0.06' in done.stdout
    assert '"deleted":true' in done.stdout
    assert re.search(r"/mnt/data/[0-9a-f]{32}-berths.csv 13\n", done.stdout)
    assert '"key_alias":"reports"' in done.stdout
    assert '"deleted_keys":["' in done.stdout


def test_the_node_block_runs_as_it_stands(gateway: RunningGateway, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        missing("npm")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    install = [npm, "install", "--no-audit", "--no-fund", "--prefer-offline", OPENAI_FOR_NODE]
    installed = subprocess.run(install, check=False, cwd=folder, capture_output=True, text=True, timeout=120)
    if installed.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"npm cannot install {OPENAI_FOR_NODE}")
    assert installed.returncode == 0, installed.stderr
    (block,) = blocks("js")
    (folder / "readme.js").write_text(at(gateway, block.text))
    environment = clean_environment(QUAYMASTER_API_KEY=(folder / "data" / "master_key").read_text().strip())
    done = subprocess.run(
        ["node", "readme.js"], check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Ever Given,7\n\n"


def test_the_log_line_is_what_the_gateway_writes(gateway: RunningGateway) -> None:
    (block,) = blocks("json")
    shown = json.loads(block.text)
    key = gateway.make_key(key_alias="log-line", team_id=shown["team_id"])
    as_team = {"authorization": f"Bearer {key}"}
    container = gateway.client.post("/v1/containers", json={"name": "log"}, headers=as_team).json()
    files = {"file": ("berths.csv", b"Ever Given,7\n")}
    answer = gateway.client.post(f"/v1/containers/{container['id']}/files", files=files, headers=as_team)
    written = gateway.log(answer.headers["x-request-id"])
    assert written.keys() == shown.keys()
    assert written["request_body"] == shown["request_body"]
    for name in ("event", "level", "operation", "owner", "provider", "deployment", "status", "outcome", "attempts"):
        assert written[name] == shown[name], name


def test_the_headers_that_are_named_are_sent(gateway: RunningGateway) -> None:
    sentence = re.search(r"Answers carry (.+?)\. ", (ROOT / "README.md").read_text(), re.DOTALL)
    assert sentence
    answer = gateway.client.get("/v1/containers")
    for name in re.findall(r"`([\w-]+)`", sentence[1]):
        assert name in answer.headers, name


def test_no_block_speaks_to_anything_but_the_gateway() -> None:
    for block in blocks():
        if not block.note:
            assert set(re.findall(r"https?://[^/\"'\s]+", block.text)) <= {BASE_URL}
