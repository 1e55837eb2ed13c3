"""A pytest plugin for OpenAI's own suite: its clients send a key that this gateway takes.

The suite names a base URL in the environment, and writes its key down where only a mock would take it.
"""

from __future__ import annotations

import importlib
import os


def pytest_collection_finish() -> None:
    """Put the key where the suite's fixtures read it."""
    vars(importlib.import_module("tests.conftest"))["api_key"] = os.environ["TEST_API_KEY"]
