"""The nine operations as values: what to send, and how to read the answer. No I/O.

A `Call` says what the caller asked for; `outgoing` makes of it the request to send, for one client's settings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

from pydantic import ValidationError

from quaymaster import operations
from quaymaster.errors import InvalidArgumentError
from quaymaster.operations import Operation, Payload
from quaymaster.options import PROVIDER_HEADER, Settings, lowered
from quaymaster.pages import AsyncContainerFilePage, AsyncContainerPage, ContainerFilePage, ContainerPage
from quaymaster.types import ApiObject, Container, ContainerDeleted, ContainerFile, ContainerFileDeleted, OnProgress
from quaymaster.uploads import FileTypes, Upload, upload_of
from quaymaster.version import VERSION

T = TypeVar("T")
ObjectT = TypeVar("ObjectT", bound=ApiObject)
ContainersT = TypeVar("ContainersT", ContainerPage, AsyncContainerPage)
FilesT = TypeVar("FilesT", ContainerFilePage, AsyncContainerFilePage)

IDEMPOTENCY_KEY: Final = "idempotency-key"
RETRY_COUNT: Final = "x-stainless-retry-count"
"""How often a request was sent before: the name is that of OpenAI's SDKs, so that servers understand it."""
PROVIDER_FIELD: Final = "custom_llm_provider"


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """An operation with its arguments. `parse` makes an answer of a body; raises ValueError for what is none."""

    operation: Operation
    path: str
    parse: Callable[[bytes], T]
    query: Mapping[str, object] = field(default_factory=dict)
    body: Mapping[str, object] | None = field(default=None, repr=False)
    file: FileTypes | None = field(default=None, repr=False)
    """What to upload: `body` are then the form's other fields."""
    on_progress: OnProgress | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request, ready to send. `upload` is the body where it is not None."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)
    upload: Upload | None

    def attempt(self, number: int) -> dict[str, str]:
        """The headers of the attempt of this number, from 0."""
        return {**self.headers, RETRY_COUNT: str(number)}


def create_container(
    name: str,
    *,
    expires_after: Mapping[str, Any] | ApiObject | None = None,
    file_ids: Sequence[str] | None = None,
    memory_limit: str | None = None,
    network_policy: Mapping[str, Any] | ApiObject | None = None,
    skills: Sequence[Mapping[str, Any]] | None = None,
) -> Call[Container]:
    """Create a container."""
    body = {
        "name": name,
        "expires_after": _plain(expires_after),
        "file_ids": None if file_ids is None else list(file_ids),
        "memory_limit": memory_limit,
        "network_policy": _plain(network_policy),
        "skills": None if skills is None else [dict(skill) for skill in skills],
    }
    return Call(
        operations.CONTAINERS_CREATE, _path(operations.CONTAINERS_CREATE), _reader(Container), body=_given(body)
    )


def list_containers(
    page: type[ContainersT],
    *,
    after: str | None = None,
    limit: int | None = None,
    order: str | None = None,
    name: str | None = None,
) -> Call[ContainersT]:
    """One page of containers."""
    return Call(
        operations.CONTAINERS_LIST,
        _path(operations.CONTAINERS_LIST),
        _reader(page),
        _given({"after": after, "limit": limit, "order": order, "name": name}),
    )


def retrieve_container(container_id: str) -> Call[Container]:
    """One container."""
    return _bare(operations.CONTAINERS_RETRIEVE, Container, container_id)


def delete_container(container_id: str) -> Call[ContainerDeleted]:
    """Delete a container."""
    return _bare(operations.CONTAINERS_DELETE, ContainerDeleted, container_id)


def create_container_file(
    container_id: str,
    *,
    file: FileTypes | None = None,
    file_id: str | None = None,
    on_progress: OnProgress | None = None,
) -> Call[ContainerFile]:
    """Upload a file, or copy one that the provider has."""
    return Call(
        operations.FILES_CREATE,
        _path(operations.FILES_CREATE, container_id),
        _reader(ContainerFile),
        body=_given({"file_id": file_id}),
        file=file,
        on_progress=on_progress,
    )


