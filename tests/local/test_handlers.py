from __future__ import annotations

import re
from collections.abc import Callable

import openai
import pytest

from tests.local.hosting import Provider

CONTAINER_ID = re.compile(r"cntr_[0-9a-f]{48}")
FILE_ID = re.compile(r"cfile_[0-9a-f]{32}")


def test_the_whole_life_of_a_container(provider: Provider) -> None:
    sdk = provider.sdk
    container = sdk.containers.create(name="report", memory_limit="4g")
    assert CONTAINER_ID.fullmatch(container.id)
    file = sdk.containers.files.create(container.id, file=("data.csv", b"a,b\n1,2\n"))
    assert FILE_ID.fullmatch(file.id)
    retrieved = sdk.containers.files.retrieve(file.id, container_id=container.id)
    assert retrieved.to_dict() == file.to_dict()
    assert [listed.id for listed in sdk.containers.files.list(container.id)] == [file.id]
    assert sdk.containers.files.content.retrieve(file.id, container_id=container.id).read() == b"a,b\n1,2\n"
    sdk.containers.files.delete(file.id, container_id=container.id)
    assert list(sdk.containers.files.list(container.id)) == []
    assert sdk.containers.retrieve(container.id).name == "report"
    sdk.containers.delete(container.id)
    with pytest.raises(openai.NotFoundError):
        sdk.containers.retrieve(container.id)


def test_a_container_has_openais_fields_and_no_others(provider: Provider) -> None:
    now = int(provider.clock.now)
    reply = provider.http.post("/v1/containers", json={"name": "n"}).json()
    assert CONTAINER_ID.fullmatch(reply.pop("id"))
    assert reply == {
        "object": "container",
        "name": "n",
        "created_at": now,
        "status": "running",
        "last_active_at": now,
        "expires_after": {"anchor": "last_active_at", "minutes": 20},
        "memory_limit": "1g",
        "network_policy": {"type": "disabled"},
    }


def test_a_file_has_openais_fields_and_no_others(provider: Provider) -> None:
    container_id = provider.container()
    reply = provider.http.post(f"/v1/containers/{container_id}/files", files={"file": ("né.txt", b"12345")}).json()
    assert FILE_ID.fullmatch(reply.pop("id"))
    assert re.fullmatch(r"/mnt/data/[0-9a-f]{32}-né\.txt", reply.pop("path"))
    assert reply == {
        "object": "container.file",
        "created_at": int(provider.clock.now),
        "bytes": 5,
        "container_id": container_id,
        "source": "user",
    }


def test_deletes_say_so(provider: Provider) -> None:
    container_id = provider.container()
    file_id = provider.file(container_id)
    url = f"/v1/containers/{container_id}"
    assert provider.http.delete(f"{url}/files/{file_id}").json() == {
        "id": file_id,
        "object": "container.file.deleted",
        "deleted": True,
    }
    assert provider.http.delete(url).json() == {"id": container_id, "object": "container.deleted", "deleted": True}


