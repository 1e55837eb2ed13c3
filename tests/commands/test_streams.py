"""What goes where: data to stdout, the rest to stderr, colours and bars to terminals only. Real processes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.commands.running import Done, command_line, environment, on_a_terminal, run, spawn
from tests.e2e.gateway import MASTER_KEY, RunningGateway

ESCAPE = "\x1b"
MEBIBYTE = 1024 * 1024


@pytest.fixture
def container(key: str) -> str:
    """A container of the test's own."""
    return run("containers", "create", "crate").stdout.strip()


@pytest.fixture
def variables(gateway: RunningGateway, key: str) -> dict[str, str]:
    """The environment that a process of its own needs."""
    return environment(QUAYMASTER_API_BASE=gateway.url, QUAYMASTER_API_KEY=key)


def seen(done: Done) -> str:
    """What a terminal showed, without colours and cursor movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stderr).replace("\r", "")


def test_a_terminal_gets_a_table_in_colour(container: str, variables: dict[str, str], elsewhere: Path) -> None:
    done = on_a_terminal("containers", "ls", cwd=elsewhere, env=variables)
    assert done.code == 0
    assert ESCAPE in done.stderr
    heading, row, *_ = seen(done).splitlines()
    assert heading.split()[:2] == ["ID", "NAME"]
    assert row.split()[:2] == [container, "crate"]
    narrow = on_a_terminal("containers", "ls", cwd=elsewhere, env=variables | {"COLUMNS": "60"})
    assert container in seen(narrow)
    alone = on_a_terminal("containers", "get", container, cwd=elsewhere, env=variables)
    assert ESCAPE in alone.stderr
    assert re.search(rf"^id +{container}$", seen(alone), re.MULTILINE)


@pytest.mark.parametrize("quiet", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_colour_gets_none(
    container: str, variables: dict[str, str], elsewhere: Path, quiet: dict[str, str]
) -> None:
    (elsewhere / "a").write_text("a")
    shown = [
        on_a_terminal(*arguments, cwd=elsewhere, env=variables | quiet)
        for arguments in (("containers", "ls"), ("containers", "get", container), ("files", "put", container, "a"))
    ]
    assert [done.code for done in shown] == [0, 0, 0]
    assert not any(ESCAPE in done.stderr for done in shown)
    assert shown[0].stderr.replace("\r", "").split("\n")[1].split()[0] == container


def test_a_bar_is_on_stderr_and_only_there(container: str, variables: dict[str, str], elsewhere: Path) -> None:
    content = os.urandom(4 * MEBIBYTE)
    (elsewhere / "big").write_bytes(content)
    put = on_a_terminal("files", "put", container, "big", cwd=elsewhere, env=variables, streams=["stderr"])
    assert put.code == 0
    assert put.lines[0].split()[0] == "ID"
    assert ESCAPE not in put.stdout
    assert "big" in seen(put)
    assert "4.2/4.2 MiB" in seen(put) or "4.0/4.0 MiB" in seen(put)
    assert re.search(r"(\?|[\d.]+ .?B/s)", seen(put))

    got = on_a_terminal("files", "get", container, "big", "-o", "-", cwd=elsewhere, env=variables, streams=["stderr"])
    assert (got.code, got.stdout_bytes) == (0, content)
    assert "4.0/4.0 MiB" in seen(got)


def test_a_bar_does_not_mix_with_content_on_a_terminal(
    container: str, variables: dict[str, str], elsewhere: Path
) -> None:
    (elsewhere / "a").write_text("content")
    run("files", "put", container, "a")
    done = on_a_terminal("files", "get", container, "a", "-o", "-", cwd=elsewhere, env=variables)
    assert (done.code, done.stderr) == (0, "content")


def test_no_terminal_no_bar(container: str, variables: dict[str, str], elsewhere: Path) -> None:
    (elsewhere / "a").write_text("a")
    done = spawn("files", "put", container, "a", cwd=elsewhere, env=variables | {"TERM": "xterm"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert ESCAPE.encode() not in done.stdout


def test_a_reader_that_leaves_ends_it_without_a_word(
    container: str, variables: dict[str, str], elsewhere: Path
) -> None:
    (elsewhere / "big").write_bytes(bytes(8 * MEBIBYTE))
    run("files", "put", container, "big")
    commands = {
        ("files", "get", container, "big", "-o", "-"): (141, b""),
        ("files", "ls", container): (141, b""),
        ("files", "rm", container, "big", "none"): (3, b"quaymaster: the container has no file 'none'\n"),
    }
    for arguments, expected in commands.items():
        reading, writing = os.pipe()
        os.close(reading)
        with subprocess.Popen(
            command_line(*arguments), cwd=elsewhere, env=variables, stdout=writing, stderr=subprocess.PIPE
        ) as process:
            os.close(writing)
            _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == expected


def test_a_full_disk_is_a_failure(container: str, variables: dict[str, str], elsewhere: Path) -> None:
    with open("/dev/full", "wb") as full:
        process = subprocess.run(
            command_line("files", "ls", container, "--json"),
            cwd=elsewhere,
            env=variables,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert process.returncode == 1
    assert b"No space left on device" in process.stderr
    assert b"Traceback" not in process.stderr


def test_a_warning_is_not_data(gateway: RunningGateway, elsewhere: Path, tmp_path: Path) -> None:
    path = tmp_path / "quaymaster" / "config.toml"
    path.parent.mkdir()
    path.write_text(f'[profiles.ops]\nbase_url = "{gateway.url}"\napi_key = "{MASTER_KEY}"\n')
    path.chmod(0o644)
    variables = environment(XDG_CONFIG_HOME=str(tmp_path))
    done = spawn("keys", "list", "--json", "--profile", "ops", cwd=elsewhere, env=variables)
    assert done.returncode == 0
    assert done.stdout.startswith(b"{")
    assert b"others can read it" in done.stderr
    assert MASTER_KEY.encode() not in done.stderr
