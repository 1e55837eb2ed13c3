"""A container for as long as a `with` block lasts."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Unpack

from quaymaster.containers import acreate_container, adelete_container, create_container, delete_container
from quaymaster.errors import APIError, ContainerExpiredError, NotFoundError, QuaymasterError
from quaymaster.options import CallOptions
from quaymaster.signatures import public
from quaymaster.types import Container, ContainerDeleted, ExpiresAfter, NetworkPolicy


@dataclass
class TemporaryContainer:
    """A context manager, for `with` and for `async with`: see `quaymaster.container`. It can be entered once."""

    _create: Callable[[], Container]
    _acreate: Callable[[], Coroutine[Any, Any, Container]]
    _delete: Callable[[str], ContainerDeleted]
    _adelete: Callable[[str], Coroutine[Any, Any, ContainerDeleted]]
    _entered: bool = field(default=False, init=False)
    _made: Container | None = field(default=None, init=False)

    def __enter__(self) -> Container:
        self._enter()
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
        self._enter()
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

    def _enter(self) -> None:
        if self._entered:
            raise QuaymasterError("This container is there for one block, and was entered once: ask for another.")
        self._entered = True


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
    **options: Unpack[CallOptions],
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
    fields: dict[str, Any] = {
        "expires_after": expires_after,
        "file_ids": file_ids,
        "memory_limit": memory_limit,
        "network_policy": network_policy,
        "skills": skills,
    }
    return TemporaryContainer(
        partial(create_container, name, **fields, **options),
        partial(acreate_container, name, **fields, **options),
        partial(delete_container, **options),
        partial(adelete_container, **options),
    )
