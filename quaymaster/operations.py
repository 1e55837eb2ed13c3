"""The nine operations of the containers API, as one table.

Routes, permissions, metrics labels, log fields and SDK functions all derive from `OPERATIONS`: an operation that is not
here does not exist. Names, methods and paths are those of OpenAI's published API reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final


class Payload(StrEnum):
    """What travels in a body, in either direction."""

    NONE = "none"
    JSON = "json"
    UPLOAD = "upload"
    """A file as multipart/form-data, or a JSON reference to one."""
    CONTAINER = "container"
    CONTAINER_LIST = "container_list"
    FILE = "file"
    FILE_LIST = "file_list"
    DELETED = "deleted"
    CONTENT = "content"
    """A file's raw bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation: there is one object for each, which is equal to itself only.

    `path` is relative to the API's base (`/v1`) with `{container_id}` and `{file_id}` as the only variables.
    `billable`: a success makes something that costs money. `idempotent`: sending it twice changes nothing more than
    sending it once, so it may be retried.
    """

    name: str
    method: str
    path: str
    summary: str
    request: Payload
    response: Payload
    billable: bool = False
    idempotent: bool = True


CONTAINERS_CREATE: Final = Operation(
    "containers.create",
    "POST",
    "/containers",
    "Create a container",
    Payload.JSON,
    Payload.CONTAINER,
    billable=True,
    idempotent=False,
)
CONTAINERS_LIST: Final = Operation(
    "containers.list", "GET", "/containers", "List containers", Payload.NONE, Payload.CONTAINER_LIST
)
CONTAINERS_RETRIEVE: Final = Operation(
    "containers.retrieve",
    "GET",
    "/containers/{container_id}",
    "Retrieve a container",
    Payload.NONE,
    Payload.CONTAINER,
)
CONTAINERS_DELETE: Final = Operation(
    "containers.delete", "DELETE", "/containers/{container_id}", "Delete a container", Payload.NONE, Payload.DELETED
)
FILES_CREATE: Final = Operation(
    "containers.files.create",
    "POST",
    "/containers/{container_id}/files",
    "Create a container file",
    Payload.UPLOAD,
    Payload.FILE,
    idempotent=False,
)
FILES_LIST: Final = Operation(
    "containers.files.list",
    "GET",
    "/containers/{container_id}/files",
    "List container files",
    Payload.NONE,
    Payload.FILE_LIST,
)
FILES_RETRIEVE: Final = Operation(
    "containers.files.retrieve",
    "GET",
    "/containers/{container_id}/files/{file_id}",
    "Retrieve a container file",
    Payload.NONE,
    Payload.FILE,
)
FILES_DELETE: Final = Operation(
    "containers.files.delete",
    "DELETE",
    "/containers/{container_id}/files/{file_id}",
    "Delete a container file",
    Payload.NONE,
    Payload.DELETED,
)
FILES_CONTENT: Final = Operation(
    "containers.files.content",
    "GET",
    "/containers/{container_id}/files/{file_id}/content",
    "Download a container file",
    Payload.NONE,
    Payload.CONTENT,
)

OPERATIONS: Final[tuple[Operation, ...]] = (
    CONTAINERS_CREATE,
    CONTAINERS_LIST,
    CONTAINERS_RETRIEVE,
    CONTAINERS_DELETE,
    FILES_CREATE,
    FILES_LIST,
    FILES_RETRIEVE,
    FILES_DELETE,
    FILES_CONTENT,
)
BY_NAME: Final[dict[str, Operation]] = {operation.name: operation for operation in OPERATIONS}

BASE_PATH: Final = "/v1"
"""The API answers under this prefix and without it, because an SDK whose base URL lacks it asks for `/containers`."""

Methods = dict[str, Operation]


def _by_length() -> dict[int, Methods]:
    """Group operations by how many pieces a slash cuts their path into, which is different for each of the five."""
    lengths: dict[int, Methods] = {}
    for operation in OPERATIONS:
        lengths.setdefault(len(operation.path.split("/")), {})[operation.method] = operation
    return lengths


_LENGTHS: Final = _by_length()


@dataclass(slots=True, eq=False)  # frozen, making one would take twice as long
class Route:
    """A path of the API, as it was asked for: ids still percent-encoded, exactly as they came."""

    methods: Methods
    container_id: str | None
    file_id: str | None


def route(raw_path: str) -> Route | None:
    """Find the operations at an undecoded request path, or None where the API has no such path.

    `raw_path` is the path as it stood in the request line (no query). One trailing slash is ignored. Ids are returned
    undecoded, so an encoded slash never separates segments.
    """
    segments = raw_path.removeprefix(BASE_PATH).split("/")
    if not segments[-1] and len(segments) > 2:
        segments.pop()
    count = len(segments)
    methods = _LENGTHS.get(count)
    if methods is None or segments[0] or segments[1] != "containers":
        return None
    container_id = file_id = None
    if count > 2:
        container_id = segments[2]
        if not container_id or (count > 3 and segments[3] != "files"):
            return None
    if count > 4:
        file_id = segments[4]
        if not file_id or (count > 5 and segments[5] != "content"):
            return None
    return Route(methods, container_id, file_id)


def matching(patterns: list[str] | tuple[str, ...]) -> frozenset[Operation]:
    """The operations that any of these patterns names: `containers.create`, or wildcards such as `containers.files.*`.

    A pattern is shell-style and matches the whole name, so `containers.*` includes the files' operations.
    """
    return frozenset(op for op in OPERATIONS if any(fnmatchcase(op.name, pattern) for pattern in patterns))
