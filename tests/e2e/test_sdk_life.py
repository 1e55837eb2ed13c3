"""The whole life of a container with openai-python, sync and async, against the embedded provider."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.e2e.gateway import MASTER_KEY, RunningGateway, running_gateway

CONTENT = bytes(range(256)) * 3000
MANY = 45
"""Containers, or files: two full pages of 20, and one of 5."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path_factory.mktemp("life")) as gateway:
        yield gateway


@pytest.fixture(params=["", "/v1"])
def client(request: pytest.FixtureRequest, gateway: RunningGateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.url}{request.param}", api_key=MASTER_KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(gateway: RunningGateway) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=gateway.url, api_key=gateway.make_key(), max_retries=0) as client:
        yield client


@pytest.fixture
def container_id(client: OpenAI) -> str:
    return client.containers.create(name="a container").id


def test_create_retrieve_delete(client: OpenAI) -> None:
    created = client.containers.create(
        name="My Container",
        expires_after={"anchor": "last_active_at", "minutes": 5},
        memory_limit="4g",
        network_policy={"type": "allowlist", "allowed_domains": ["example.com"]},
    )
    assert created.id.startswith("cntr_")
    assert (created.object, created.name, created.status) == ("container", "My Container", "running")
    retrieved = client.containers.retrieve(created.id)
    assert (retrieved.id, retrieved.name, retrieved.memory_limit) == (created.id, "My Container", "4g")
    assert retrieved.expires_after is not None
    assert (retrieved.expires_after.anchor, retrieved.expires_after.minutes) == ("last_active_at", 5)
    assert retrieved.network_policy is not None
    assert retrieved.network_policy.allowed_domains == ["example.com"]
    assert retrieved.last_active_at is not None
    assert retrieved.model_extra == {"expires_at": retrieved.last_active_at + 300}
    client.containers.delete(created.id)
    with pytest.raises(openai.NotFoundError):
        client.containers.retrieve(created.id)


def test_a_list_of_many_containers_pages_itself(client: OpenAI) -> None:
    made = [client.containers.create(name=f"one of many, {number}").id for number in range(MANY)]
    pages = [[container.id for container in page.data] for page in client.containers.list(limit=20).iter_pages()]
    listed = [identifier for page in pages for identifier in page]
    assert {len(page) for page in pages[:-1]} == {20}
    assert len(listed) == len(set(listed))
    assert [identifier for identifier in listed if identifier in set(made)] == made[::-1]
    oldest_first = [container.id for container in client.containers.list(order="asc", limit=20)]
    assert oldest_first == listed[::-1]
    assert [container.id for container in client.containers.list(name="one of many, 7")] == [made[7]]
    for identifier in made:
        client.containers.delete(identifier)


def test_a_list_of_many_files_pages_itself(client: OpenAI, container_id: str) -> None:
    files = client.containers.files
    made = [files.create(container_id, file=(f"{number}.txt", b"x")).id for number in range(MANY)]
    pages = [[file.id for file in page.data] for page in files.list(container_id, limit=20).iter_pages()]
    assert [len(page) for page in pages] == [20, 20, 5]
    assert [identifier for page in pages for identifier in page] == made[::-1]


def test_a_file_from_bytes_comes_back_whole_and_as_a_stream(client: OpenAI, container_id: str) -> None:
    files = client.containers.files
    file = files.create(container_id, file=CONTENT)
    assert (file.object, file.container_id, file.bytes, file.source) == (
        "container.file",
        container_id,
        len(CONTENT),
        "user",
    )
    assert files.retrieve(file.id, container_id=container_id).model_dump() == file.model_dump()
    assert files.content.retrieve(file.id, container_id=container_id).read() == CONTENT
    with files.content.with_streaming_response.retrieve(file.id, container_id=container_id) as response:
        pieces = list(response.iter_bytes(100_000))
    assert len(pieces) > 1
    assert b"".join(pieces) == CONTENT
    files.delete(file.id, container_id=container_id)
    with pytest.raises(openai.NotFoundError):
        files.content.retrieve(file.id, container_id=container_id)


def test_a_file_from_disk_with_a_name_in_any_script(client: OpenAI, container_id: str, tmp_path: Path) -> None:
    path = tmp_path / "čísla přístavů 港.csv"
    path.write_bytes(CONTENT)
    from_path = client.containers.files.create(container_id, file=path)
    with path.open("rb") as open_file:
        from_file = client.containers.files.create(container_id, file=open_file)
    for file in (from_path, from_file):
        assert file.path.startswith("/mnt/data/")
        assert file.path.endswith(f"-{path.name}")
        assert file.model_extra == {"filename": file.path.rpartition("/")[2]}
        assert client.containers.files.content.retrieve(file.id, container_id=container_id).read() == CONTENT


def test_a_file_with_everything_spelt_out(client: OpenAI, container_id: str) -> None:
    file = client.containers.files.create(
        container_id, file=('a b & c;".txt', io.BytesIO(b"hello"), "text/plain"), timeout=30
    )
    assert file.bytes == 5
    raw = client.containers.files.content.with_raw_response.retrieve(file.id, container_id=container_id)
    assert raw.content == b"hello"
    assert raw.headers["content-length"] == "5"


async def test_the_whole_life_asynchronously_with_a_virtual_key(async_client: AsyncOpenAI) -> None:
    containers, files = async_client.containers, async_client.containers.files
    made = [(await containers.create(name=f"async {number}")).id for number in range(3)]
    listed = [container.id async for container in containers.list(limit=2) if container.name.startswith("async ")]
    assert listed == made[::-1]
    file = await files.create(made[0], file=("a.bin", CONTENT))
    assert [found.id async for found in files.list(made[0], limit=1)] == [file.id]
    async with files.content.with_streaming_response.retrieve(file.id, container_id=made[0]) as response:
        assert b"".join([piece async for piece in response.iter_bytes()]) == CONTENT
    assert (await files.content.retrieve(file.id, container_id=made[0])).read() == CONTENT
    await files.delete(file.id, container_id=made[0])
    for identifier in made:
        await containers.delete(identifier)
        with pytest.raises(openai.NotFoundError):
            await containers.retrieve(identifier)