def list_container_files(
    page: type[FilesT],
    container_id: str,
    *,
    after: str | None = None,
    limit: int | None = None,
    order: str | None = None,
) -> Call[FilesT]:
    """One page of a container's files."""
    return Call(
        operations.FILES_LIST,
        _path(operations.FILES_LIST, container_id),
        _reader(page),
        _given({"after": after, "limit": limit, "order": order}),
    )


def retrieve_container_file(container_id: str, file_id: str) -> Call[ContainerFile]:
    """What is known of one file."""
    return _bare(operations.FILES_RETRIEVE, ContainerFile, container_id, file_id)


def delete_container_file(container_id: str, file_id: str) -> Call[ContainerFileDeleted]:
    """Delete a file."""
    return _bare(operations.FILES_DELETE, ContainerFileDeleted, container_id, file_id)


def retrieve_container_file_content(container_id: str, file_id: str) -> Call[bytes]:
    """A file's bytes."""
    operation = operations.FILES_CONTENT
    return Call(operation, _path(operation, container_id, file_id), bytes)


def outgoing(call: Call[Any], settings: Settings) -> Outgoing:
    """The request for a call. Raises InvalidArgumentError for what cannot be sent, OSError for an unreadable path."""
    destination = settings.destination
    fields = {**(call.body or {}), **settings.body}
    provider = fields.pop(PROVIDER_FIELD, None)
    content, upload = _payload(call, fields)
    headers = {"accept": "application/json", "user-agent": f"quaymaster/{VERSION}", **destination.headers}
    if call.operation.response is Payload.CONTENT:
        headers |= {"accept": "*/*", "accept-encoding": "identity"}
    if upload is not None:
        headers["content-type"] = upload.media_type
        if upload.length is not None:
            headers["content-length"] = str(upload.length)
    elif content is not None:
        headers["content-type"] = "application/json"
    if not call.operation.idempotent:
        headers[IDEMPOTENCY_KEY] = str(uuid4())
    if told := destination.provider_told if provider is None or destination.is_provider else str(provider):
        headers[PROVIDER_HEADER] = told
    url = destination.base_url + call.path
    if pairs := _pairs({**destination.query, **call.query, **settings.query}):
        url += "?" + urlencode(pairs, quote_via=quote)
    return Outgoing(call.operation.method, url, headers | lowered(settings.headers), content, upload)


def _bare(operation: Operation, model: type[ObjectT], *ids: str) -> Call[ObjectT]:
    """A call that sends nothing but its path."""
    return Call(operation, _path(operation, *ids), _reader(model))


def _path(operation: Operation, container_id: str | None = None, file_id: str | None = None) -> str:
    """An operation's path with each id as one segment, whatever is in it."""
    path = operation.path
    for name, value in (("container_id", container_id), ("file_id", file_id)):
        placeholder = f"{{{name}}}"
        if placeholder not in path:
            continue
        if not isinstance(value, str) or not value:
            raise InvalidArgumentError(f"{name} must be a text that is not empty, and is {value!r}.")
        segment = value.replace(".", "%2E") if value in {".", ".."} else quote(value, safe="")
        path = path.replace(placeholder, segment)
    return path


def _reader(model: type[ObjectT]) -> Callable[[bytes], ObjectT]:
    def read(body: bytes) -> ObjectT:
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(
                f"The answer is no {model.__name__}: {where}{': ' if where else ''}{first['msg']}"
            ) from None

    return read


def _payload(call: Call[Any], fields: Mapping[str, object]) -> tuple[bytes | None, Upload | None]:
    """What is sent as the body: bytes, an upload, or nothing."""
    if call.file is not None:
        return None, upload_of(call.file, fields, call.on_progress)
    if call.body is None:
        return None, None
    if not fields:
        raise InvalidArgumentError("Give file, which is uploaded, or file_id, which is copied.")
    try:
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode(), None
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"The body cannot be written as JSON: {error}") from None


def _given(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _plain(value: Mapping[str, Any] | ApiObject | None) -> object:
    return value.model_dump(exclude_none=True) if isinstance(value, ApiObject) else value


def _pairs(query: Mapping[str, object]) -> list[tuple[str, str]]:
    return [
        (name, str(one).lower() if isinstance(one, bool) else str(one))
        for name, value in query.items()
        for one in (value if isinstance(value, (list, tuple)) else (value,))
        if one is not None
    ]
