"""The nine operations, in all four ways, against a provider and against a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import quaymaster
from app.local.server import LocalServer
from quaymaster import Container, ContainerFile, NotFoundError
from tests.e2e.gateway import MASTER_KEY, RunningGateway, running_gateway
from tests.sdk.ways import OPERATIONS, calling, items

pytestmark = pytest.mark.usefixtures("nothing_left")


@asynccontextmanager
async def provider(folder: Path) -> AsyncIterator[dict[str, str]]:
    server = LocalServer(folder / "provider", api_key="sk-of-the-provider")
    url = await server.start()
    try:
        yield {"api_base": url, "api_key": "sk-of-the-provider"}
    finally:
        await server.stop()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running_gateway(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture(params=["provider", "gateway"])
async def destination(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """Where to send: to a provider directly, or through a gateway in a process of its own."""
    if request.param == "provider":
        async with provider(tmp_path) as there:
            yield there
    else:
        running: RunningGateway = request.getfixturevalue("gateway")
        yield {"api_base": f"{running.url}/v1", "api_key": MASTER_KEY}


async def test_the_life_of_a_container(way: str, destination: dict[str, str], tmp_path: Path) -> None:
    async with calling(way, **destination) as call:
        made = await call(
            "create_container", f"crate of {way}", expires_after={"anchor": "last_active_at", "minutes": 7}
        )
        assert isinstance(made, Container)
        assert (made.name, made.status, made.object) == (f"crate of {way}", "running", "container")
        assert made.id.startswith("cntr_")
        assert made.expires_after is not None
        assert made.expires_after.minutes == 7
        assert made.last_active_at is not None
        assert made.expires_at == made.last_active_at + 7 * 60

        page = await call("list_containers", None, 5, "desc", name=made.name)
        assert [each.id for each in page.data] == [made.id]
        assert (page.first_id, page.last_id, page.has_more) == (made.id, made.id, False)
        assert (await call("retrieve_container", made.id)).id == made.id

        file = await call("create_container_file", made.id, ("données.csv", b"a,b\n1,2\n", "text/csv"))
        assert isinstance(file, ContainerFile)
        assert (file.container_id, file.bytes, file.source) == (made.id, 8, "user")
        assert file.filename.endswith("données.csv")
        path = tmp_path / "notes.txt"
        path.write_bytes(b"notes")
        other = await call("create_container_file", made.id, path)
        files = await call("list_container_files", made.id, order="asc")
        assert {each.id for each in files.data} == {file.id, other.id}
        assert (await call("retrieve_container_file", made.id, file.id)).path == file.path
        assert await call("retrieve_container_file_content", made.id, file.id) == b"a,b\n1,2\n"

        gone = await call("delete_container_file", made.id, file.id)
        assert (gone.id, gone.deleted, gone.object) == (file.id, True, "container.file.deleted")
        with pytest.raises(NotFoundError) as caught:
            await call("retrieve_container_file", made.id, file.id)
        assert not isinstance(caught.value, quaymaster.ContainerExpiredError)
        gone = await call("delete_container", made.id)
        assert (gone.id, gone.deleted, gone.object) == (made.id, True, "container.deleted")
        with pytest.raises(quaymaster.ContainerExpiredError) as expired:
            await call("retrieve_container", made.id)
        assert isinstance(expired.value, NotFoundError)


async def test_a_list_goes_on_over_its_pages(way: str, destination: dict[str, str]) -> None:
    async with calling(way, **destination) as call:
        made = [(await call("create_container", f"of many: {way}")).id for _ in range(5)]
        page = await call("list_containers", limit=2, order="asc", name=f"of many: {way}")
        assert [each.id for each in page.data] == made[:2]
        assert page.has_more
        assert [each.id for each in await items(page)] == made
        for _ in range(3):
            await call("create_container_file", made[0], b"x")
        files = await call("list_container_files", made[0], limit=1)
        assert len({each.id for each in await items(files)}) == 3
        for each in made:
            await call("delete_container", each)


async def test_a_gateway_is_told_whose_api_is_meant(way: str, gateway: RunningGateway) -> None:
    there = {"api_base": gateway.url, "api_key": MASTER_KEY}
    async with calling(way, **there, custom_llm_provider="nobody") as call:
        with pytest.raises(quaymaster.BadRequestError, match="Unknown provider 'nobody'") as caught:
            await call("create_container", "crate")
    assert caught.value.code == "unknown_provider"
    assert caught.value.request_id
    async with calling(way, **there) as call:
        with pytest.raises(quaymaster.BadRequestError, match="'other'"):
            await call("list_containers", extra_body={"custom_llm_provider": "other"})


def test_uploading_goes_by_two_names() -> None:
    assert quaymaster.upload_container_file is quaymaster.create_container_file
    assert quaymaster.aupload_container_file is quaymaster.acreate_container_file


async def test_functions_take_their_destination_from_the_environment(
    environment: pytest.MonkeyPatch, gateway: RunningGateway
) -> None:
    environment.setenv("QUAYMASTER_API_BASE", gateway.url)
    environment.setenv("QUAYMASTER_API_KEY", MASTER_KEY)
    made = await asyncio.to_thread(quaymaster.create_container, "crate")
    assert (await quaymaster.aretrieve_container(made.id)).id == made.id
    assert (await quaymaster.adelete_container(made.id)).deleted


@pytest.mark.parametrize("way", ["async functions", "async client"])
async def test_the_loop_goes_on_while_a_call_is_awaited(way: str, tmp_path: Path) -> None:
    beats = 0

    async def heart() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0)
            beats += 1

    async with provider(tmp_path) as there, calling(way, **there) as call:
        beating = asyncio.create_task(heart())
        made = await call("create_container", "crate")
        file = await call("create_container_file", made.id, b"x" * 3_000_000)
        for name in OPERATIONS[2:3] + OPERATIONS[6:8]:
            before = beats
            await call(name, made.id, *([file.id] if "file" in name else []))
            assert beats > before, name
        beating.cancel()
