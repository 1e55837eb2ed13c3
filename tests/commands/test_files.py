"""`quaymaster files ls|put|get|rm`: what goes in comes out, and nothing else is touched."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.commands.running import run
from tests.e2e.gateway import RunningGateway


@pytest.fixture
def container(key: str) -> str:
    """A container of the test's own."""
    return run("containers", "create", "crate").stdout.strip()


def named(container: str) -> dict[str, str]:
    """The ids of the files, by the names that they were sent with."""
    listed = json.loads(run("files", "ls", container, "--json").stdout)
    return {each["filename"].partition("-")[2]: each["id"] for each in listed}


def test_files_go_in_and_come_out(container: str, elsewhere: Path) -> None:
    (elsewhere / "berths.csv").write_bytes(b"Ever Given,7\r\n\0")
    put = run("files", "put", container, "berths.csv")
    assert (put.code, put.stderr) == (0, "")
    heading, row = put.lines
    assert heading.split() == ["ID", "BYTES", "CREATED_AT", "SOURCE", "PATH"]
    file = row.split()[0]
    assert row.split()[1] == "15"
    assert run("files", "ls", container).lines[1] == row

    for output, target in (("out.csv", "out.csv"), (".", None), ("new/", None)):
        if output == "new/":
            (elsewhere / "new").mkdir()
        if output == ".":
            (elsewhere / "berths.csv").unlink()
        got = run("files", "get", container, "berths.csv", "-o", output)
        assert (got.code, got.stderr) == (0, "")
        assert got.stdout == f"{target or Path(output) / 'berths.csv'}\n"
        assert Path(got.stdout.strip()).read_bytes() == b"Ever Given,7\r\n\0"
    piped = run("files", "get", container, file, "-o", "-")
    assert (piped.code, piped.stdout_bytes, piped.stderr) == (0, b"Ever Given,7\r\n\0", "")
    saved = json.loads(run("files", "get", container, file, "-o", "x", "--json").stdout)
    assert (saved["id"], saved["saved_to"]) == (file, "x")

    removed = run("files", "rm", container, "berths.csv")
    assert (removed.code, removed.stdout) == (0, f"{file}\n")
    assert run("files", "ls", container).stdout == ""


def test_patterns_are_expanded(container: str, elsewhere: Path) -> None:
    (elsewhere / "dir" / "deep").mkdir(parents=True)
    for path in ("a.csv", "b.csv", "c.txt", "dir/d.txt", "dir/deep/e.log", "odd[1].csv"):
        (elsewhere / path).write_text(path)
    done = run("files", "put", container, "*.csv", "dir/*.txt", "**/*.log", "odd[1].csv", "a.csv", "--json")
    assert done.code == 0
    sent = [each["filename"].partition("-")[2] for each in json.loads(done.stdout)]
    assert sent == ["a.csv", "b.csv", "odd[1].csv", "d.txt", "e.log"]


def test_stdin_can_be_sent(container: str) -> None:
    done = run("files", "put", container, "-", "--name", "notes.txt", stdin=b"from a pipe")
    assert done.code == 0
    assert run("files", "get", container, "notes.txt", "-o", "-").stdout_bytes == b"from a pipe"


def test_what_two_files_are_called_is_refused_and_lists_both(container: str, elsewhere: Path) -> None:
    (elsewhere / "twin").write_text("x")
    ids = [json.loads(run("files", "put", container, "twin", "--json").stdout)[0]["id"] for _ in range(2)]
    for arguments in (("get", container, "twin"), ("rm", container, "twin")):
        done = run("files", *arguments)
        assert (done.code, done.stdout) == (2, "")
        assert all(file in done.stderr for file in ids)
    assert run("files", "get", container, ids[0], "-o", "copy").code == 0


def test_it_stops_at_the_first_file_that_fails(container: str, elsewhere: Path) -> None:
    for name in ("a", "c"):
        (elsewhere / name).write_text(name)
    with socket.socket(socket.AF_UNIX) as unreadable:
        unreadable.bind("b")
    done = run("files", "put", container, "a", "b", "c", "--json")
    assert done.code == 1
    assert [each["filename"].partition("-")[2] for each in json.loads(done.stdout)] == ["a"]
    assert "1 of 3 files were sent" in done.stderr
    assert list(named(container)) == ["a"]


def test_rm_removes_what_it_can(container: str, elsewhere: Path) -> None:
    for name in ("a", "b"):
        (elsewhere / name).write_text(name)
    run("files", "put", container, "a", "b")
    ids = named(container)
    done = run("files", "rm", container, "a", "nothing", ids["b"])
    assert (done.code, done.stdout.split()) == (3, [ids["a"], ids["b"]])
    assert done.stderr == "quaymaster: the container has no file 'nothing'\n"


def test_a_file_may_be_called_like_an_id(container: str, elsewhere: Path) -> None:
    (elsewhere / "cfile_of_mine").write_text("mine")
    run("files", "put", container, "cfile_of_mine")
    assert run("files", "get", container, "cfile_of_mine", "-o", "-").stdout == "mine"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["put", "C", "absent.csv"], 2, "there is no file absent.csv"),
        (["put", "C", "*.nothing"], 2, "there is no file *.nothing"),
        (["put", "C", "folder"], 2, "is a folder: say which files of it, such as 'folder/*'"),
        (["put", "C", "a", "b", "--name", "x"], 2, "--name is for one file, and these are 2"),
        (["put", "C", "-"], 2, "--name"),
        (["put", "cntr_none", "a"], 3, "not found"),
        (["get", "C", "absent"], 3, "the container has no file 'absent'"),
        (["get", "cntr_none", "a"], 3, "not found"),
        (["get", "C", "a", "-o", "-", "--json"], 2, "both want stdout"),
        (["get", "C", "a"], 1, "a exists: to replace it say --output a"),
        (["get", "C", "a", "-o", "absent/x"], 1, "absent"),
        (["get", "C", ".hidden"], 2, "--output PATH"),
        (["ls", "cntr_none"], 3, "not found"),
        (["rm", "C"], 2, "FILE"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(
    container: str, elsewhere: Path, arguments: list[str], code: int, words: str
) -> None:
    (elsewhere / "folder").mkdir()
    for name in ("a", "b", ".hidden"):
        (elsewhere / name).write_text(name)
    run("files", "put", container, "a", ".hidden")
    done = run("files", *(container if each == "C" else each for each in arguments))
    assert (done.code, done.stdout) == (code, "")
    assert words in done.stderr
    assert (elsewhere / "a").read_text() == "a"


def test_a_name_in_a_container_never_leaves_the_folder(
    container: str, elsewhere: Path, gateway: RunningGateway, key: str
) -> None:
    hostile = "..\\..%2Fsec\x1b[31mret"
    (elsewhere / "x").write_text("x")
    assert run("files", "put", container, "x", "--name", hostile).code == 0
    listed = run("files", "ls", container)
    assert "\x1b" not in listed.stdout
    (file,) = (each.split()[0] for each in listed.lines[1:])
    got = run("files", "get", container, file)
    assert "\x1b" not in got.stdout + got.stderr
    assert all(path.parent == elsewhere for path in elsewhere.rglob("*"))
