from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from app.local.data_folder import DataFolder
from app.local.database import UnknownSchema
from app.local.errors import DataDirInUse
from tests.local.hosting import Clock, hosted, own_process

CANARY = "canary-5d1f7c"


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    with hosted(tmp_path, clock=clock) as provider:
        uploaded = provider.sdk.files.create(file=("shared.txt", b"shared"), purpose="batch").id
        container_id = provider.container("kept", file_ids=[uploaded], memory_limit="16g")
        file_id = provider.file(container_id, b"own")
        clock.advance(30)
        container = provider.sdk.containers.retrieve(container_id).to_dict()
        files = [file.to_dict() for file in provider.sdk.containers.files.list(container_id)]
    with hosted(tmp_path, clock=clock) as provider:
        assert provider.sdk.containers.retrieve(container_id).to_dict() == container
        assert [file.to_dict() for file in provider.sdk.containers.files.list(container_id)] == files
        content = provider.sdk.containers.files.content.retrieve(file_id, container_id=container_id)
        assert content.read() == b"own"
        assert provider.sdk.files.content(uploaded).read() == b"shared"
        assert len(provider.blobs) == 2


def test_what_expired_while_it_was_down_is_emptied(tmp_path: Path) -> None:
    clock = Clock()
    with hosted(tmp_path, clock=clock) as provider:
        container_id = provider.container()
        provider.file(container_id)
    clock.advance(20 * 60)
    with hosted(tmp_path, clock=clock) as provider:
        assert provider.blobs == []
        assert provider.sdk.containers.retrieve(container_id).status == "expired"
    clock.now -= 20 * 60
    with hosted(tmp_path, clock=clock) as provider:
        assert provider.sdk.containers.retrieve(container_id).status == "expired"


def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    with hosted(tmp_path) as provider:
        provider.file(provider.container())
        kept = provider.blobs
    (tmp_path / "blobs" / ("0" * 32)).write_bytes(b"half a file")
    with hosted(tmp_path) as provider:
        assert provider.blobs == kept


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with own_process(tmp_path) as running:
        with pytest.raises(DataDirInUse, match="in use by another process"):
            DataFolder(tmp_path, Clock())
        assert running.provider.container()
    DataFolder(tmp_path, Clock()).close()


def test_one_server_at_a_time_within_a_process_too(tmp_path: Path) -> None:
    with hosted(tmp_path), pytest.raises(DataDirInUse), hosted(tmp_path):
        pass


def test_a_folder_of_another_version_is_left_alone(tmp_path: Path) -> None:
    DataFolder(tmp_path, Clock()).close()
    with sqlite3.connect(tmp_path / "records.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for _ in range(2):  # the lock is free again after the first
        with pytest.raises(UnknownSchema, match="99"):
            DataFolder(tmp_path, Clock())


def test_only_its_owner_may_look_in(tmp_path: Path) -> None:
    DataFolder(tmp_path / "new" / "data", Clock()).close()
    assert stat.S_IMODE((tmp_path / "new" / "data").stat().st_mode) == 0o700


def test_a_secret_is_never_written_down(tmp_path: Path) -> None:
    with hosted(tmp_path) as provider:
        secret = {"domain": "a.test", "name": "TOKEN", "value": CANARY}
        policy = {"type": "allowlist", "allowed_domains": ["a.test"], "domain_secrets": [secret]}
        provider.container(network_policy=policy)
        provider.http.post("/v1/containers", json={"network_policy": policy})
        assert _files_with(tmp_path, b"TOKEN")
        assert _files_with(tmp_path, CANARY.encode()) == []
    assert _files_with(tmp_path, CANARY.encode()) == []


def _files_with(folder: Path, text: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]