def test_it_answers_without_v1_too(provider: Provider) -> None:
    container_id = provider.container()
    assert provider.http.get(f"/containers/{container_id}").json()["id"] == container_id
    assert provider.http.get(f"/containers/{container_id}/").json()["id"] == container_id
    assert provider.http.get("/files").json()["object"] == "list"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/files"),
        ("POST", "/files"),
        ("GET", "/files/cfile_x"),
        ("DELETE", "/files/cfile_x"),
        ("GET", "/files/cfile_x/content"),
    ],
)
def test_an_unknown_container_is_a_404_with_its_decoded_id(provider: Provider, method: str, path: str) -> None:
    reply = provider.http.request(method, f"/v1/containers/cntr%2Fé%20%2e%2e{path}")
    assert reply.status_code == 404
    message = "Container with id 'cntr/é ..' not found."
    assert reply.json() == {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/content")])
def test_a_file_of_another_container_is_a_404(provider: Provider, method: str, path: str) -> None:
    mine, other = provider.container(), provider.container()
    file_id = provider.file(mine)
    reply = provider.http.request(method, f"/v1/containers/{other}/files/{file_id}{path}")
    assert reply.status_code == 404
    assert reply.json()["error"]["message"] == f"File {file_id} not found on container {other}."


def test_a_deleted_file_is_a_404(provider: Provider) -> None:
    container_id = provider.container()
    file_id = provider.file(container_id)
    url = f"/v1/containers/{container_id}/files/{file_id}"
    provider.http.delete(url)
    assert [provider.http.get(url).status_code, provider.http.delete(url).status_code] == [404, 404]


def test_a_deleted_file_gives_its_bytes_back(provider: Provider) -> None:
    container_id = provider.container()
    file_id = provider.file(container_id)
    before = len(provider.blobs)
    provider.sdk.containers.files.delete(file_id, container_id=container_id)
    assert len(provider.blobs) == before - 1


def test_a_deleted_container_gives_its_bytes_back(provider: Provider) -> None:
    container_id = provider.container()
    before = len(provider.blobs)
    provider.file(container_id)
    provider.file(container_id)
    provider.sdk.containers.delete(container_id)
    assert len(provider.blobs) == before


class TestExpiry:
    def test_it_expires_after_its_minutes_and_not_a_second_before(self, provider: Provider) -> None:
        container_id = provider.container(expires_after={"anchor": "last_active_at", "minutes": 2})
        provider.clock.advance(119)
        listed = next(iter(provider.sdk.containers.list(limit=1)))
        assert (listed.id, listed.status) == (container_id, "running")
        provider.clock.advance(1)
        listed = next(iter(provider.sdk.containers.list(limit=1)))
        assert (listed.id, listed.status) == (container_id, "expired")

    def test_an_expired_container_is_retrieved_but_not_revived(self, provider: Provider) -> None:
        container_id = provider.container()
        used_at = int(provider.clock.now)
        provider.clock.advance(20 * 60)
        for _ in range(2):
            container = provider.sdk.containers.retrieve(container_id)
            assert (container.status, container.last_active_at) == ("expired", used_at)

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", ""),
            ("POST", ""),
            ("GET", "/{file_id}"),
            ("DELETE", "/{file_id}"),
            ("GET", "/{file_id}/content"),
        ],
    )
    def test_files_of_an_expired_container_are_a_400(self, provider: Provider, method: str, path: str) -> None:
        container_id = provider.container()
        file_id = provider.file(container_id)
        provider.clock.advance(20 * 60)
        reply = provider.http.request(method, f"/v1/containers/{container_id}/files{path.format(file_id=file_id)}")
        assert (reply.status_code, reply.json()["error"]["message"]) == (400, "Container is expired.")

    def test_an_expired_container_may_be_deleted(self, provider: Provider) -> None:
        container_id = provider.container()
        provider.clock.advance(20 * 60)
        provider.sdk.containers.delete(container_id)
        with pytest.raises(openai.NotFoundError):
            provider.sdk.containers.retrieve(container_id)

    def test_an_expired_container_gives_its_bytes_back_at_the_next_create(self, provider: Provider) -> None:
        provider.container()
        before = len(provider.blobs)
        expiring = provider.container(expires_after={"anchor": "last_active_at", "minutes": 1})
        provider.file(expiring)
        provider.clock.advance(60)
        provider.container()
        assert len(provider.blobs) == before
        assert provider.sdk.containers.retrieve(expiring).status == "expired"

    @pytest.mark.parametrize(
        "use",
        [
            lambda sdk, container_id, file_id: sdk.containers.retrieve(container_id),
            lambda sdk, container_id, file_id: sdk.containers.files.list(container_id),
            lambda sdk, container_id, file_id: sdk.containers.files.create(container_id, file=("b", b"")),
            lambda sdk, container_id, file_id: sdk.containers.files.retrieve(file_id, container_id=container_id),
            lambda sdk, container_id, file_id: sdk.containers.files.delete(file_id, container_id=container_id),
            lambda sdk, container_id, file_id: sdk.containers.files.content.retrieve(
                file_id, container_id=container_id
            ),
        ],
    )
    def test_every_operation_on_it_is_use(
        self, provider: Provider, use: Callable[[openai.OpenAI, str, str], object]
    ) -> None:
        container_id = provider.container()
        file_id = provider.file(container_id)
        provider.clock.advance(19 * 60)
        use(provider.sdk, container_id, file_id)
        provider.clock.advance(19 * 60)
        container = provider.sdk.containers.list(limit=1).data[0]
        assert (container.id, container.status) == (container_id, "running")
        assert container.last_active_at == int(provider.clock.now) - 19 * 60

    def test_listing_containers_is_not(self, provider: Provider) -> None:
        container_id = provider.container()
        used_at = int(provider.clock.now)
        provider.clock.advance(60)
        provider.sdk.containers.list()
        container = provider.sdk.containers.list(limit=1).data[0]
        assert (container.id, container.last_active_at) == (container_id, used_at)


