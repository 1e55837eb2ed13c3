"""Nothing a plugin does can hurt a request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from app.domain.exchange import Attempt, Exchange
from app.domain.spending import Balance, Crossing, Shortage
from app.hooks.runner import HookRunner, PluginError, load_plugin
from app.hooks.spec import Hooks
from app.telemetry.metrics import Metrics
from tests.exchanges import DEPLOYMENT, answered_exchange, opened_exchange
from tests.logs import captured_log
from tests.storage.spending import account

CROSSING = Crossing(account=account(), shortage=Shortage.BUDGET, is_soft=True, balance=Balance(account="key:1"))


class Recorder(Hooks):
    """Takes notes of every call, in plain functions and coroutines alike."""

    def __init__(self) -> None:
        self.notes: list[tuple[object, ...]] = []

    async def startup(self) -> None:
        self.notes.append(("startup",))

    async def request(self, exchange: Exchange) -> None:
        await asyncio.sleep(0)
        self.notes.append(("request", exchange))

    async def soft_budget_crossed(self, exchange: Exchange, crossing: Crossing) -> None:
        self.notes.append(("soft_budget_crossed", exchange, crossing))

    def shadow_limit_crossed(self, exchange: Exchange, crossing: Crossing) -> None:
        self.notes.append(("shadow_limit_crossed", exchange, crossing))

    def attempt(self, exchange: Exchange, attempt: Attempt) -> None:
        self.notes.append(("attempt", exchange, attempt))

    async def attempt_failed(self, exchange: Exchange, attempt: Attempt) -> None:
        self.notes.append(("attempt_failed", exchange, attempt))

    def response(self, exchange: Exchange) -> None:
        self.notes.append(("response", exchange))

    def settled(self, exchange: Exchange) -> None:
        self.notes.append(("settled", exchange))

    def shutdown(self) -> None:
        self.notes.append(("shutdown",))


async def walked(hooks: HookRunner, exchange: Exchange, attempt: Attempt) -> None:
    await hooks.startup()
    if hooks.request:
        await hooks.request(exchange)
    if hooks.soft_budget_crossed:
        await hooks.soft_budget_crossed(exchange, CROSSING)
    if hooks.shadow_limit_crossed:
        await hooks.shadow_limit_crossed(exchange, CROSSING)
    if hooks.attempt:
        await hooks.attempt(exchange, attempt)
    if hooks.attempt_failed:
        await hooks.attempt_failed(exchange, attempt)
    if hooks.response:
        await hooks.response(exchange)
    unfinished = hooks.settled(exchange)
    if unfinished is not None:
        await unfinished
    await hooks.shutdown()


@pytest.fixture
def attempt() -> Attempt:
    return Attempt(1, DEPLOYMENT, time.monotonic())


def failures(metrics: Metrics, hook: str) -> float:
    return metrics.registry.get_sample_value("quaymaster_hook_failures_total", {"hook": hook}) or 0


async def test_every_hook_is_called_with_what_it_is_about(attempt: Attempt) -> None:
    recorder, exchange = Recorder(), opened_exchange()
    await walked(HookRunner([recorder], Metrics("1")), exchange, attempt)
    assert recorder.notes == [
        ("startup",),
        ("request", exchange),
        ("soft_budget_crossed", exchange, CROSSING),
        ("shadow_limit_crossed", exchange, CROSSING),
        ("attempt", exchange, attempt),
        ("attempt_failed", exchange, attempt),
        ("response", exchange),
        ("settled", exchange),
        ("shutdown",),
    ]


async def test_a_hook_that_nobody_overrides_is_none(attempt: Attempt) -> None:
    class OnlySettled(Hooks):
        def settled(self, exchange: Exchange) -> None:
            pass

    for hooks in (HookRunner([], Metrics("1")), HookRunner([Hooks(), OnlySettled()], Metrics("1"))):
        assert [hooks.request, hooks.attempt, hooks.attempt_failed, hooks.response] == [None] * 4
        assert [hooks.soft_budget_crossed, hooks.shadow_limit_crossed] == [None] * 2
        assert hooks.settled(opened_exchange()) is None
        await walked(hooks, opened_exchange(), attempt)


async def test_an_inherited_hook_counts_as_overridden() -> None:
    class Child(Recorder):
        pass

    child = Child()
    hooks = HookRunner([child], Metrics("1"))
    assert hooks.request is not None
    await hooks.request(opened_exchange())
    assert len(child.notes) == 1


@pytest.mark.parametrize(
    "raised", [RuntimeError("went wrong"), SystemExit(1), asyncio.CancelledError(), TimeoutError()]
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_what_a_hook_raises_is_logged_and_counted_and_the_next_plugin_called(
    raised: BaseException, is_async: bool, attempt: Attempt
) -> None:
    def plain(self: Hooks, *arguments: object) -> None:
        raise raised

    async def coroutine(self: Hooks, *arguments: object) -> None:
        raise raised

    names = [name for name in vars(Hooks) if not name.startswith("_")]
    broken_class = type("Broken", (Hooks,), dict.fromkeys(names, coroutine if is_async else plain))
    recorder, metrics = Recorder(), Metrics("1")
    with captured_log() as log:
        await walked(HookRunner([broken_class(), recorder], metrics), opened_exchange(), attempt)
        events = log.events("hook_failed")
    assert [note[0] for note in recorder.notes] == names
    assert [event["hook"] for event in events] == [f"Broken.{name}" for name in names]
    assert all(type(raised).__name__ in event["exception"] for event in events)
    assert all(failures(metrics, f"Broken.{name}") == 1 for name in names)


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_operator_who_interrupts_the_gateway_in_a_hook_is_heeded(is_async: bool) -> None:
    def plain(self: Hooks, *arguments: object) -> None:
        raise KeyboardInterrupt

    async def coroutine(self: Hooks, *arguments: object) -> None:
        raise KeyboardInterrupt

    names = ("startup", "settled")
    impatient = type("Impatient", (Hooks,), dict.fromkeys(names, coroutine if is_async else plain))
    metrics = Metrics("1")
    hooks = HookRunner([impatient()], metrics)
    with pytest.raises(KeyboardInterrupt):
        await hooks.startup()
    with pytest.raises(KeyboardInterrupt):
        await (hooks.settled(opened_exchange()) or asyncio.sleep(0))
    assert not failures(metrics, "Impatient.settled")


async def test_a_hook_that_hangs_is_cancelled_and_counted() -> None:
    class Hanging(Hooks):
        cancelled = False

        async def request(self, exchange: Exchange) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled = True

    hanging, metrics = Hanging(), Metrics("1")
    hooks = HookRunner([hanging], metrics, timeout_seconds=0.01)
    assert hooks.request is not None
    with captured_log() as log:
        await asyncio.wait_for(hooks.request(opened_exchange()), 5)
        assert [event["hook"] for event in log.events("hook_failed")] == ["Hanging.request"]
    assert hanging.cancelled
    assert failures(metrics, "Hanging.request") == 1


async def test_the_cancellation_of_the_request_itself_goes_through() -> None:
    started = asyncio.Event()

    class Slow(Hooks):
        async def request(self, exchange: Exchange) -> None:
            started.set()
            await asyncio.Event().wait()

    metrics = Metrics("1")
    hooks = HookRunner([Slow()], metrics)

    async def one_request() -> None:
        assert hooks.request is not None
        await hooks.request(opened_exchange())

    task = asyncio.create_task(one_request())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert failures(metrics, "Slow.request") == 0


async def test_settled_calls_plain_hooks_at_once_and_leaves_the_others_for_later() -> None:
    class Plain(Recorder):
        pass

    class Later(Hooks):
        seen: Exchange | None = None

        async def settled(self, exchange: Exchange) -> None:
            self.seen = exchange

    plain, later, exchange = Plain(), Later(), answered_exchange()
    unfinished = HookRunner([later, plain], Metrics("1")).settled(exchange)
    assert plain.notes == [("settled", exchange)]
    assert later.seen is None
    assert unfinished is not None
    await unfinished
    assert later.seen is exchange


async def test_cancelling_the_rest_of_settled_leaves_no_coroutine_behind() -> None:
    """`-W error` makes a coroutine that was never awaited fail this test."""
    started = asyncio.Event()

    class Later(Hooks):
        def settled(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
            return self.work()

        async def work(self) -> None:
            started.set()
            await asyncio.Event().wait()

    unfinished = HookRunner([Later(), Later()], Metrics("1")).settled(answered_exchange())
    assert unfinished is not None
    task = asyncio.create_task(unfinished)
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        ("nocolon", "write it as package.module:Class"),
        (":X", "write it as package.module:Class"),
        ("no_such_module_here:X", "there is no module 'no_such_module_here'"),
        ("broken_plugins:Missing", "'broken_plugins' has no 'Missing'"),
        ("broken_plugins:NotHooks", "not a subclass of app.hooks.spec.Hooks"),
        ("broken_plugins:function", "not a subclass of app.hooks.spec.Hooks"),
        ("broken_plugins:Picky", "wrong options: .*unexpected keyword argument 'colour'"),
        ("broken_plugins:Failing", "making it raised OSError: no disk"),
        ("syntax_error_plugin:X", "importing 'syntax_error_plugin' raised SyntaxError"),
    ],
)
def test_a_plugin_that_cannot_be_had_says_why(
    use: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_plugins.py").write_text(
        "from app.hooks.spec import Hooks\n"
        "class NotHooks: pass\n"
        "def function(): pass\n"
        "class Picky(Hooks):\n"
        "    def __init__(self, size=1): pass\n"
        "class Failing(Hooks):\n"
        "    def __init__(self, colour): raise OSError('no disk')\n"
    )
    (tmp_path / "syntax_error_plugin.py").write_text("def (:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=reason) as caught:
        load_plugin(use, {"colour": "red"})
    assert use in str(caught.value)
