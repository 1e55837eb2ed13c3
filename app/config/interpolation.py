"""Variables inside a settings file: `${NAME}`, `${NAME:-default}` and `os.environ/NAME`.

A variable that is set but empty counts as unset. `$${` stands for the two characters `${`. What a variable holds is
taken as it is: nothing in it is looked up again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_NAME: Final = "[A-Za-z_][A-Za-z0-9_]*"
_REFERENCE: Final = re.compile(
    rf"(?P<escape>\$\$\{{)|\$\{{(?P<name>{_NAME})(?::-(?P<default>[^}}]*))?\}}|(?P<stray>\$\{{)"
)
_WHOLE: Final = re.compile(rf"\$\{{({_NAME})\}}|os\.environ/({_NAME})")
_PREFIX: Final = "os.environ/"


def interpolate(tree: Any, environ: Mapping[str, str]) -> tuple[Any, list[str]]:
    """`tree` with its variables filled in and its keys as text, and what was wrong, as "path: what".

    A text that is nothing but one variable, which is unset and has no default, becomes None.
    """
    problems: list[str] = []

    def fill(node: Any, path: str) -> Any:
        if isinstance(node, dict):
            return {str(key): fill(value, f"{path}.{key}" if path else str(key)) for key, value in node.items()}
        if isinstance(node, list):
            return [fill(item, f"{path}[{index}]") for index, item in enumerate(node)]
        if not isinstance(node, str):
            return node
        try:
            return resolve(node, environ)
        except ValueError as error:
            problems.append(f"{path}: {error}")
            return None

    return fill(tree, ""), problems


def unset_variable(value: object, environ: Mapping[str, str]) -> str | None:
    """The variable's name, where `value` is nothing but one variable, which is unset and has no default."""
    match = _WHOLE.fullmatch(value) if isinstance(value, str) else None
    name = (match[1] or match[2]) if match else None
    return name if name is not None and not environ.get(name) else None


def resolve(text: str, environ: Mapping[str, str]) -> str | None:
    """`text` with its variables filled in; None where it is nothing but one unset variable.

    Raises ValueError where a variable inside a longer text is unset, or a reference is malformed.
    """
    if unset_variable(text, environ):
        return None
    if text.startswith(_PREFIX):
        name = text.removeprefix(_PREFIX)
        if not re.fullmatch(_NAME, name):
            raise ValueError(f"{_PREFIX} must be followed by the name of an environment variable")
        return environ[name]

    def value_of(match: re.Match[str]) -> str:
        if match["escape"]:
            return "${"
        if match["stray"]:
            raise ValueError("${ must begin ${NAME} or ${NAME:-default}; write $${ for the characters themselves")
        value = environ.get(match["name"]) or match["default"]
        if value is None:
            raise ValueError(f"the environment variable {match['name']} is not set")
        return value

    return _REFERENCE.sub(value_of, text)
