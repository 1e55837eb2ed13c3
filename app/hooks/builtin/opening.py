"""The request log, as the settings want it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from app.config.request_log import RequestLogSettings
from app.config.settings import LoggingSettings
from app.domain.requests import RequestStore
from app.hooks.builtin.log import RequestLog
from app.hooks.builtin.outlet import Outlet, weight_of_lines
from app.hooks.builtin.pen import Written
from app.hooks.runner import PluginError

CLOSE_SECONDS = 5.0


class OpenRequestLog:
    """A request log with everything that it needs open. Making it blocks for a moment; raises PluginError."""

    def __init__(
        self, logging: LoggingSettings, settings: RequestLogSettings, store: RequestStore, *, version: str
    ) -> None:
        self._stack = ExitStack()
        with ExitStack() as opened:
            outlets = [
                *_file(settings, opened.callback),
                *_webhook(settings, opened.callback),
                *_spans(settings, opened.callback, version),
            ]
            self._stack = opened.pop_all()
        self.hook = RequestLog(
            bodies=logging.bodies,
            max_body_bytes=logging.max_body_bytes,
            store=store if settings.table else None,
            outlets=outlets,
            blocks=settings.when_full == "block",
            max_pending_bytes=settings.max_pending_bytes,
        )

    def close(self) -> None:
        """Write down what is there and close everything. Blocks."""
        self.hook.close(CLOSE_SECONDS)
        self._stack.close()


def _file(settings: RequestLogSettings, on_close: Callable[[Callable[[], None]], object]) -> list[Outlet[Written]]:
    if settings.file is None:
        return []
    from app.hooks.builtin import file

    try:
        rotating = file.RotatingFile(settings.file, max_bytes=settings.file_max_bytes, count=settings.file_count)
    except OSError as error:
        raise PluginError(f"request_log.file: {settings.file} cannot be written: {error.strerror}") from error
    on_close(rotating.close)
    return [
        Outlet(
            "file",
            rotating.write,
            weight_of_lines,
            max_rows=file.MAX_ROWS,
            every_seconds=file.EVERY_SECONDS,
            max_pending_bytes=file.MAX_PENDING_BYTES,
            give_up_seconds=file.GIVE_UP_SECONDS,
        )
    ]


def _webhook(settings: RequestLogSettings, on_close: Callable[[Callable[[], None]], object]) -> list[Outlet[Written]]:
    if settings.webhook_url is None or settings.webhook_secret is None:
        return []
    from app.hooks.builtin import webhook  # what speaks HTTP takes 3 MB

    hook = webhook.Webhook(
        settings.webhook_url,
        settings.webhook_secret.get_secret_value().encode(),
        allow_private=settings.webhook_allow_private,
    )
    on_close(hook.close)
    return [
        Outlet(
            "webhook",
            hook.send,
            weight_of_lines,
            max_rows=webhook.MAX_ROWS,
            every_seconds=webhook.EVERY_SECONDS,
            max_pending_bytes=webhook.MAX_PENDING_BYTES,
            give_up_seconds=webhook.GIVE_UP_SECONDS,
        )
    ]


def _spans(
    settings: RequestLogSettings, on_close: Callable[[Callable[[], None]], object], version: str
) -> list[Outlet[Written]]:
    if settings.otlp_endpoint is None:
        return []
    try:
        from app.hooks.builtin import otel
    except ImportError:
        raise PluginError("request_log.otlp_endpoint needs OpenTelemetry: pip install 'quaymaster[otel]'") from None
    spans = otel.Spans(settings.otlp_endpoint, version)
    on_close(spans.close)
    return [
        Outlet(
            "otlp",
            spans.send,
            weight_of_lines,
            max_rows=otel.MAX_ROWS,
            every_seconds=otel.EVERY_SECONDS,
            max_pending_bytes=otel.MAX_PENDING_BYTES,
            give_up_seconds=otel.GIVE_UP_SECONDS,
        )
    ]
