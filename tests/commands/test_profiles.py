"""The user's configuration: what is in it, and what must not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.commands.exits import CommandError, ExitCode
from app.commands.profiles import Profile, config_path, find_profile, profile_names

SECRET = "sk-qm-secret"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A home with an empty configuration folder."""
    (tmp_path / ".config" / "quaymaster").mkdir(parents=True)
    return {"HOME": str(tmp_path)}


def write(environ: dict[str, str], text: str, mode: int = 0o600) -> Path:
    path = config_path(environ)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_where_it_is() -> None:
    assert config_path({"HOME": "/h"}) == Path("/h/.config/quaymaster/config.toml")
    assert config_path({"HOME": "/h", "XDG_CONFIG_HOME": "/x"}) == Path("/x/quaymaster/config.toml")
    assert config_path({"HOME": "/h", "XDG_CONFIG_HOME": "x"}) == Path("/h/.config/quaymaster/config.toml")


def test_it_need_not_exist(environ: dict[str, str]) -> None:
    assert find_profile(None, environ) == find_profile("default", environ) == Profile()
    assert profile_names(environ) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_others_reading_a_key_is_warned_of(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str], mode: int
) -> None:
    path = write(environ, f'[profiles.a]\napi_key = "{SECRET}"\n[profiles.b]\nbase_url = "http://b"\n', mode)
    assert find_profile("a", environ) == Profile(api_key=SECRET)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"quaymaster: warning: {path} holds a key, and others can read it: chmod 600 {path}\n"
    find_profile("b", environ)
    path.chmod(0o600)
    find_profile("a", environ)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[profiles.work]\nbase_url = 'http://w'", "there is no profile 'wrok'.*did you mean 'work'"),
        ("[profiles.x]\n[profiles.y]", "it has x, y"),
        ("", "it has none"),
        (f"[profiles.wrok]\napikey = '{SECRET}'", r"there is no profiles\.wrok\.apikey; there is base_url and api_key"),
        ("[profiles.wrok]\napi_key = 1", r"profiles\.wrok\.api_key must be text"),
        ("[profiles.wrok]\napi_key = ''", r"profiles\.wrok\.api_key must be text"),
        ("[profile.wrok]", r"there is no profile; there is profiles"),
        ("profiles = 1", r"profiles are tables, such as \[profiles\.default\]"),
        ("[profiles]\nwrok = 1", "profiles are tables"),
        (f"[profiles.wrok]\napi_key = '{SECRET}\n", "cannot be read: Expected"),
    ],
)
def test_what_is_wrong_is_said(environ: dict[str, str], text: str, words: str) -> None:
    write(environ, text)
    with pytest.raises(CommandError, match=words) as caught:
        find_profile("wrok", environ)
    assert caught.value.code == ExitCode.MISUSED
    assert SECRET not in str(caught.value)


def test_a_file_that_cannot_be_read(environ: dict[str, str]) -> None:
    config_path(environ).mkdir()
    with pytest.raises(CommandError, match="cannot be read: Is a directory"):
        find_profile(None, environ)
    config_path(environ).rmdir()
    config_path(environ).write_bytes(b"\xff")
    with pytest.raises(CommandError, match="cannot be read: it is not UTF-8"):
        find_profile(None, environ)


def test_a_key_is_not_in_the_repr() -> None:
    assert SECRET not in repr(Profile(api_key=SECRET))
