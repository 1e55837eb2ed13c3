"""A container for as long as a `with` block lasts."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from quaymaster.containers import acreate_container, adelete_container, create_container, delete_container
from quaymaster.errors import APIError, ContainerExpiredError, NotFoundError
from quaymaster.signatures import public
from quaymaster.types import Container, ContainerDeleted, ExpiresAfter, NetworkPolicy

if TYPE_CHECKING:
    import httpx


@dataclass
class TemporaryContainer:
    """A context manager, for `with` and for `async with`: see `quaymaster.container`. It can be entered once."""

    _create: Callable[[], Container]
    _acreate: Callable[[], Coroutine[Any, Any, Container]]
    _delete: Callable[[str], ContainerDeleted]
    _adelete: Callable[[str], Coroutine[Any, Any, ContainerDeleted]]
    _made: Container | None = field(default=None, init=False)

    def __enter__(self) -> Container:
        self._made = self._create()
        return self._made

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._made is None:
            return
        try:
            self._delete(self._made.id)
        except APIError as failure:
            _report(failure, error, self._made)

    async def __aenter__(self) -> Container:
        self._made = await self._acreate()
        return self._made

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._made is None:
            return
        try:
            await self._adelete(self._made.id)
        except APIError as failure:
            _report(failure, error, self._made)


def _report(failure: APIError, error: BaseException | None, made: Container) -> None:
    """A container was not deleted: fine if it is gone; else raise, but never in place of the block's own error."""
    if isinstance(failure, (NotFoundError, ContainerExpiredError)):
        return
    if error is None:
        raise failure
    error.add_note(f"The container {made.id} was not deleted: {failure}")


@public
def container(
    name: str,
    expires_after: Mapping[str, Any] | ExpiresAfter | None = None,
    file_ids: Sequence[str] | None = None,
    *,
    memory_limit: str | None = None,
    network_policy: Mapping[str, Any] | NetworkPolicy | None = None,
    skills: Sequence[Mapping[str, Any]] | None = None,
    custom_llm_provider: str | None = None,
    api_key: str | None = None,
    api_base: str | None = None,
    api_version: str | None = None,
    timeout: float | httpx.Timeout | None = None,
    max_retries: int | None = None,
    extra_headers: Mapping[str, str] | None = None,
    extra_query: Mapping[str, object] | None = None,
    extra_body: Mapping[str, object] | None = None,
) -> TemporaryContainer:
    """A container that is made when a `with` (or `async with`) block is entered, and deleted when it is left.

    It is deleted after an error too; one that is gone by then is no error. Where it cannot be deleted, that is raised,
    unless the block itself raised: then it is a note on that error.

    Args:
        name, expires_after, file_ids, memory_limit, network_policy, skills: as for `create_container`.

    Returns:
        A context manager, which gives the Container.

    Example:
        with container("crate") as crate:
            create_container_file(crate.id, file="data.csv")
    """
    common: dict[str, Any] = {
        "custom_llm_provider": custom_llm_provider,
        "api_key": api_key,
        "api_base": api_base,
        "api_version": api_version,
        "timeout": timeout,
        "max_retries": max_retries,
        "extra_headers": extra_headers,
        "extra_query": extra_query,
        "extra_body": extra_body,
    }
    fields: dict[str, Any] = {
        "expires_after": expires_after,
        "file_ids": file_ids,
        "memory_limit": memory_limit,
        "network_policy": network_policy,
        "skills": skills,
    }
    return TemporaryContainer(
        partial(create_container, name, **fields, **common),
        partial(acreate_container, name, **fields, **common),
        partial(delete_container, **common),
        partial(adelete_container, **common),
    )
