"""Quaymaster: the containers API behind one key, wherever the containers live.

    from quaymaster import create_container, create_container_file, retrieve_container_file_content

    container = create_container("crate")
    file = create_container_file(container.id, file="data.csv")
    content = retrieve_container_file_content(container.id, file.id)

Each of the nine operations is a function, with an asynchronous twin: `a` + its name. `Quaymaster` and
`AsyncQuaymaster` are clients with the same operations as methods. Errors: see `quaymaster.errors`.

What is behind these names is loaded when the first of them is used: a program that only needs the operations, as the
gateway does, loads neither httpx nor pydantic for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from quaymaster.client import (
        AsyncQuaymaster,
        Quaymaster,
    )
    from quaymaster.container_files import (
        acreate_container_file,
        adelete_container_file,
        adownload_container_file,
        alist_container_files,
        aretrieve_container_file,
        aretrieve_container_file_content,
        astream_container_file_content,
        aupload_container_file,
        create_container_file,
        delete_container_file,
        download_container_file,
        list_container_files,
        retrieve_container_file,
        retrieve_container_file_content,
        stream_container_file_content,
        upload_container_file,
    )
    from quaymaster.containers import (
        acreate_container,
        adelete_container,
        alist_containers,
        aretrieve_container,
        create_container,
        delete_container,
        list_containers,
        retrieve_container,
    )
    from quaymaster.contents import (
        AsyncContentStream,
        ContentStream,
    )
    from quaymaster.errors import (
        APIConnectionError,
        APIError,
        APIResponseValidationError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        ConflictError,
        ContainerExpiredError,
        InternalServerError,
        InvalidArgumentError,
        MissingCredentialError,
        NotFoundError,
        PermissionDeniedError,
        QuaymasterError,
        RateLimitError,
        UnprocessableEntityError,
    )
    from quaymaster.pages import (
        AsyncContainerFilePage,
        AsyncContainerPage,
        ContainerFilePage,
        ContainerPage,
    )
    from quaymaster.temporary import (
        TemporaryContainer,
        container,
    )
    from quaymaster.types import (
        Container,
        ContainerDeleted,
        ContainerFile,
        ContainerFileDeleted,
        ExpiresAfter,
        NetworkPolicy,
        OnProgress,
    )
    from quaymaster.uploads import (
        FileTypes,
    )

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncContainerFilePage",
    "AsyncContainerPage",
    "AsyncContentStream",
    "AsyncQuaymaster",
    "AuthenticationError",
    "BadRequestError",
    "ConflictError",
    "Container",
    "ContainerDeleted",
    "ContainerExpiredError",
    "ContainerFile",
    "ContainerFileDeleted",
    "ContainerFilePage",
    "ContainerPage",
    "ContentStream",
    "ExpiresAfter",
    "FileTypes",
    "InternalServerError",
    "InvalidArgumentError",
    "MissingCredentialError",
    "NetworkPolicy",
    "NotFoundError",
    "OnProgress",
    "PermissionDeniedError",
    "Quaymaster",
    "QuaymasterError",
    "RateLimitError",
    "TemporaryContainer",
    "UnprocessableEntityError",
    "acreate_container",
    "acreate_container_file",
    "adelete_container",
    "adelete_container_file",
    "adownload_container_file",
    "alist_container_files",
    "alist_containers",
    "aretrieve_container",
    "aretrieve_container_file",
    "aretrieve_container_file_content",
    "astream_container_file_content",
    "aupload_container_file",
    "container",
    "create_container",
    "create_container_file",
    "delete_container",
    "delete_container_file",
    "download_container_file",
    "list_container_files",
    "list_containers",
    "retrieve_container",
    "retrieve_container_file",
    "retrieve_container_file_content",
    "stream_container_file_content",
    "upload_container_file",
]

_MODULES: Final = (
    "client",
    "container_files",
    "containers",
    "contents",
    "errors",
    "pages",
    "temporary",
    "types",
    "uploads",
)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for module in _MODULES:
        defined = vars(import_module(f"{__name__}.{module}"))
        globals().update({each: defined[each] for each in __all__ if each in defined})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
