"""An application that is made when it is needed: once, whoever leaves meanwhile, and again after a failure."""

from __future__ import annotations

import asyncio
import threading

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.late import Late


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    scope["answered"] = True


class Maker:
    """Makes the application when it may, or fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.made = 0
        self.threads: set[int] = set()
        self._failures = failures

    def __call__(self) -> ASGIApp:
        self.threads.add(threading.get_ident())
        self.made += 1
        self.begun.set()
        assert self.may_end.wait(10)
        if self.made <= self._failures:
            raise OSError("no room")
        return application


async def ask(late: Late) -> bool:
    async def receive() -> dict[str, str]:
        raise AssertionError

    async def send(message: object) -> None:
        raise AssertionError

    scope: dict[str, bool] = {}
    await late(scope, receive, send)
    return scope["answered"]


async def has_begun(maker: Maker) -> None:
    assert await asyncio.to_thread(maker.begun.wait, 10)


async def test_all_who_ask_meanwhile_get_the_same() -> None:
    maker = Maker()
    late = Late(maker)
    asking = [asyncio.create_task(ask(late)) for _ in range(3)]
    await has_begun(maker)  # while it is made, this loop goes on
    maker.may_end.set()
    assert await asyncio.gather(*asking) == [True, True, True]
    assert await ask(late)
    assert maker.made == 1
    assert threading.get_ident() not in maker.threads


async def test_who_leaves_takes_it_from_nobody() -> None:
    maker = Maker()
    late = Late(maker)
    leaves, stays = asyncio.create_task(ask(late)), asyncio.create_task(ask(late))
    await has_begun(maker)
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    maker.may_end.set()
    assert await stays
    assert maker.made == 1


async def test_a_failure_is_not_for_ever() -> None:
    maker = Maker(failures=1)
    maker.may_end.set()
    late = Late(maker)
    with pytest.raises(OSError, match="no room"):
        await ask(late)
    assert await ask(late)
    assert maker.made == 2


async def test_loaded_ahead_it_is_there_for_who_asks() -> None:
    maker = Maker()
    maker.may_end.set()
    late = Late(maker)
    await late.load()
    assert maker.made == 1
    assert await ask(late)
    assert maker.made == 1
