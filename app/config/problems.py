"""What is wrong with a configuration, in words for the person who wrote it.

Messages name the setting by its path and never hold its value where that could be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from app.config.catalogue import nearest_setting

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_WORDS: Final = {
    "missing": "required",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "model_type": "must be a section with settings of its own",
    "model_attributes_type": "must be a section with settings of its own",
    "dict_type": "must be a section with settings of its own",
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "path_type": "must be a path",
    "path_not_file": "there is no such file",
}


class ConfigurationError(Exception):
    """The configuration cannot be used. `problems` holds one line each, "path.of.setting: what is wrong".

    `notes` say what else was noticed and may explain a problem.
    """

    def __init__(self, problems: Sequence[str], notes: Sequence[str] = ()) -> None:
        self.problems = tuple(problems)
        self.notes = tuple(notes)
        count = "a problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        noted = [f"(note) {note}" for note in self.notes]
        super().__init__("\n  ".join([f"The configuration has {count}:", *self.problems, *noted]))


class Misfits(ValueError):
    """Several things wrong with one section, each as (field, what is wrong): raised by validators."""

    def __init__(self, found: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in found))
        self.found = tuple(found)


def describe(error: ValidationError, deployment_labels: Sequence[str]) -> list[str]:
    """One line for each thing pydantic found. `deployment_labels` name the deployments by their position."""
    lines: list[str] = []
    for detail in error.errors(include_url=False, include_input=False):
        # A default that depends on a setting which is itself wrong: that one is reported, this one would be noise.
        if detail["type"] == "default_factory_not_called":
            continue
        path = _path(detail["loc"], deployment_labels)
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, Misfits):
            lines += [f"{path}.{field}: {message}" for field, message in cause.found]
        else:
            lines.append(f"{path}: {_message(detail, path, cause)}")
    return lines


def _path(loc: tuple[int | str, ...], deployment_labels: Sequence[str]) -> str:
    """`deployments[azure-eu].timeouts.read_seconds`, from a location in pydantic's form."""
    path = ""
    for part in loc:
        if not isinstance(part, int):
            path += f".{part}" if path else part
        elif path == "deployments" and part < len(deployment_labels):
            path += f"[{deployment_labels[part]}]"
        else:
            path += f"[{part}]"
    return path


def _message(detail: ErrorDetails, path: str, cause: Any) -> str:
    if detail["type"] == "extra_forbidden":
        return unknown_setting(nearest_setting(path))
    if isinstance(cause, ValueError):
        return str(cause)
    return _WORDS.get(detail["type"]) or re.sub(r"^\w+ should ", "must ", detail["msg"])


def unknown_setting(nearest: str | None) -> str:
    """What is said of a setting that does not exist."""
    return f"unknown setting; did you mean {nearest}?" if nearest else "unknown setting"
