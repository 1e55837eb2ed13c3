"""What answers become: frozen, complete, and open to fields that come later."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from quaymaster import Container, ContainerDeleted, ContainerFile, ContainerFileDeleted, ContainerPage

CONTAINER: dict[str, Any] = {"id": "cntr_1", "object": "container", "created_at": 100, "name": "x", "status": "running"}
FILE: dict[str, Any] = {
    "id": "cfile_1",
    "object": "container.file",
    "container_id": "cntr_1",
    "created_at": 100,
    "bytes": None,
    "path": "/mnt/data/0123-données.csv",
    "source": "assistant",
}


def test_every_published_field_of_a_container() -> None:
    whole = CONTAINER | {
        "last_active_at": 160,
        "expires_after": {"anchor": "last_active_at", "minutes": 20},
        "expires_at": 7,
        "memory_limit": "4g",
        "network_policy": {"type": "allowlist", "allowed_domains": ["example.com"]},
        "file_ids": ["file-1"],
    }
    container = Container.model_validate(whole)
    assert container.model_dump() == whole
    assert container.network_policy is not None
    assert container.network_policy.allowed_domains == ["example.com"]
    assert container.expires_at == 7, "what the server says counts"


@pytest.mark.parametrize(
    ("fields", "expires_at"),
    [
        ({"last_active_at": 100, "expires_after": {"anchor": "last_active_at", "minutes": 20}}, 1300),
        ({"last_active_at": 100, "expires_after": {"minutes": 0}}, 100),
        ({"last_active_at": 100, "expires_after": {"minutes": 20}, "expires_at": None}, 1300),
        ({"expires_after": {"minutes": 20}}, None),
        ({"last_active_at": 100, "expires_after": None}, None),
        ({"last_active_at": 100}, None),
    ],
)
def test_a_container_knows_when_it_dies_if_that_can_be_known(fields: dict[str, Any], expires_at: int | None) -> None:
    assert Container.model_validate(CONTAINER | fields).expires_at == expires_at
    assert Container.model_validate_json(json.dumps(CONTAINER | fields)).expires_at == expires_at


def test_a_file_has_a_name_and_perhaps_a_size() -> None:
    file = ContainerFile.model_validate_json(json.dumps(FILE))
    assert (file.bytes, file.filename, file.source) == (None, "0123-données.csv", "assistant")
    assert ContainerFile.model_validate(FILE | {"filename": "own.csv", "bytes": 0}).filename == "own.csv"
    assert ContainerFile.model_validate(FILE | {"filename": None, "bytes": 0}).filename == "0123-données.csv"
    assert ContainerFile.model_validate(FILE | {"path": "/"}).filename == ""


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (Container, CONTAINER),
        (ContainerFile, FILE),
        (ContainerDeleted, {"id": "cntr_1", "object": "container.deleted", "deleted": True}),
        (ContainerFileDeleted, {"id": "cfile_1", "object": "container.file.deleted", "deleted": True}),
        (ContainerPage, {"object": "list", "data": [CONTAINER], "has_more": False}),
    ],
)
def test_unknown_fields_are_kept_and_nothing_changes(model: Any, fields: dict[str, Any]) -> None:
    made = model.model_validate(fields | {"new_in_2027": {"deep": [1]}})
    assert made.new_in_2027 == {"deep": [1]}
    assert made.model_extra == {"new_in_2027": {"deep": [1]}}
    assert made.model_dump()["new_in_2027"] == {"deep": [1]}
    for name in [*fields, "new_in_2027"]:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(made, name, None)
    assert copy.deepcopy(made) == made
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_status_nobody_knows_yet_is_no_error() -> None:
    assert Container.model_validate(CONTAINER | {"status": "hibernating", "memory_limit": "1t"}).status == "hibernating"


def test_pages_hold_what_the_server_said() -> None:
    page = ContainerPage.model_validate(
        {"object": "list", "data": [CONTAINER], "first_id": "a", "last_id": "b", "has_more": True}
    )
    assert (page.first_id, page.last_id, page.has_more) == ("a", "b", True)
    assert [each.id for each in page] == ["cntr_1"]
    assert len(page.data) == 1
