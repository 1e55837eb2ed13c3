"""What the SDK's tests share: an environment that says nothing, and the ways to call."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.sdk.ways import WAYS


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No credential, base URL or proxy but the test's own."""
    for name in os.environ:
        if name.startswith(("QUAYMASTER_", "OPENAI_", "AZURE_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """One of the four ways to call: see `calling`."""
    name: str = request.param
    return name


@pytest.fixture(params=["client", "async functions"])
def driver(request: pytest.FixtureRequest) -> str:
    """A way to call for each of the two drivers, where that is all that matters."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def small_heap() -> Iterator[None]:
    """Have the garbage collector look at nothing but what the tests make, so that it is quick."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
async def nothing_left(small_heap: None) -> AsyncIterator[None]:
    """Fail a test that leaves a task behind, or an unclosed socket to the garbage collector, which warns."""
    before = asyncio.all_tasks()
    yield
    gc.collect()
    for _ in range(10):  # asyncio closes generators that were left in the middle, such as httpx's, in tasks of its own
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"stray tasks: {left}"
