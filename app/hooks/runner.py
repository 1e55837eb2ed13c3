"""Loads plugins and calls their hooks, so that nothing a plugin does can hurt a request."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final

import structlog

from app.domain.exchange import Attempt, Exchange
from app.domain.spending import Crossing
from app.hooks.spec import Hooks
from app.telemetry.metrics import Metrics

HOOK_TIMEOUT_SECONDS: Final = 1.0

NamedHook = tuple[str, Callable[..., object]]
"""`Class.method`, and the method."""


class PluginError(ValueError):
    """A plugin that is named in the configuration cannot be had. The message says which and why."""


def load_plugin(use: str, options: Mapping[str, Any] | None = None) -> Hooks:
    """Import `package.module:Class` and make one with `options` as keyword arguments. Raises PluginError."""
    module_name, colon, class_name = use.partition(":")
    if not (module_name and colon and class_name):
        raise PluginError(f"plugin '{use}': write it as package.module:Class")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as missing:
        raise PluginError(f"plugin '{use}': there is no module '{missing.name}'") from missing
    except Exception as raised:
        raise PluginError(f"plugin '{use}': importing '{module_name}' raised {type(raised).__name__}") from raised
    plugin_class = getattr(module, class_name, None)
    if plugin_class is None:
        raise PluginError(f"plugin '{use}': '{module_name}' has no '{class_name}'")
    if not (isinstance(plugin_class, type) and issubclass(plugin_class, Hooks)):
        raise PluginError(f"plugin '{use}': '{class_name}' is not a subclass of app.hooks.spec.Hooks")
    try:
        return plugin_class(**(options or {}))
    except TypeError as raised:
        raise PluginError(f"plugin '{use}': wrong options: {raised}") from raised
    except Exception as raised:
        raise PluginError(f"plugin '{use}': making it raised {type(raised).__name__}: {raised}") from raised


class HookRunner:
    """The plugins, ready to be called.

    Those that are attributes are None where no plugin overrides them, so that a hook nobody uses costs one look:
    `if hooks.request: await hooks.request(exchange)`. Nothing here raises, except CancelledError where the caller
    itself is cancelled.
    """

    def __init__(
        self,
        plugins: Sequence[Hooks],
        metrics: Metrics,
        *,
        timeout_seconds: float = HOOK_TIMEOUT_SECONDS,
    ) -> None:
        self._plugins = plugins
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds
        self._log = structlog.get_logger()
        self._settled = self._overridden("settled")
        self.request: Callable[[Exchange], Awaitable[None]] | None = self._caller("request")
        self.attempt: Callable[[Exchange, Attempt], Awaitable[None]] | None = self._caller("attempt")
        self.attempt_failed: Callable[[Exchange, Attempt], Awaitable[None]] | None = self._caller("attempt_failed")
        self.response: Callable[[Exchange], Awaitable[None]] | None = self._caller("response")
        self.soft_budget_crossed: Callable[[Exchange, Crossing], Awaitable[None]] | None = self._caller(
            "soft_budget_crossed"
        )
        self.shadow_limit_crossed: Callable[[Exchange, Crossing], Awaitable[None]] | None = self._caller(
            "shadow_limit_crossed"
        )

    async def startup(self) -> None:
        """Call every `startup`."""
        await self._call(self._overridden("startup"))

    async def shutdown(self) -> None:
        """Call every `shutdown`."""
        await self._call(self._overridden("shutdown"))

    def settled(self, exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        """Call every `settled`; returns what is left to run in the background, if anything is."""
        unfinished = []
        for name, hook in self._settled:
            try:
                result = hook(exchange)
            except BaseException as raised:
                self._failed(name, raised)
            else:
                if result is not None and inspect.isawaitable(result):
                    unfinished.append((name, result))
        return self._finish(unfinished) if unfinished else None

    def _overridden(self, method: str) -> list[NamedHook]:
        return [
            (f"{type(plugin).__name__}.{method}", getattr(plugin, method))
            for plugin in self._plugins
            if getattr(type(plugin), method) is not getattr(Hooks, method)
        ]

    def _caller(self, method: str) -> Callable[..., Awaitable[None]] | None:
        hooks = self._overridden(method)
        return partial(self._call, hooks) if hooks else None

    async def _call(self, hooks: Sequence[NamedHook], *arguments: object) -> None:
        for name, hook in hooks:
            try:
                result = hook(*arguments)
            except BaseException as raised:
                self._failed(name, raised)
            else:
                if inspect.isawaitable(result):
                    await self._finish([(name, result)])

    async def _finish(self, unfinished: list[tuple[str, Awaitable[object]]]) -> None:
        try:
            while unfinished:
                await self._awaited(*unfinished.pop(0))
        finally:
            for _, result in unfinished:
                if inspect.iscoroutine(result):
                    result.close()

    async def _awaited(self, name: str, result: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await result
        except GeneratorExit:
            raise
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._failed(name, cancelled)
        except BaseException as raised:
            self._failed(name, raised)

    def _failed(self, name: str, raised: BaseException) -> None:
        """Log and count what a hook raised, SystemExit too: a plugin does not stop the gateway, its operator does."""
        if isinstance(raised, KeyboardInterrupt):
            raise raised
        self._metrics.hook_failed(name)
        self._log.error("hook_failed", hook=name, exc_info=raised)
