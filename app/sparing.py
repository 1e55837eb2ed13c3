"""What libraries do when they are imported and the gateway has no use for: memory and time to be spared."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict


@contextmanager
def without(*names: str) -> Iterator[None]:
    """While this lasts, modules of these names cannot be imported, unless they were before.

    For what a library tries to import and can do without.
    """
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def models_built_when_used() -> Iterator[None]:
    """Pydantic's models that are defined while this lasts are built when they are first used, if ever.

    FastAPI defines all of OpenAPI, which is needed where somebody looks at /docs.
    """
    before = BaseModel.model_config
    BaseModel.model_config = ConfigDict(**{**before, "defer_build": True})
    try:
        yield
    finally:
        BaseModel.model_config = before


@contextmanager
def uvicorn_without_its_command() -> Iterator[None]:
    """uvicorn imported while this lasts comes without its command line and its reloaders, which take 2 MB.

    Who asks for them later gets them.
    """
    if "uvicorn" in sys.modules:
        yield
        return
    names = ("Server", "main", "run")
    stand_in = ModuleType("uvicorn.main")
    vars(stand_in).update(dict.fromkeys(names))
    sys.modules[stand_in.__name__] = stand_in
    try:
        yield
    finally:
        del sys.modules[stand_in.__name__]
        if (uvicorn := sys.modules.get("uvicorn")) is not None:
            for name in names:
                delattr(uvicorn, name)
            vars(uvicorn)["__getattr__"] = _of_its_command


def _of_its_command(name: str) -> Any:
    if name not in {"Server", "main", "run"}:
        raise AttributeError(f"module 'uvicorn' has no attribute {name!r}")
    return getattr(import_module("uvicorn.main"), name)
