from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.hooks.builtin.file import RotatingFile
from app.hooks.builtin.pen import Written
from tests.e2e.gateway import ROOT
from tests.hooks.written import written


def lines(path: Path) -> list[str]:
    return [json.loads(line)["request_id"] for line in path.read_text().splitlines()]


def numbered(*numbers: int) -> list[Written]:
    return [written(f"req_{number}") for number in numbers]


def test_lines_are_appended_to_a_file_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "requests.jsonl"
    for number in (1, 2):
        file = RotatingFile(path, max_bytes=10_000, count=3)
        file.write(numbered(number))
        file.write([])
        file.close()
    assert lines(path) == ["req_1", "req_2"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_file_makes_way_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    size = len(written("req_1").line)
    file = RotatingFile(path, max_bytes=2 * size, count=3)
    for numbers in ((1, 2, 3), (4, 5), (6, 7)):
        file.write(numbered(*numbers))
    file.close()
    assert lines(path) == ["req_7"]
    assert lines(tmp_path / "requests.jsonl.1") == ["req_5", "req_6"]
    assert lines(tmp_path / "requests.jsonl.2") == ["req_3", "req_4"]
    assert len(list(tmp_path.iterdir())) == 3


def test_one_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    file = RotatingFile(path, max_bytes=1, count=1)
    file.write(numbered(1, 2))
    file.close()
    assert lines(path) == ["req_2"]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_somebody_moved_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    file = RotatingFile(path, max_bytes=10_000, count=3)
    file.write(numbered(1))
    path.rename(tmp_path / "moved")
    file.write(numbered(2))
    file.close()
    assert (lines(tmp_path / "moved"), lines(path)) == (["req_1"], ["req_2"])


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="exists"):
        RotatingFile(tmp_path / "file" / "requests.jsonl", max_bytes=1, count=1)


def test_a_file_that_another_process_fills_first_is_no_larger_for_it(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    size = len(written("req_1").line)
    other = RotatingFile(path, max_bytes=2 * size, count=9)

    class Slow(RotatingFile):
        def _open(self) -> None:
            if not path.exists() and not path.with_name("requests.jsonl.2").exists():  # the full one was moved away
                other.write(numbered(8, 9))
            super()._open()

    slow = Slow(path, max_bytes=2 * size, count=9)
    slow.write(numbered(1, 2, 3))
    slow.close()
    other.close()
    assert lines(path) == ["req_3"]
    assert lines(tmp_path / "requests.jsonl.1") == ["req_8", "req_9"]
    assert lines(tmp_path / "requests.jsonl.2") == ["req_1", "req_2"]


def test_several_processes_share_it_and_lose_nothing(tmp_path: Path) -> None:
    path, size = tmp_path / "requests.jsonl", len(written("req_100000").line)
    program = (
        "import sys; from pathlib import Path; from app.hooks.builtin.file import RotatingFile;"
        "from tests.hooks.written import written; path, first = Path(sys.argv[1]), int(sys.argv[2]);"
        f"file = RotatingFile(path, max_bytes={40 * size}, count=100);"
        "[file.write([written(f'req_{first + number}')]) for number in range(300)]; file.close()"
    )
    processes = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", program, str(path), str(first)], cwd=ROOT)
        for first in (100000, 200000, 300000)
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    files = list(tmp_path.iterdir())
    found = [name for each in files for name in lines(each)]
    assert sorted(found) == [f"req_{first + number}" for first in (100000, 200000, 300000) for number in range(300)]
    assert sorted(len(lines(each)) for each in files)[1:] == [40] * (len(files) - 1)
