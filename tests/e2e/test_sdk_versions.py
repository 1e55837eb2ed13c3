"""Programs as users publish them for this API, in old and new versions of openai-python, and with curl.

Of each program only the address, the key and the ids of the page are replaced by real ones.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tests.e2e.gateway import MASTER_KEY, RunningGateway, clean_environment, forwarding_to, running_gateway
from tests.e2e.sdk_packages import packages
from tests.fakes.spec_upstream import spec_upstream
from tests.services import missing

INSTALLED = "installed"
CONTENT = b"name,berth\nEver Given,7\n"

CONTAINERS = """
from openai import OpenAI

client = OpenAI(base_url="http://localhost:4000", api_key="sk-1234")
openai = {"custom_llm_provider": "openai"}

ledger = client.containers.create(
    name="ledger", expires_after={"anchor": "last_active_at", "minutes": 20}, extra_body=openai
)
print(ledger.id, ledger.name, ledger.created_at)

page = client.containers.list(limit=20, extra_body=openai)
assert ledger.id in [one.id for one in page.data]

found = client.containers.retrieve(container_id=ledger.id, extra_body=openai)
assert (found.name, found.status) == ("ledger", "running")
assert found.expires_at == found.last_active_at + 20 * 60

client.containers.delete(container_id=ledger.id, extra_body=openai)
assert ledger.id not in [one.id for one in client.containers.list()]
"""

UPLOAD = """
from openai import OpenAI

client = OpenAI(base_url="http://localhost:4000", api_key="sk-1234")
with open("berths.csv", "rb") as file:
    uploaded = client.containers.files.create(container_id="cntr_123...", file=file)
assert uploaded.bytes == 24
assert uploaded.path == "/mnt/data/" + uploaded.filename
assert uploaded.filename.endswith("-berths.csv")
"""

FILES = """
from openai import OpenAI

client = OpenAI(base_url="http://localhost:4000", api_key="sk-1234")
assert "cfile_456..." in [file.id for file in client.containers.files.list(container_id="cntr_123...").data]

file = client.containers.files.retrieve(container_id="cntr_123...", file_id="cfile_456...")
assert (file.filename.split("-")[-1], file.bytes) == ("berths.csv", 24)

content = client.containers.files.content.with_raw_response.retrieve(
    container_id="cntr_123...", file_id="cfile_456..."
)
assert content.content == b"name,berth\\nEver Given,7\\n"

client.containers.files.delete(container_id="cntr_123...", file_id="cfile_456...")
assert "cfile_456..." not in [file.id for file in client.containers.files.list(container_id="cntr_123...")]
"""

READS_FROM_ANOTHER = """
from openai import OpenAI

client = OpenAI(base_url="http://localhost:4000", api_key="sk-1234")
azure = {"custom_llm_provider": "azure"}
client.containers.list(extra_body=azure)
client.containers.retrieve("cntr_1", extra_body=azure)
client.containers.files.list("cntr_1", extra_body=azure)
client.containers.files.retrieve("cfile_1", container_id="cntr_1", extra_body=azure)
client.containers.files.content.retrieve("cfile_1", container_id="cntr_1", extra_body=azure)
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path_factory.mktemp("versions")) as gateway:
        yield gateway


@pytest.fixture
def ids(gateway: RunningGateway) -> dict[str, str]:
    """A container with a file in it, under the ids of the programs."""
    container = gateway.client.post("/v1/containers", json={"name": "x"}).json()["id"]
    file = gateway.client.post(f"/v1/containers/{container}/files", files={"file": ("berths.csv", CONTENT)})
    return {"cntr_123...": container, "cfile_456...": file.json()["id"]}


def filled_in(text: str, gateway: RunningGateway, ids: dict[str, str]) -> str:
    for placeholder, real in {"http://localhost:4000": gateway.url, "sk-1234": MASTER_KEY, **ids}.items():
        text = text.replace(placeholder, real)
    return text


def run_python(program: str, version: str, folder: Path, cache: pytest.Cache) -> None:
    """Run a program with that version of the SDK, which must print no traceback."""
    path = "" if version == INSTALLED else str(packages(f"openai-{version}", cache))
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=clean_environment(PYTHONPATH=path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("version", "programs"),
    [
        # The first version with containers: it writes a file into JSON, which ends in a TypeError of its own.
        ("1.81.0", [CONTAINERS, FILES]),
        ("1.95.0", [CONTAINERS, UPLOAD, FILES]),
        ("2.54.0", [CONTAINERS, UPLOAD, FILES]),
        (INSTALLED, [CONTAINERS, UPLOAD, FILES]),
    ],
    ids=["1.81.0", "1.95.0", "2.54.0", INSTALLED],
)
def test_programs_in_every_generation_of_the_sdk(
    gateway: RunningGateway,
    ids: dict[str, str],
    version: str,
    programs: list[str],
    tmp_path: Path,
    cache: pytest.Cache,
) -> None:
    (tmp_path / "berths.csv").write_bytes(CONTENT)
    run_python(filled_in("\n".join(programs), gateway, ids), version, tmp_path, cache)


@pytest.mark.parametrize("version", ["1.81.0", "1.95.0"])
def test_old_versions_name_the_provider_in_the_body_of_a_get(version: str, tmp_path: Path, cache: pytest.Cache) -> None:
    with spec_upstream() as openai, spec_upstream() as azure:
        second = {"name": "second", "provider": "azure", "api_base": f"{azure.origin}/openai/v1", "api_key": "k"}
        with running_gateway(tmp_path, forwarding_to(openai.origin, others=[second])) as gateway:
            run_python(filled_in(READS_FROM_ANOTHER, gateway, {}), version, tmp_path, cache)
    assert not openai.requests
    assert [request.target for request in azure.requests] == [
        b"/openai/v1/containers",
        b"/openai/v1/containers/cntr_1",
        b"/openai/v1/containers/cntr_1/files",
        b"/openai/v1/containers/cntr_1/files/cfile_1",
        b"/openai/v1/containers/cntr_1/files/cfile_1/content",
    ]
    for request in azure.requests:
        assert request.body == b""
        assert request.header(b"content-type") is None
        assert request.header(b"content-length") is None