class TestFileCreate:
    @pytest.fixture
    def container_id(self, provider: Provider) -> str:
        return provider.container()

    @pytest.fixture
    def uploaded_id(self, provider: Provider) -> str:
        return provider.sdk.files.create(file=("shared.txt", b"shared"), purpose="user_data").id

    def test_from_json_that_names_a_file(self, provider: Provider, container_id: str, uploaded_id: str) -> None:
        file = provider.sdk.containers.files.create(container_id, file_id=uploaded_id)
        assert (file.bytes, file.source) == (6, "user")
        assert re.fullmatch(r"/mnt/data/[0-9a-f]{32}-shared\.txt", file.path)
        assert provider.sdk.containers.files.content.retrieve(file.id, container_id=container_id).read() == b"shared"

    def test_from_a_form_field_that_names_a_file(self, provider: Provider, container_id: str, uploaded_id: str) -> None:
        url = f"/v1/containers/{container_id}/files"
        reply = provider.http.post(url, files={"file_id": (None, uploaded_id)})
        assert (reply.status_code, reply.json()["bytes"]) == (200, 6)

    def test_bytes_count_before_a_name(self, provider: Provider, container_id: str, uploaded_id: str) -> None:
        file = provider.sdk.containers.files.create(container_id, file=("own.txt", b"own"), file_id=uploaded_id)
        assert (file.bytes, file.path[-8:]) == (3, "-own.txt")

    def test_an_empty_file(self, provider: Provider, container_id: str) -> None:
        file_id = provider.file(container_id, b"")
        content = provider.sdk.containers.files.content.retrieve(file_id, container_id=container_id)
        assert content.read() == b""

    @pytest.mark.parametrize(
        ("body", "code", "param"),
        [
            ({}, "missing_required_parameter", "file"),
            ({"json": {}}, "missing_required_parameter", "file"),
            ({"json": {"file_id": None}}, "missing_required_parameter", "file"),
            ({"json": {"file_id": 7}}, "invalid_type", "file_id"),
            ({"json": {"file_id": "file-unknown"}}, "invalid_value", "file_id"),
            ({"files": {"file_id": (None, "file-unknown")}}, "invalid_value", "file_id"),
            ({"files": {"other": (None, "x")}}, "missing_required_parameter", "file"),
            ({"json": [1]}, None, None),
            ({"content": b"\xff"}, None, None),
        ],
    )
    def test_no_file(
        self, provider: Provider, container_id: str, body: dict[str, object], code: str | None, param: str | None
    ) -> None:
        reply = provider.http.request("POST", f"/v1/containers/{container_id}/files", **body)  # type: ignore[arg-type]
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["param"]) == (400, code, param)
        assert error["message"]

    def test_a_copy_outlives_what_it_was_copied_from(
        self, provider: Provider, container_id: str, uploaded_id: str
    ) -> None:
        file = provider.sdk.containers.files.create(container_id, file_id=uploaded_id)
        provider.sdk.files.delete(uploaded_id)
        content = provider.sdk.containers.files.content
        assert content.retrieve(file.id, container_id=container_id).read() == b"shared"
