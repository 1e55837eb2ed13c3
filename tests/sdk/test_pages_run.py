"""docs/sdk.md and docs/coming-from-litellm.md, run as they stand; and what LiteLLM's pages show, but for the import."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import quaymaster
from tests.e2e.gateway import running_gateway
from tests.services import free_port

ROOT = Path(__file__).parents[2]
PAGES = ("docs/sdk.md", "docs/coming-from-litellm.md")
MASTER_KEY = "sk-master-0123456789abcdef"


def python_in(page: str) -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module", params=["gateway", "provider"])
def variables(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a program that reaches a gateway, or the provider's own API."""
    folder = tmp_path_factory.mktemp("pages")
    if request.param == "gateway":
        with running_gateway(folder, QUAYMASTER_MASTER_KEY=MASTER_KEY) as gateway:
            yield {"QUAYMASTER_API_BASE": gateway.url, "QUAYMASTER_API_KEY": MASTER_KEY}
        return
    port = free_port()
    command = [sys.executable, "-m", "app", "fake-openai", "--port", str(port), "--data-dir", str(folder / "data")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as provider:
        assert provider.stdout is not None
        assert provider.stdout.readline()
        yield {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_API_KEY": "sk-any"}
        provider.terminate()


def run(program: str, folder: Path, variables: dict[str, str]) -> str:
    """Run a program where a data.csv is; what it printed."""
    (folder / "data.csv").write_bytes(b"a,b\n1,2\n")
    (folder / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_a_pages_examples_run(page: str, tmp_path: Path, variables: dict[str, str]) -> None:
    run(python_in(page), tmp_path, variables)


def test_the_page_has_every_function() -> None:
    text = (ROOT / "docs/sdk.md").read_text()
    functions = {name for name in quaymaster.__all__ if name.islower()}
    twins = {name for name in functions if name.startswith("a") and name[1:] in functions}
    assert [name for name in sorted(functions - twins) if f"`{name}" not in text] == []
    assert {f"a{name}" for name in functions - twins - {"container"}} == twins


SYNC = """
from {module} import (
    create_container, delete_container, delete_container_file, list_container_files, list_containers,
    retrieve_container, retrieve_container_file, retrieve_container_file_content, upload_container_file,
)
import {module}

container = {module}.create_container(
    name="My Code Interpreter Container",
    custom_llm_provider="openai",
    expires_after={{"anchor": "last_active_at", "minutes": 20}}
)
print(f"Container ID: {{container.id}}")
containers = list_containers(custom_llm_provider="openai", limit=20, order="desc")
assert container.id in [each.id for each in containers.data], "the new one is on the first page"
container = retrieve_container(container_id=container.id, custom_llm_provider="openai")
print(f"Status: {{container.status}} Created: {{container.created_at}}")
file = upload_container_file(
    container_id=container.id,
    file=("data.csv", open("data.csv", "rb").read(), "text/csv"),
    custom_llm_provider="openai"
)
print(f"Path: {{file.path}}")
files = list_container_files(container_id=container.id, custom_llm_provider="openai")
assert [(each.id, each.filename.endswith("data.csv")) for each in files.data] == [(file.id, True)]
file = retrieve_container_file(container_id=container.id, file_id=file.id, custom_llm_provider="openai")
print(f"Size: {{file.bytes}} bytes")
content = retrieve_container_file_content(container_id=container.id, file_id=file.id, custom_llm_provider="openai")
with open("output.png", "wb") as f:
    f.write(content)
assert content == b"a,b\\n1,2\\n"
result = delete_container_file(container_id=container.id, file_id=file.id, custom_llm_provider="openai")
assert result.deleted
result = delete_container(container_id=container.id, custom_llm_provider="openai")
print(f"Deleted: {{result.deleted}}")
"""
"""The snippets of LiteLLM's pages `containers` and `container_files`, one after the other, with real ids."""


def as_async(program: str) -> str:
    """The same with the async twins: `await` and an `a` in front of each call."""
    call = r"((?:\{module\}\.)?)\b((?:create|delete|list|retrieve|upload)_container\w*)\("
    called = re.sub(call, r"await \1a\2(", program)
    head, _, body = called.partition("import {module}\n")
    head = re.sub(r"\b((?:create|delete|list|retrieve|upload)_container\w*)", r"a\1", head)
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    return f"{head}import {{module}}, asyncio\n\nasync def main():\n{indented}\n\nasyncio.run(main())\n"


@pytest.mark.parametrize("program", [SYNC, as_async(SYNC)], ids=["sync", "async"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_peers_snippets_run_with_another_import(program: str, tmp_path: Path, variables: dict[str, str]) -> None:
    text = program.format(module="quaymaster").replace('open("data.csv", "rb").read()', "b'a,b\\n1,2\\n'")
    assert "Deleted: True" in run(text, tmp_path, variables)
