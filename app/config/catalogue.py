"""Every setting there is, by its path: for suggestions, environment variables and the documentation's tests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, get_args

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

ENVIRONMENT_PREFIX: Final = "QUAYMASTER_"


class Setting(NamedTuple):
    """One setting. `path` is "server.port", or "deployments[].name" inside a list; lists are settings themselves."""

    path: str
    field: FieldInfo
    is_list: bool

    @property
    def variable(self) -> str | None:
        """The environment variable that sets it; None inside a list."""
        return None if "[]" in self.path else variable_of(self.path)


def variable_of(path: str) -> str:
    """QUAYMASTER_SERVER__PORT, from "server.port"."""
    return ENVIRONMENT_PREFIX + path.replace(".", "__").upper()


def all_settings() -> dict[str, Setting]:
    """Every setting by its path, in the order of the models."""
    from app.config.settings import Settings  # the models' own validators use this module

    return {setting.path: setting for setting in _walk(Settings, "")}


def _walk(model: type[BaseModel], prefix: str) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        path = prefix + name
        section = _section_of(field.annotation)
        is_list = section is not None and section is not field.annotation
        if section is None or is_list:
            yield Setting(path, field, is_list)
        if section is not None:
            yield from _walk(section, f"{path}[]." if is_list else f"{path}.")


def _section_of(annotation: object) -> type[BaseModel] | None:
    """The model that a field holds, itself or as the items of a tuple."""
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _section_of(arg))), None)


def nearest_setting(unknown: str) -> str | None:
    """The setting or section most like `unknown`, a path in which lists may have their positions or names."""
    known = {part for path in all_settings() for part in _with_sections(path)}
    return nearest(unknown, known)


def nearest_variable(unknown: str) -> str | None:
    """The environment variable most like `unknown`, which begins with QUAYMASTER_."""
    known = {setting.path for setting in all_settings().values() if setting.variable}
    near = nearest(unknown.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", "."), known)
    return variable_of(near) if near else None


def nearest(unknown: str, known: set[str]) -> str | None:
    """Of `known` the path most like `unknown`: by all its words, else among its siblings, else by its last name."""
    by_words = {path.replace(".", "_"): path for path in known}
    if near := by_words.get(unknown.replace(".", "_")):
        return near
    parent, dot, leaf = unknown.rpartition(".")
    generic_parent = re.sub(r"\[[^]]*\]", "[]", parent)
    siblings = [path.rpartition(".")[2] for path in known if path.rpartition(".")[0] == generic_parent]
    if near := _closest(leaf, siblings, cutoff=0.6):
        return parent + dot + near
    by_leaf = {path.rpartition(".")[2]: path for path in sorted(known, reverse=True)}
    near = _closest(leaf, by_leaf, cutoff=0.7)
    return by_leaf[near] if near else None


def _with_sections(path: str) -> Iterator[str]:
    """The path and the sections it stands in."""
    while path:
        yield path.removesuffix("[]")
        path = path.rpartition(".")[0]


def _closest(word: str, words: Iterable[str], cutoff: float) -> str | None:
    import difflib  # only where something is wrong already

    return next(iter(difflib.get_close_matches(word, sorted(words), n=1, cutoff=cutoff)), None)