INLINE_SKILL = """
SKILL_ZIP=$(base64 -w 0 berths.zip)

curl -L 'http://localhost:4000/v1/containers' \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer sk-1234" \\
  -d '{
    "name": "with a skill",
    "skills": [
      {
        "type": "inline",
        "name": "berths",
        "description": "Finds a berth.",
        "source": {"type": "base64", "media_type": "application/zip", "data": "'"$SKILL_ZIP"'"}
      }
    ]
  }'
"""

COMMANDS: dict[str, tuple[str, dict[str, Any]]] = {
    "create": (
        """curl -X POST "http://localhost:4000/v1/containers" \\
            -H "Authorization: Bearer sk-1234" -H "Content-Type: application/json" \\
            -d '{"name": "ledger", "memory_limit": "4g", "expires_after": {"anchor": "last_active_at", "minutes": 5}}'
        """,
        {"object": "container", "name": "ledger", "memory_limit": "4g"},
    ),
    "create, provider in a header": (
        """curl -X POST "http://localhost:4000/v1/containers" -H "custom-llm-provider: openai" \\
            -H "Authorization: Bearer sk-1234" -H "Content-Type: application/json" -d '{"name": "ledger"}'
        """,
        {"object": "container", "name": "ledger"},
    ),
    "create, provider in the query": (
        """curl -X POST "http://localhost:4000/v1/containers?custom_llm_provider=openai" \\
            -H "Authorization: Bearer sk-1234" -H "Content-Type: application/json" -d '{"name": "ledger"}'
        """,
        {"object": "container", "name": "ledger"},
    ),
    "create, and curl's own content type": (
        """curl http://localhost:4000/containers -H "Authorization: Bearer sk-1234" -d '{"name": "ledger"}'""",
        {"object": "container", "name": "ledger"},
    ),
    "create with a skill in it": (INLINE_SKILL, {"object": "container", "name": "with a skill"}),
    "list": (
        """curl "http://localhost:4000/v1/containers?limit=20&order=desc" -H "Authorization: Bearer sk-1234" """,
        {"object": "list", "first_id": "cntr_123..."},
    ),
    "retrieve": (
        """curl "http://localhost:4000/v1/containers/cntr_123..." -H "api-key: sk-1234" """,
        {"object": "container", "id": "cntr_123..."},
    ),
    "retrieve, with a content type and no content": (
        """curl -X GET "http://localhost:4000/v1/containers/cntr_123..." \\
            -H "Content-Type: application/json" -H "x-api-key: sk-1234" """,
        {"object": "container", "id": "cntr_123..."},
    ),
    "delete": (
        """curl -X DELETE "http://localhost:4000/v1/containers/cntr_123..." -H "Authorization: Bearer sk-1234" """,
        {"object": "container.deleted", "id": "cntr_123...", "deleted": True},
    ),
    "upload": (
        """curl "http://localhost:4000/v1/containers/cntr_123.../files" -H "Authorization: Bearer sk-1234" \\
            -F file="@berths.csv" """,
        {"object": "container.file", "container_id": "cntr_123...", "bytes": 24, "source": "user"},
    ),
    "upload, provider in the form": (
        """curl "http://localhost:4000/v1/containers/cntr_123.../files" -H "Authorization: Bearer sk-1234" \\
            -F file="@berths.csv" -F custom_llm_provider=openai """,
        {"object": "container.file", "container_id": "cntr_123...", "bytes": 24, "source": "user"},
    ),
    "list files": (
        """curl "http://localhost:4000/v1/containers/cntr_123.../files" -H "Authorization: Bearer sk-1234" """,
        {"object": "list", "first_id": "cfile_456...", "last_id": "cfile_456...", "has_more": False},
    ),
    "retrieve a file": (
        """curl "http://localhost:4000/v1/containers/cntr_123.../files/cfile_456..." \\
            -H "Authorization: Bearer sk-1234" """,
        {"object": "container.file", "id": "cfile_456...", "bytes": 24},
    ),
    "download": (
        """curl "http://localhost:4000/v1/containers/cntr_123.../files/cfile_456.../content" \\
            -H "Authorization: Bearer sk-1234" --output fetched.csv && cmp berths.csv fetched.csv && echo '{}'""",
        {},
    ),
    "delete a file": (
        """curl -X DELETE "http://localhost:4000/v1/containers/cntr_123.../files/cfile_456..." \\
            -H "Authorization: Bearer sk-1234" """,
        {"object": "container.file.deleted", "id": "cfile_456...", "deleted": True},
    ),
}


@pytest.mark.parametrize(("command", "answer"), COMMANDS.values(), ids=COMMANDS)
def test_commands_for_curl(
    gateway: RunningGateway, ids: dict[str, str], command: str, answer: dict[str, Any], tmp_path: Path
) -> None:
    if shutil.which("curl") is None:
        missing("curl")
    (tmp_path / "berths.csv").write_bytes(CONTENT)
    with ZipFile(tmp_path / "berths.zip", "w") as skill:
        skill.writestr("SKILL.md", "---\nname: berths\ndescription: Finds a berth.\n---\n")
    ran = subprocess.run(
        ["bash", "-c", filled_in(command, gateway, ids)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said | {name: ids.get(value, value) for name, value in answer.items()} == said
