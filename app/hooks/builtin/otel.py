"""Requests as OpenTelemetry spans, over OTLP/HTTP. Needs the extra `otel`: import it only where it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from app.domain.exchange import Attempt
from app.domain.requests import RequestRow
from app.hooks.builtin.outlet import NotSent
from app.hooks.builtin.pen import Written

TIMEOUT_SECONDS: Final = 10
MAX_ROWS: Final = 512
EVERY_SECONDS: Final = 1.0
GIVE_UP_SECONDS: Final = 60.0
MAX_PENDING_BYTES: Final = 16 * 2**20

Attributes = dict[str, str | int | float]


class Spans:
    """Sends a server span for each request, and a client span within it for each attempt at an upstream.

    The trace's id is the request id without its `req_`. `endpoint` is the collector's base URL; the exporter reads
    `OTEL_EXPORTER_OTLP_HEADERS` and the like from the environment itself. No body and no credential is in a span.
    """

    def __init__(self, endpoint: str, version: str) -> None:
        base = endpoint.rstrip("/")
        self._exporter = OTLPSpanExporter(
            endpoint=base if base.endswith("/v1/traces") else f"{base}/v1/traces", timeout=TIMEOUT_SECONDS
        )
        self._resource = Resource.create({"service.name": "quaymaster", "service.version": version})
        self._scope = InstrumentationScope("quaymaster", version)

    def send(self, batch: Sequence[Written]) -> None:
        """Export a batch. Raises NotSent."""
        spans = [span for written in batch for span in self._spans(written)]
        try:
            result = self._exporter.export(spans)
        except Exception as error:
            raise NotSent(type(error).__name__) from None
        if result is not SpanExportResult.SUCCESS:
            raise NotSent("the collector did not take it")

    def close(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _spans(self, written: Written) -> list[ReadableSpan]:
        row = written.row
        trace = int(row.request_id.removeprefix("req_"), 16) or 1

        def at(clock: float) -> int:
            return round((written.ended_at_unix - written.ended_at + clock) * 1e9)

        server = self._span(
            f"{row.method} {row.operation or 'other'}",
            _context(trace, 0),
            None,
            SpanKind.SERVER,
            _attributes(row),
            row.status is None or row.status >= 500,
            at(written.started_at),
            at(written.ended_at),
        )
        clients = [
            self._span(
                f"{row.method} {attempt.deployment.name}",
                _context(trace, attempt.number),
                server.context,
                SpanKind.CLIENT,
                _of_attempt(row.method, attempt),
                attempt.fault is not None or (attempt.status or 0) >= 400,
                at(attempt.started_at),
                at(attempt.ended_at or written.ended_at),
            )
            for attempt in written.attempts
        ]
        return [server, *clients]

    def _span(  # noqa: PLR0917 - all of them, each time
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Attributes,
        failed: bool,
        start: int,
        end: int,
    ) -> ReadableSpan:
        return ReadableSpan(
            name=name,
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            kind=kind,
            instrumentation_scope=self._scope,
            status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
            start_time=start,
            end_time=end,
        )


def _context(trace: int, number: int) -> SpanContext:
    """Of the request itself (0), or of its attempt with this number."""
    span = ((trace & (2**64 - 1)) + number) % 2**64 or 1
    return SpanContext(trace, span, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _of_attempt(method: str, attempt: Attempt) -> Attributes:
    return _set(
        {
            "http.request.method": method,
            "http.request.resend_count": attempt.number - 1,
            "http.response.status_code": attempt.status,
            "error.type": attempt.fault,
            "gen_ai.provider.name": attempt.deployment.provider,
            "quaymaster.deployment": attempt.deployment.name,
        }
    )


def _set(attributes: dict[str, str | int | float | None]) -> Attributes:
    return {name: value for name, value in attributes.items() if value is not None}


def _attributes(row: RequestRow) -> Attributes:
    """The HTTP and GenAI conventions' names where they have one, else ours."""
    found: dict[str, str | int | float | None] = {
        "http.request.method": row.method,
        "http.response.status_code": row.status,
        "http.request.body.size": row.bytes_in,
        "http.response.body.size": row.bytes_out,
        "url.path": row.path,
        "error.type": row.error_code,
        "gen_ai.operation.name": row.operation,
        "gen_ai.provider.name": row.provider,
        "quaymaster.request_id": row.request_id,
        "quaymaster.upstream_request_id": row.upstream_request_id,
        "quaymaster.deployment": row.deployment,
        "quaymaster.container_id": row.container_id,
        "quaymaster.file_id": row.file_id,
        "quaymaster.key_id": row.key_id,
        "quaymaster.key_alias": row.key_alias,
        "quaymaster.user_id": row.user_id,
        "quaymaster.team_id": row.team_id,
        "quaymaster.tags": row.tags,
        "quaymaster.outcome": row.outcome,
        "quaymaster.attempts": row.attempts,
        "quaymaster.overhead_ms": row.overhead_ms,
        "quaymaster.cost_nanousd": row.cost_nanousd,
    }
    return _set(found)
