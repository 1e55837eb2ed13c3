from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.hooks.builtin.otel import Spans
from app.hooks.builtin.outlet import NotSent
from tests.hooks.written import Collector, collecting, written


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def exported(collector: Collector) -> list[Span]:
    import gzip

    ((path, headers, body),) = collector.posts
    assert path == "/v1/traces"
    body = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
    request = ExportTraceServiceRequest.FromString(body)
    return [span for one in request.resource_spans for scope in one.scope_spans for span in scope.spans]


def test_a_request_is_a_span_and_each_attempt_one_within_it(collector: Collector) -> None:
    spans = Spans(collector.url, "1.2.3")
    spans.send([written(f"req_{'ab' * 16}")])
    spans.close()
    server, client = exported(collector)
    assert (server.name, client.name) == ("GET containers.retrieve", "GET openai-main")
    assert server.trace_id == client.trace_id == bytes.fromhex("ab" * 16)
    assert client.parent_span_id == server.span_id != client.span_id
    assert (client.end_time_unix_nano - client.start_time_unix_nano) / 1e9 == pytest.approx(0.25, abs=1e-3)
    assert server.start_time_unix_nano <= client.start_time_unix_nano
    assert client.end_time_unix_nano <= server.end_time_unix_nano
    attributes = {each.key: each.value for each in server.attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["gen_ai.operation.name"].string_value == "containers.retrieve"
    assert attributes["quaymaster.key_id"].string_value == "master"


def test_a_collector_that_refuses_is_told(collector: Collector) -> None:
    collector.statuses = [400]
    spans = Spans(collector.url, "1")
    with pytest.raises(NotSent):
        spans.send([written()])
    spans.close()
