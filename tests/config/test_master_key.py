from __future__ import annotations

import logging
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.config.master_key import ensure_master_key
from app.config.problems import ConfigurationError


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "data"


def test_the_first_start_makes_a_key_and_later_ones_read_it(folder: Path) -> None:
    key, created = ensure_master_key(folder)
    assert created
    assert re.fullmatch(r"sk-[A-Za-z0-9_-]{43}", key)
    assert ensure_master_key(folder) == (key, False)
    assert mode_of(folder) == 0o700
    assert mode_of(folder / "master_key") == 0o600
    assert [entry.name for entry in folder.iterdir()] == ["master_key"]


def test_two_folders_have_two_keys(tmp_path: Path) -> None:
    assert ensure_master_key(tmp_path / "a")[0] != ensure_master_key(tmp_path / "b")[0]


def test_a_generous_umask_changes_nothing(folder: Path) -> None:
    before = os.umask(0)
    try:
        ensure_master_key(folder)
    finally:
        os.umask(before)
    assert (mode_of(folder), mode_of(folder / "master_key")) == (0o700, 0o600)


def test_a_file_that_others_may_read_is_closed_to_them_and_the_log_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, _ = ensure_master_key(folder)
    (folder / "master_key").chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert ensure_master_key(folder) == (key, False)
    assert mode_of(folder / "master_key") == 0o600
    assert "master_key could be read by others (mode 0644); it is 0600 now" in caplog.text
    assert key not in caplog.text


@pytest.mark.parametrize("content", ["", "\n", "short", "hunter2 hunter2 hunter2", "hünter2" * 5, "x" * 5000])
def test_a_file_without_a_usable_key_is_refused_without_quoting_it(folder: Path, content: str) -> None:
    folder.mkdir(parents=True)
    (folder / "master_key").write_text(content)
    (folder / "master_key").chmod(0o600)
    with pytest.raises(ConfigurationError, match="holds no usable key; remove it") as refusal:
        ensure_master_key(folder)
    assert "hunter2" not in str(refusal.value)
    assert (folder / "master_key").read_text() == content


def test_a_key_written_by_hand_is_taken(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "master_key").write_text("a-key-made-by-hand\n")
    assert ensure_master_key(folder) == ("a-key-made-by-hand", False)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"file/data/master_key: Not a directory"):
        ensure_master_key(tmp_path / "file" / "data")


def test_a_link_to_nowhere_is_not_followed_to_a_new_key(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "master_key").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="No such file"):
        ensure_master_key(folder)
    assert not (tmp_path / "nowhere").exists()


STARTING_TOGETHER = """
import sys
from pathlib import Path
from app.config.master_key import ensure_master_key
print("ready", flush=True)
sys.stdin.readline()
print(*ensure_master_key(Path(sys.argv[1])))
"""


def test_processes_that_start_together_agree(folder: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STARTING_TOGETHER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate()[0].split() for process in processes]
    assert len({key for key, _ in answers}) == 1
    assert sorted(created for _, created in answers) == ["False", "False", "False", "True"]


def test_a_slower_process_takes_the_key_of_the_faster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faster: list[str] = []
    link = os.link

    def link_second(source: str, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        faster.append(ensure_master_key(folder)[0])
        link(source, target)

    monkeypatch.setattr(os, "link", link_second)
    assert ensure_master_key(folder) == (faster[0], False)
    assert [entry.name for entry in folder.iterdir()] == ["master_key"]
