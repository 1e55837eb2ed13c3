from __future__ import annotations

import re

import openai
import pytest

from tests.local.hosting import Provider


def test_the_whole_life_of_a_file(provider: Provider) -> None:
    files = provider.sdk.files
    file = files.create(file=("dir/notes.txt", b"notes"), purpose="assistants")
    assert re.fullmatch(r"file-[0-9A-Za-z]{24}", file.id)
    assert file.to_dict() == {
        "id": file.id,
        "object": "file",
        "bytes": 5,
        "created_at": int(provider.clock.now),
        "filename": "notes.txt",
        "purpose": "assistants",
        "status": "processed",
    }
    assert files.retrieve(file.id).to_dict() == file.to_dict()
    assert files.list(limit=1).data[0].id == file.id
    assert files.content(file.id).read() == b"notes"
    before = len(provider.blobs)
    assert files.delete(file.id).to_dict() == {"id": file.id, "object": "file", "deleted": True}
    assert len(provider.blobs) == before - 1
    for gone in (files.retrieve, files.delete, files.content):
        with pytest.raises(openai.NotFoundError, match=f"No such File object: {file.id}"):
            gone(file.id)


def test_files_are_paged_and_filtered(provider: Provider) -> None:
    for listed in provider.sdk.files.list(purpose="evals"):
        provider.sdk.files.delete(listed.id)
    made = [provider.sdk.files.create(file=("a", b""), purpose="evals").id for _ in range(5)]
    provider.sdk.files.create(file=("a", b""), purpose="batch")
    pages = provider.sdk.files.list(purpose="evals", order="asc", limit=2)
    assert [file.id for file in pages] == made
    everything = provider.http.get("/v1/files", params={"purpose": "evals"}).json()
    assert [file["id"] for file in everything["data"]] == made[::-1]


@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ({"file": ("a", b"")}, "missing_required_parameter", "purpose"),
        ({"file": ("a", b""), "purpose": (None, "fun")}, "invalid_value", "purpose"),
        ({"purpose": (None, "batch")}, "missing_required_parameter", "file"),
    ],
)
def test_a_wrong_form_is_named_and_leaves_nothing(
    provider: Provider, form: dict[str, object], code: str, param: str
) -> None:
    before = provider.blobs
    reply = provider.http.post("/v1/files", files=form)  # type: ignore[arg-type]
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, code, param)
    assert provider.blobs == before


def test_a_field_that_is_too_long_is_not_gathered(provider: Provider) -> None:
    reply = provider.http.post("/v1/files", files={"file": ("a", b""), "purpose": (None, "x" * 1025)})
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, "'purpose' is too long.")


def test_more_may_be_listed_at_once_than_of_containers(provider: Provider) -> None:
    assert provider.http.get("/v1/files?limit=10000").status_code == 200
    assert provider.http.get("/v1/files?limit=10001").json()["error"]["code"] == "integer_above_max_value"


@pytest.mark.parametrize("path", ["/v1/files/", "/files", "/v1/files//"])
def test_a_trailing_slash(provider: Provider, path: str) -> None:
    assert provider.http.get(path).status_code == (404 if path.endswith("//") else 200)
