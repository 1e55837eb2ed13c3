"""`~/.config/quaymaster/config.toml`: gateways by name, and a key for each.

    [profiles.default]
    base_url = "https://containers.example.com"
    api_key = "sk-qm-…"

The folder is that of XDG_CONFIG_HOME, where it is set.
"""

from __future__ import annotations

import difflib
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from app.commands.exits import CommandError, ExitCode, tell

DEFAULT_PROFILE: Final = "default"
_FIELDS: Final = ("base_url", "api_key")


@dataclass(frozen=True, slots=True)
class Profile:
    """A gateway, and a key of it. None: the file does not say."""

    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)


def config_path(environ: Mapping[str, str]) -> Path:
    """Where the profiles are kept."""
    configured = environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification has relative paths ignored.
    folder = (
        Path(configured) if configured.startswith("/") else Path(environ.get("HOME") or "~").expanduser() / ".config"
    )
    return folder / "quaymaster" / "config.toml"


def profile_names(environ: Mapping[str, str]) -> list[str]:
    """The profiles there are. Raises CommandError for a file that cannot be used."""
    return list(_read(config_path(environ)))


def find_profile(name: str | None, environ: Mapping[str, str]) -> Profile:
    """The profile of this name; without one, the default, which need not exist.

    Warns on stderr of a file with a key that others can read. Raises CommandError, which holds no key.
    """
    path = config_path(environ)
    profiles = _read(path)
    if name is None or (name == DEFAULT_PROFILE and name not in profiles):
        name = DEFAULT_PROFILE
        found = profiles.get(name, Profile())
    elif name in profiles:
        found = profiles[name]
    else:
        near = difflib.get_close_matches(name, profiles, 1)
        known = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(profiles) or 'none'}"
        raise CommandError(f"there is no profile {name!r} in {path}: {known}", ExitCode.MISUSED)
    if found.api_key is not None and stat.S_IMODE(path.stat().st_mode) & 0o077:
        tell(f"quaymaster: warning: {path} holds a key, and others can read it: chmod 600 {path}")
    return found


def _read(path: Path) -> dict[str, Profile]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        where = error if isinstance(error, tomllib.TOMLDecodeError) else "it is not UTF-8"
        raise CommandError(f"{path} cannot be read: {where}", ExitCode.MISUSED) from None
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}", ExitCode.MISUSED) from None
    _check_names(path, "", tree, ("profiles",))
    profiles = tree.get("profiles", {})
    if not isinstance(profiles, dict) or not all(isinstance(fields, dict) for fields in profiles.values()):
        raise CommandError(f"{path}: profiles are tables, such as [profiles.default]", ExitCode.MISUSED)
    return {name: _profile(path, name, fields) for name, fields in profiles.items()}


def _profile(path: Path, name: str, fields: dict[str, Any]) -> Profile:
    _check_names(path, f"profiles.{name}.", fields, _FIELDS)
    for each, value in fields.items():
        if not isinstance(value, str) or not value:
            raise CommandError(f"{path}: profiles.{name}.{each} must be text", ExitCode.MISUSED)
    return Profile(**fields)


def _check_names(path: Path, prefix: str, fields: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in fields:
        if name not in known:
            expected = " and ".join(known)
            raise CommandError(f"{path}: there is no {prefix}{name}; there is {expected}", ExitCode.MISUSED)
