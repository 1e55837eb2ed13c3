"""Settings from environment variables: QUAYMASTER_<SECTION>__<FIELD>, DATABASE_URL and REDIS_URL."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from app.config.catalogue import ENVIRONMENT_PREFIX, all_settings, nearest_variable
from app.config.problems import unknown_setting

SHORT_NAMES: Final = {"DATABASE_URL": "database_url", "REDIS_URL": "redis_url"}
"""Names that other software made common, and the settings they stand for. The long name is the stronger."""

NOT_SETTINGS: Final = frozenset(
    {"QUAYMASTER_CONFIG", "QUAYMASTER_API_KEY", "QUAYMASTER_API_BASE", "QUAYMASTER_PROFILE"}
)
"""The settings file, and what the SDK and the commands read."""

# Kubernetes sets these in every pod beside a Service called quaymaster.
_SERVICE_LINK: Final = re.compile(r"QUAYMASTER_(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)")


def read_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The settings that `environ` holds, as a tree, and what was wrong, as "VARIABLE: what".

    Lists are written as JSON. Empty variables count as unset; the caller leaves them out.
    """
    by_variable = {setting.variable: setting for setting in all_settings().values() if setting.variable}
    tree: dict[str, Any] = {path: environ[name] for name, path in SHORT_NAMES.items() if name in environ}
    problems: list[str] = []
    for name, text in environ.items():
        if not name.startswith(ENVIRONMENT_PREFIX) or name in NOT_SETTINGS or _is_service_link(name, text):
            continue
        setting = by_variable.get(name)
        if setting is None:
            problems.append(f"{name}: {unknown_setting(nearest_variable(name))}")
            continue
        try:
            _put(tree, setting.path, _json_list(text) if setting.is_list else text)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    return tree, problems


def _is_service_link(name: str, text: str) -> bool:
    return bool(_SERVICE_LINK.fullmatch(name)) or (name == "QUAYMASTER_PORT" and text.startswith(("tcp://", "udp://")))


def _json_list(text: str) -> list[Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, list):
        raise ValueError("must be a list, written as JSON")
    return value


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *sections, leaf = path.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[leaf] = value
