"""The tree of errors: which class for which answer, what it knows, and what it never tells."""

from __future__ import annotations

import inspect
import json
import pickle
import re
import traceback
from typing import Any

import pytest

import quaymaster
from quaymaster import APIConnectionError, APIError, APIStatusError, BadRequestError, NotFoundError, QuaymasterError
from quaymaster import errors as module
from quaymaster.errors import ContainerExpiredError, status_error
from tests.fakes.scripted import ScriptedUpstream, answers, reply
from tests.sdk.ways import OF_ONE_FILE, OPERATIONS, calling

KEY = "sk-qm-public-a-very-secret-key"
JSON = (b"content-type", b"application/json")
ID = "cntr_" + "ab" * 24


def refusal(message: object, code: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": "t", "param": "p", "code": code}}).encode()


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "BadRequestError"),
        (401, "AuthenticationError"),
        (403, "PermissionDeniedError"),
        (404, "NotFoundError"),
        (409, "ConflictError"),
        (413, "APIStatusError"),
        (422, "UnprocessableEntityError"),
        (429, "RateLimitError"),
        (500, "InternalServerError"),
        (502, "InternalServerError"),
        (504, "InternalServerError"),
        (599, "InternalServerError"),
        (302, "APIStatusError"),
    ],
)
async def test_a_status_has_its_class(driver: str, status: int, name: str) -> None:
    script = answers(reply(status, refusal("No.", "c"), JSON, (b"X-Request-Id", b"req_1")))
    async with (
        ScriptedUpstream(script) as upstream,
        calling(driver, api_base=upstream.origin, api_key=KEY, max_retries=0) as call,
    ):
        with pytest.raises(APIStatusError) as caught:
            await call("retrieve_container", ID)
    error = caught.value
    assert type(error) is getattr(quaymaster, name)
    assert (error.status_code, error.request_id, error.code, error.param, error.type) == (
        status,
        "req_1",
        "c",
        "p",
        "t",
    )
    assert error.body == {"message": "No.", "type": "t", "param": "p", "code": "c"}
    assert error.message == "No."
    assert str(error) == f"No. (status {status}, request req_1)"
    assert error.headers["x-request-id"] == "req_1"


@pytest.mark.parametrize(
    ("status", "message", "also"),
    [
        (404, f"Container with id '{ID}' not found.", NotFoundError),
        (404, "Container has expired.", NotFoundError),
        (400, "Container is expired.", BadRequestError),
        (400, "Container is not running.", BadRequestError),
    ],
)
async def test_a_dead_container_has_four_faces(driver: str, status: int, message: str, also: type[APIError]) -> None:
    script = answers(reply(status, refusal(message), JSON))
    async with (
        ScriptedUpstream(script) as upstream,
        calling(driver, api_base=upstream.origin, api_key=KEY) as call,
    ):
        for name in ("retrieve_container", "list_container_files"):
            with pytest.raises(ContainerExpiredError, match=re.escape(message)) as caught:
                await call(name, ID)
            assert isinstance(caught.value, also)
            assert caught.value.status_code == status
    assert len(upstream.requests) == 2, "a dead container stays dead: nothing is tried again"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, f"File cfile_1 not found on container {ID}."),
        (404, "Invalid URL (GET /v1/container is expired)"),
        (400, "Invalid 'name': 'Container is expired.' is taken."),
        (500, "Container is expired."),
    ],
)
def test_other_refusals_are_no_dead_container(status: int, message: str) -> None:
    assert not isinstance(status_error(status, json.loads(refusal(message)), {}), ContainerExpiredError)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The server answered with status 502."),
        (b"<html>Bad gateway</html>", "<html>Bad gateway</html>"),
        (b"[]", "The server answered with status 502."),
        (b'{"error": "just text"}', "just text"),
        (b'{"error": null, "x": 1}', "The server answered with status 502."),
        (b'{"detail": "as some say"}', "as some say"),
        (b'{"message": "bare"}', "bare"),
        (b'{"error": {"message": ""}}', "The server answered with status 502."),
        (b'{"error": {"message": 7, "code": 8}}', "The server answered with status 502."),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[" * 50_000, "[" * 2000),
    ],
)
async def test_a_refusal_of_any_kind_says_something(body: bytes, message: str) -> None:
    async with (
        ScriptedUpstream(answers(reply(502, body))) as upstream,
        calling("async functions", api_base=upstream.origin, api_key=KEY, max_retries=0) as call,
    ):
        with pytest.raises(quaymaster.InternalServerError) as caught:
            await call("retrieve_container", ID)
    assert caught.value.message == message
    assert pickle.loads(pickle.dumps(caught.value)).message == message


async def test_a_redirect_is_not_followed_with_the_key(driver: str) -> None:
    async with ScriptedUpstream(answers(reply())) as elsewhere:
        script = answers(reply(307, b"", (b"location", f"{elsewhere.origin}/v2".encode())))
        async with (
            ScriptedUpstream(script) as upstream,
            calling(driver, api_base=upstream.origin, api_key=KEY) as call,
        ):
            with pytest.raises(APIStatusError, match=r"redirects to http.*/v2") as caught:
                await call("retrieve_container", ID)
        assert caught.value.status_code == 307
        assert not elsewhere.requests


