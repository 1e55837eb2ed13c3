from __future__ import annotations

from pathlib import Path

import pytest

from app.config.problems import ConfigurationError
from app.config.yaml_file import read_yaml


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def test_dates_stay_text_and_null_stays_null(file: Path) -> None:
    file.write_text("version: 2024-10-01\nport: 4000\nnothing:\n")
    assert read_yaml(file) == ({"version": "2024-10-01", "port": 4000, "nothing": None}, [])


@pytest.mark.parametrize("content", ["", "# nothing but words\n", "---\n"])
def test_an_empty_file_sets_nothing(file: Path, content: str) -> None:
    file.write_text(content)
    assert read_yaml(file) == ({}, [])


def test_every_key_that_stands_twice_is_named_with_its_lines(file: Path) -> None:
    file.write_text("server:\n  port: 1\n  host: a\n  port: 2\nlist:\n  - {a: 1, a: 2}\nserver: {}\n")
    assert read_yaml(file)[1] == [
        "server.port: stands twice, in lines 2 and 4",
        "list[0].a: stands twice, in lines 6 and 6",
        "server: stands twice, in lines 1 and 7",
    ]


def test_a_merged_key_may_be_set_anew(file: Path) -> None:
    file.write_text("base: &base {a: 1, b: 2}\nmine: {<<: *base, a: 3}\nyours: {<<: *base, b: 4}\n")
    tree, problems = read_yaml(file)
    assert problems == []
    assert tree["mine"] == {"a": 3, "b": 2}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: [1\nb: 2", "is not valid YAML at line"),
        (b"key: 'hunter2", "is not valid YAML at line"),
        (b"key: *hunter2", "is not valid YAML at line 1, column 6"),
        (b"key: !hunter2 x", "is not valid YAML at line 1, column 6"),
        (b"key: !!int hunter2", "is not valid YAML"),
        (b"key: hunter2\n---\nkey: 2", "is not valid YAML at line"),
        (b"key: \xff hunter2", "is not valid YAML"),
        (b"key: hunter2\x00", "is not valid YAML"),
        (b"a: &a [*a, hunter2]", "is not valid YAML"),
        (b"- hunter2", "must hold settings, each as name: value"),
        (b"hunter2", "must hold settings, each as name: value"),
        (b"[hunter2]: 1\n? {a: hunter2}\n: 1", "is not valid YAML"),
    ],
)
def test_what_is_no_settings_file_is_refused_without_quoting_it(file: Path, content: bytes, reason: str) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as refusal:
        read_yaml(file)
    assert reason in str(refusal.value)
    assert str(file) in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file or directory"):
        read_yaml(file)
