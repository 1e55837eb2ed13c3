"""A settings file, read: YAML in which no key stands twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from app.config.problems import ConfigurationError

_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> tuple[dict[Any, Any], list[str]]:
    """What the file holds, and which keys stand in it twice, as "path: what".

    Raises ConfigurationError where the file cannot be read, is not YAML or is not one mapping. Nothing of the file's
    content is in the message: it may be a secret.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}"]) from None
    try:
        tree, problems = _parse(content)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigurationError([f"{path}: is not valid YAML{where}{_reason(error)}"]) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigurationError([f"{path}: is not valid YAML in UTF-8"]) from None
    if tree is not None and not isinstance(tree, dict):
        raise ConfigurationError([f"{path}: must hold settings, each as name: value"])
    return tree or {}, problems


def _parse(content: bytes) -> tuple[Any, list[str]]:
    loader = _LOADER(content)
    # No setting is a date, and "2024-10-01" is an API version.
    loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in loader.yaml_implicit_resolvers.items()
    }
    try:
        node = loader.get_single_node()
        if node is None:
            return None, []
        problems = list(_keys_set_twice(node, ""))
        return loader.construct_document(node), problems
    finally:
        loader.dispose()


def _keys_set_twice(node: yaml.Node, path: str) -> Iterator[str]:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _keys_set_twice(item, f"{path}[{index}]")
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            where = f"{path}.{name}" if path else name
            if name in lines:
                yield f"{where}: stands twice, in lines {lines[name]} and {line}"
            lines.setdefault(name, line)
            yield from _keys_set_twice(value, where)


def _reason(error: yaml.MarkedYAMLError) -> str:
    """The parser's own words, where they cannot quote the file."""
    return f": {error.problem}" if isinstance(error, yaml.scanner.ScannerError | yaml.parser.ParserError) else ""