def told(error: BaseException) -> str:
    """Everything that an error shows, in any way."""
    fields = {name: getattr(error, name) for name in dir(error) if not name.startswith("_")}
    return "\n".join([str(error), repr(error), *traceback.format_exception(error), repr(fields), repr(error.__dict__)])


@pytest.mark.parametrize("header", ["authorization", "api-key"])
async def test_no_error_tells_the_key(driver: str, header: str) -> None:
    echo = refusal(f"Incorrect key {KEY} (Bearer {KEY})")
    scripts = [
        answers(reply(401, echo, JSON, (b"x-echo", KEY.encode()))),
        answers(reply(500, f"raw {KEY}".encode())),
        answers(reply(200, f'{{"id": "{KEY}"'.encode(), (b"x-echo", KEY.encode()))),
        answers(f"HTTP/1.1 {KEY}\r\n\r\n".encode()),
        answers(f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode()),
        answers(f"HTTP/1.1 307 Moved\r\nlocation: http://x/{KEY}\r\ncontent-length: 0\r\n\r\n".encode()),
    ]
    provider = {"custom_llm_provider": "azure"} if header == "api-key" else {}
    async with ScriptedUpstream(*scripts) as upstream:
        for _ in scripts:
            there = {"api_base": upstream.origin, "api_key": KEY, **provider}
            async with calling(driver, **there) as call:
                with pytest.raises(APIError) as caught:
                    await call("retrieve_container", ID, max_retries=0, extra_headers={"connection": "close"})
            assert KEY not in told(caught.value), type(caught.value)
    assert all(KEY.encode() in (request.header(header.encode()) or b"") for request in upstream.requests)


async def test_no_error_tells_a_key_that_reached_nobody(driver: str) -> None:
    upstream = ScriptedUpstream(answers(reply()))
    async with upstream:
        pass
    async with calling(driver, api_base=upstream.origin, api_key=KEY, max_retries=0) as call:
        with pytest.raises(APIConnectionError) as caught:
            await call("retrieve_container", ID)
    assert KEY not in told(caught.value)


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_missing_credential_is_an_error_of_every_function(name: str) -> None:
    ids = ["x", "y"][: 2 if name in OF_ONE_FILE else 1]
    for way in ("functions", "async functions"):
        async with calling(way) as call:
            with pytest.raises(quaymaster.MissingCredentialError, match="OPENAI_API_KEY"):
                await call(name, *ids)


def test_a_missing_credential_is_an_error_of_each_client() -> None:
    for client in (quaymaster.Quaymaster, quaymaster.AsyncQuaymaster):
        with pytest.raises(quaymaster.MissingCredentialError, match="AZURE_API_BASE"):
            client(custom_llm_provider="azure")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (reply(200, b'{"id":"x"}', JSON, (b"X-Request-Id", b"req_1")), "no Container: created_at"),
        (reply(204, b"", (b"X-Request-Id", b"req_1")), "no Container"),
        (reply(200, b"<html>", (b"X-Request-Id", b"req_1")), "no Container: .*JSON"),
    ],
)
async def test_a_success_that_says_nothing_is_an_error(driver: str, answer: bytes, message: str) -> None:
    async with (
        ScriptedUpstream(answers(answer)) as upstream,
        calling(driver, api_base=upstream.origin, api_key=KEY) as call,
    ):
        with pytest.raises(quaymaster.APIResponseValidationError, match=message) as caught:
            await call("retrieve_container", ID)
    assert caught.value.request_id == "req_1"
    assert caught.value.status_code in {200, 204}
    assert len(upstream.requests) == 1, "asking again would not help"


def tree(root: type, depth: int = 0) -> list[tuple[int, str]]:
    """The public classes of the errors, each with its depth below the root."""
    found = [(depth, root.__name__)]
    each: type
    for each in root.__subclasses__():
        if each.__module__ == module.__name__ and each.__name__ in quaymaster.__all__:
            found += tree(each, depth + 1)
        elif each.__name__.startswith("_"):
            found += tree(each, depth)[1:]
    return found


def test_the_tree_is_drawn_as_it_is() -> None:
    lines = (inspect.getdoc(module) or "").splitlines()
    drawn = [
        (len(match[1]) // 4, match[2])
        for line in lines
        if (match := re.match(r"\s{0,4}([│├└─ ]*)(\w+Error)\s{2}", line))
    ]
    assert sorted(drawn) == sorted(tree(QuaymasterError))
    assert {name for name in quaymaster.__all__ if name.endswith("Error")} == {name for _, name in drawn}


def test_openais_tree_is_in_it() -> None:
    import openai

    for name in quaymaster.__all__:
        theirs: Any = getattr(openai, name, None)
        if not name.endswith("Error") or theirs is None:
            continue
        ours = getattr(quaymaster, name)
        bases = {base.__name__ for base in theirs.__mro__ if base.__name__ in quaymaster.__all__}
        assert bases <= {base.__name__ for base in ours.__mro__}, name
