"""Refusals as users of openai-python meet them: the right class, a message that helps, and nothing secret in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest
from openai import AzureOpenAI, OpenAI

from tests.e2e.gateway import MASTER_KEY, RunningGateway, forwarding_to, running_gateway
from tests.services import free_port

NO_CONTAINER = "cntr_" + "0" * 48
NO_FILE = "cfile_" + "0" * 32


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path_factory.mktemp("errors")) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=gateway.url, api_key=MASTER_KEY, max_retries=0) as client:
        yield client


@dataclass(frozen=True)
class Refusal:
    """What a user should see. `{container}` in the message is the one the test made."""

    by: Callable[[OpenAI, str], object]
    error: type[openai.APIStatusError]
    message: str
    code: str | None = None
    param: str | None = None


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(
            lambda client, _: client.containers.retrieve(NO_CONTAINER),
            openai.NotFoundError,
            f"Container with id '{NO_CONTAINER}' not found.",
        ),
        Refusal(
            lambda client, container: client.containers.files.retrieve(NO_FILE, container_id=container),
            openai.NotFoundError,
            f"File {NO_FILE} not found on container {{container}}.",
        ),
        Refusal(
            lambda client, _: client.get("/models", cast_to=object),
            openai.NotFoundError,
            "Invalid URL (GET /models).",
            "route_not_found",
        ),
        Refusal(
            lambda client, _: client.containers.create(name="x", extra_body={"custom_llm_provider": "bedrock"}),
            openai.BadRequestError,
            "Unknown provider 'bedrock'. Configured here: local, openai.",
            "unknown_provider",
            "custom_llm_provider",
        ),
        Refusal(
            lambda client, _: client.containers.create(
                name="x", expires_after={"anchor": "last_active_at", "minutes": 21}
            ),
            openai.BadRequestError,
            "Invalid 'expires_after.minutes': integer above maximum value. Expected a value <= 20, but got 21 instead.",
            "integer_above_max_value",
            "expires_after.minutes",
        ),
        Refusal(
            lambda client, container: client.containers.files.create(container, file_id="file-none"),
            openai.BadRequestError,
            "File with id 'file-none' not found.",
            "invalid_value",
            "file_id",
        ),
    ],
    ids=["container", "file", "path", "provider", "minutes", "file by id"],
)
def test_what_is_wrong_with_a_request(client: OpenAI, refusal: Refusal) -> None:
    container = client.containers.create(name="there").id
    with pytest.raises(refusal.error) as raised:
        refusal.by(client, container)
    assert type(raised.value) is refusal.error
    message = refusal.message.format(container=container)
    assert raised.value.message.endswith(message)
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["message"] == message
    assert (raised.value.code, raised.value.param) == (refusal.code, refusal.param)
    assert raised.value.request_id is not None
    assert raised.value.request_id.startswith("req_")


@pytest.mark.parametrize(
    ("fields", "error", "message", "code"),
    [
        (
            {"allowed_operations": ["containers.list", "containers.files.*"]},
            openai.PermissionDeniedError,
            "This key may not do containers.create",
            "operation_not_allowed",
        ),
        ({"blocked": True}, openai.AuthenticationError, "This API key is blocked.", "blocked_api_key"),
        (None, openai.AuthenticationError, "This API key is not known here.", "invalid_api_key"),
    ],
    ids=["not allowed", "blocked", "unknown"],
)
def test_what_is_wrong_with_a_key(
    gateway: RunningGateway,
    client: OpenAI,
    fields: dict[str, object] | None,
    error: type[openai.APIStatusError],
    message: str,
    code: str,
) -> None:
    key = "sk-qm-nobody-has-this-one" if fields is None else gateway.make_key(**fields)
    with pytest.raises(error) as raised:
        client.with_options(api_key=key).containers.create(name="x")
    assert type(raised.value) is error
    assert message in raised.value.message
    assert raised.value.code == code
    assert key not in f"{raised.value} {raised.value.body}"


def test_a_virtual_key_does_what_it_may_and_stops_when_it_is_deleted(gateway: RunningGateway, client: OpenAI) -> None:
    key = gateway.make_key(allowed_operations=["containers.*"])
    mine = client.with_options(api_key=key)
    container = mine.containers.create(name="mine").id
    assert mine.containers.retrieve(container).name == "mine"
    with pytest.raises(openai.PermissionDeniedError):
        mine.post("/key/generate", cast_to=object, body={})
    assert gateway.client.post("/key/delete", json={"keys": [key]}).status_code == 200
    with pytest.raises(openai.AuthenticationError):
        mine.containers.retrieve(container)


def test_the_azure_client_sends_its_key_in_another_header(gateway: RunningGateway) -> None:
    key = gateway.make_key()
    with AzureOpenAI(base_url=f"{gateway.url}/v1", api_key=key, api_version="preview", max_retries=0) as client:
        created = client.containers.with_raw_response.create(name="azure")
        assert created.http_request.headers["api-key"] == key
        assert "authorization" not in created.http_request.headers
        container = created.parse().id
        file = client.containers.files.create(container, file=b"hello")
        assert client.containers.files.content.retrieve(file.id, container_id=container).read() == b"hello"
        client.containers.delete(container)
    with (
        AzureOpenAI(base_url=f"{gateway.url}/v1", api_key="sk-no", api_version="preview", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.containers.list()


def test_a_deployment_that_is_not_there(tmp_path: Path) -> None:
    config = forwarding_to(f"http://127.0.0.1:{free_port()}")
    with (
        running_gateway(tmp_path, config) as gateway,
        OpenAI(base_url=gateway.url, api_key=MASTER_KEY, max_retries=0) as client,
        pytest.raises(openai.InternalServerError) as raised,
    ):
        client.containers.list()
    assert raised.value.status_code == 502
    assert raised.value.code == "upstream_unreachable"
    assert "The deployment 'main' could not be reached" in raised.value.message
    assert "sk-upstream-secret" not in f"{raised.value} {raised.value.body}"
