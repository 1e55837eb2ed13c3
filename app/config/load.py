"""From a settings file and the environment to `Settings`.

Strongest first: QUAYMASTER_<SECTION>__<FIELD> (and DATABASE_URL, REDIS_URL), the YAML file, the defaults. A null, an
empty section and a variable that is unset or empty all mean the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import InitSettingsSource

from app.config.environment import read_environment
from app.config.interpolation import interpolate, unset_variable
from app.config.problems import ConfigurationError, describe
from app.config.settings import Settings
from app.config.yaml_file import read_yaml

DEFAULT_FILE: Final = Path("config.yaml")
_CREDENTIALS: Final = ("api_key", "bearer_token")


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of this process. `path` is the YAML file; else QUAYMASTER_CONFIG, else ./config.yaml if it exists.

    Raises ConfigurationError with everything that is wrong, and no secret in it.
    """
    environ = {name: value for name, value in environ.items() if value}
    from_environment, problems = read_environment(environ)
    file = path or _configured_file(environ)
    raw, found_twice = read_yaml(file) if file else ({}, [])
    if "deployments" in from_environment:
        raw.pop("deployments", None)
    notices, none_left = _leave_out_keyless(raw, environ)
    from_file, unfilled = interpolate(raw, environ)
    labels = _complete_deployments(from_environment if "deployments" in from_environment else from_file, environ)
    problems += found_twice + none_left + unfilled
    sources = tuple(InitSettingsSource(Settings, _without_nulls(tree)) for tree in (from_environment, from_file))
    try:
        settings = Settings(_build_sources=(sources, {}))
    except ValidationError as error:
        problems += describe(error, labels)
    if problems:
        raise ConfigurationError(problems, notices)
    return settings.as_loaded(openai_key_is_set="OPENAI_API_KEY" in environ, notices=tuple(notices))


def _configured_file(environ: Mapping[str, str]) -> Path | None:
    if "QUAYMASTER_CONFIG" in environ:
        return Path(environ["QUAYMASTER_CONFIG"])
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def _leave_out_keyless(raw: dict[Any, Any], environ: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Put None in the place of each deployment whose credentials are all unset variables.

    Positions stay, so that problems name the place in the file. Returns what to say of those left out, and the problem
    where none remains.
    """
    deployments = raw.get("deployments")
    if not isinstance(deployments, list):
        return [], []
    notices: list[str] = []
    for position, entry in enumerate(deployments):
        if not isinstance(entry, dict):
            continue
        given = [entry[field] for field in _CREDENTIALS if entry.get(field) is not None]
        unset = [variable for value in given if (variable := unset_variable(value, environ))]
        if given and len(unset) == len(given):
            name = entry.get("name", f"number {position}")
            verb = "is" if len(unset) == 1 else "are"
            notices.append(f"deployment {name} is left out: {' and '.join(unset)} {verb} not set")
            deployments[position] = None
    if notices and not any(deployments):
        return notices, ["deployments: none remains; one of provider local would need no key"]
    return notices, []


def _complete_deployments(tree: dict[str, Any], environ: Mapping[str, str]) -> list[str]:
    """Add to the deployments what the environment says of OpenAI; returns what problems call each of them.

    Where none is configured there are openai-main, if OPENAI_API_KEY is set, and local.
    """
    deployments = tree.get("deployments")
    if not deployments and "OPENAI_API_KEY" in environ:
        main = {"name": "openai-main", "provider": "openai", "api_key": environ["OPENAI_API_KEY"]}
        deployments = [main, {"name": "local", "provider": "local"}]
    if not isinstance(deployments, list):
        return []
    labels = [_label(position, entry) for position, entry in enumerate(deployments) if entry is not None]
    tree["deployments"] = [entry for entry in deployments if entry is not None] or None
    for entry in tree["deployments"] or ():
        if "OPENAI_BASE_URL" in environ and isinstance(entry, dict) and entry.get("provider") == "openai":
            entry["api_base"] = entry.get("api_base") or environ["OPENAI_BASE_URL"]
    return labels


def _label(position: int, entry: Any) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) else str(position)


def _without_nulls(tree: Any) -> Any:
    """`tree` without its nulls, which mean the default; a plugin's own options stay as they are."""
    if isinstance(tree, list):
        return [_without_nulls(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    return {k: v if k == "options" else _without_nulls(v) for k, v in tree.items() if v is not None}
