"""`quaymaster demo`: the whole life of a container, as a user of the OpenAI SDK sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openai import OpenAI

CONTENT = b"name,berth\nEver Given,7\n"


class DemoError(Exception):
    """A step of the demo failed."""


def run_demo(base_url: str, api_key: str) -> None:
    """Run every operation once and print what came back. Raises DemoError."""
    try:
        import openai
    except ImportError:
        raise DemoError("needs the OpenAI SDK: pip install 'quaymaster[demo]'") from None
    print(f"client = OpenAI(base_url={base_url!r}, api_key='sk-...')\n")
    try:
        with openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=0) as client:
            _walk(client)
    except openai.APIConnectionError:
        raise DemoError(
            f"nothing answers at {base_url}: start the gateway with `make run`, or say --base-url"
        ) from None
    except openai.APIError as error:
        raise DemoError(error.message) from error
    print("Done: all nine operations.")


def _walk(client: OpenAI) -> None:
    container = client.containers.create(name="demo", expires_after={"anchor": "last_active_at", "minutes": 20})
    _step("containers.create", f"{container.id} is {container.status}")
    try:
        _step("containers.retrieve", f"name {client.containers.retrieve(container.id).name!r}")
        _step("containers.list", f"{len(client.containers.list(limit=100).data)} on the first page")
        _walk_files(client, container.id)
    finally:
        client.containers.delete(container.id)
    _step("containers.delete", "gone")


def _walk_files(client: OpenAI, container_id: str) -> None:
    files = client.containers.files
    file = files.create(container_id, file=("berths.csv", CONTENT))
    _step("containers.files.create", f"{file.id}, {file.bytes} bytes at {file.path}")
    _step("containers.files.retrieve", f"source {files.retrieve(file.id, container_id=container_id).source!r}")
    _step("containers.files.list", f"{len(files.list(container_id).data)} file")
    content = files.content.retrieve(file.id, container_id=container_id).read()
    if content != CONTENT:
        raise DemoError("the downloaded file is not the uploaded one")
    _step("containers.files.content", f"{len(content)} bytes, the same as went up")
    files.delete(file.id, container_id=container_id)
    _step("containers.files.delete", "gone")


def _step(operation: str, outcome: str) -> None:
    print(f"  {operation:<26} {outcome}")
