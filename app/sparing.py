"""What libraries do when they are imported and the gateway has no use for: memory and time to be spared."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
