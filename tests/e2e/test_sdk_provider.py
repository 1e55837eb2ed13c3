"""`custom_llm_provider` as users of the SDKs send it: it chooses where a request goes, and never goes there itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from tests.e2e.gateway import MASTER_KEY, RunningGateway, forwarding_to, running_gateway
from tests.e2e.sdk_packages import run_node
from tests.fakes.multipart import form_parts
from tests.fakes.scripted import Received
from tests.fakes.spec_upstream import SpecUpstream, spec_upstream


@dataclass
class TwoProviders:
    """A gateway that forwards to `openai`, and where it is told to, to `azure`."""

    gateway: RunningGateway
    openai: SpecUpstream
    azure: SpecUpstream


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoProviders]:
    with spec_upstream() as openai, spec_upstream() as azure:
        second = {
            "name": "second",
            "provider": "azure",
            "api_base": f"{azure.origin}/openai/v1",
            "api_key": "the-azure-key",
        }
        config = forwarding_to(openai.origin, others=[second])
        with running_gateway(tmp_path_factory.mktemp("two-providers"), config) as gateway:
            yield TwoProviders(gateway, openai, azure)


@pytest.fixture
def providers(running: TwoProviders) -> TwoProviders:
    running.openai.requests.clear()
    running.azure.requests.clear()
    return running


@pytest.fixture
def client(providers: TwoProviders) -> Iterator[OpenAI]:
    with OpenAI(base_url=providers.gateway.url, api_key=MASTER_KEY, max_retries=0) as client:
        yield client


def said(request: Received) -> tuple[Any, ...]:
    """What a request says to an upstream of any provider, having checked that it says nothing of providers."""
    sent = (request.raw_head + bytes(request.body)).lower()
    assert b"custom_llm_provider" not in sent
    assert b"custom-llm-provider" not in sent
    assert MASTER_KEY.encode() not in sent
    content_type = request.header(b"content-type") or b""
    body: Any = bytes(request.body)
    if content_type.startswith(b"multipart/form-data"):
        content_type, body = b"a form", form_parts(content_type, body)
    elif content_type.startswith(b"application/json"):
        body = json.loads(body)
    return request.method, request.target.removeprefix(b"/openai"), content_type, body


def same_but_elsewhere(providers: TwoProviders) -> bool:
    """Whether both upstreams were asked the same, each with its own key."""
    assert {request.header(b"authorization") for request in providers.openai.requests} == {b"Bearer sk-upstream-secret"}
    assert {request.header(b"api-key") for request in providers.azure.requests} == {b"the-azure-key"}
    assert all(request.target.startswith(b"/openai/v1/") for request in providers.azure.requests)
    return [said(request) for request in providers.openai.requests] == [
        said(request) for request in providers.azure.requests
    ]


Call = Callable[..., object]
"""One operation: takes the client, and the `extra_…` arguments that every method of the SDK has."""
SIZES = [30, 70_000, 3_000_000]
"""Of a file: read whole, held in memory until the field has come, held on disk."""


def upload(size: int, client: OpenAI, **extra: Any) -> object:
    content = bytes(range(256)) * (size // 256) + b"\r\n--\r\n"
    return client.containers.files.create("cntr_9", file=("přístav.bin", content), **extra)


WITH_BODY: dict[str, Call] = {
    "create": lambda client, **extra: client.containers.create(name="x", file_ids=["file-1"], **extra),
    "delete": lambda client, **extra: client.containers.delete("cntr_9", **extra),
    "create a file by its id": lambda client, **extra: client.containers.files.create(
        "cntr_9", file_id="file-1", **extra
    ),
    "delete a file": lambda client, **extra: client.containers.files.delete("cfile_9", container_id="cntr_9", **extra),
    **{f"upload {size} bytes": partial(upload, size) for size in SIZES},
}
WITHOUT_BODY: dict[str, Call] = {
    "list": lambda client, **extra: client.containers.list(limit=3, order="asc", **extra),
    "retrieve": lambda client, **extra: client.containers.retrieve("cntr_9", **extra),
    "list files": lambda client, **extra: client.containers.files.list("cntr_9", after="cfile_1", **extra),
    "retrieve a file": lambda client, **extra: client.containers.files.retrieve(
        "cfile_9", container_id="cntr_9", **extra
    ),
    "content": lambda client, **extra: client.containers.files.content.retrieve(
        "cfile_9", container_id="cntr_9", **extra
    ),
}


@pytest.mark.parametrize("call", (WITH_BODY | WITHOUT_BODY).values(), ids=WITH_BODY | WITHOUT_BODY)
@pytest.mark.parametrize(
    "extra",
    [
        {"extra_headers": {"custom-llm-provider": "azure"}},
        {"extra_query": {"custom_llm_provider": "azure"}},
    ],
    ids=["extra_headers", "extra_query"],
)
def test_python_extra_headers_and_extra_query(
    providers: TwoProviders, client: OpenAI, call: Call, extra: dict[str, Any]
) -> None:
    call(client)
    call(client, **extra)
    assert len(providers.azure.requests) == 1
    assert same_but_elsewhere(providers)


@pytest.mark.parametrize("call", WITH_BODY.values(), ids=WITH_BODY)
def test_python_extra_body(providers: TwoProviders, client: OpenAI, call: Call) -> None:
    """In a form, openai-python writes the field before the file."""
    call(client)
    call(client, extra_body={"custom_llm_provider": "azure"})
    assert len(providers.azure.requests) == 1
    assert same_but_elsewhere(providers)


@pytest.mark.parametrize("package", ["openai-4", "openai-6", "openai-7"])
def test_node_headers_query_and_body(
    providers: TwoProviders, package: str, tmp_path: Path, cache: pytest.Cache
) -> None:
    """In a form, openai-node writes the field where the object has it: after the file, too."""
    passed = run_node(
        "provider.mjs",
        tmp_path,
        cache,
        OPENAI_PACKAGE=package,
        BASE_URL=providers.gateway.url,
        API_KEY=MASTER_KEY,
    )
    assert passed == len(providers.azure.requests) == 28
    assert same_but_elsewhere(providers)
