"""The four operations on containers as functions, each with an asynchronous twin: `a` + its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from quaymaster.options import CallOptions, Order
from quaymaster.pages import AsyncContainerPage, ContainerPage
from quaymaster.shared import async_containers, containers
from quaymaster.signatures import public, twin_of
from quaymaster.types import Container, ContainerDeleted, ExpiresAfter, NetworkPolicy


@public
def create_container(
    name: str,
    expires_after: Mapping[str, Any] | ExpiresAfter | None = None,
    file_ids: Sequence[str] | None = None,
    *,
    memory_limit: str | None = None,
    network_policy: Mapping[str, Any] | NetworkPolicy | None = None,
    skills: Sequence[Mapping[str, Any]] | None = None,
    **options: Unpack[CallOptions],
) -> Container:
    """Create a container, in which code runs. It costs money by the minute, until it expires or is deleted.

    Args:
        name: what to call it.
        expires_after: how long it lives unused: {"anchor": "last_active_at", "minutes": 20}. Default: 20 minutes.
        file_ids: ids of files that the provider has ("file-…"), copied in.
        memory_limit: "1g", "4g", "16g" or "64g"; it sets the price. Default: "1g".
        network_policy: {"type": "disabled"}, or {"type": "allowlist", "allowed_domains": ["example.com"]}.
        skills: [{"type": "skill_reference", "skill_id": "…"}] or inline ones, as the API describes them.

    Returns:
        The Container: `id`, `name`, `status`, `created_at`, `last_active_at`, `expires_at` (unix seconds), …

    A create that is tried again carries the same Idempotency-Key: through a gateway it makes one container. Of a
    provider it may make two, where the first answer was lost.

    Example:
        container = create_container("crate", expires_after={"anchor": "last_active_at", "minutes": 5})
        print(container.id)
    """
    return containers(options).create(
        name, expires_after, file_ids, memory_limit=memory_limit, network_policy=network_policy, skills=skills
    )


@twin_of(create_container)
async def acreate_container(
    name: str,
    expires_after: Mapping[str, Any] | ExpiresAfter | None = None,
    file_ids: Sequence[str] | None = None,
    *,
    memory_limit: str | None = None,
    network_policy: Mapping[str, Any] | NetworkPolicy | None = None,
    skills: Sequence[Mapping[str, Any]] | None = None,
    **options: Unpack[CallOptions],
) -> Container:
    """Create a container: await it."""
    return await async_containers(options).create(
        name, expires_after, file_ids, memory_limit=memory_limit, network_policy=network_policy, skills=skills
    )


@public
def list_containers(
    after: str | None = None,
    limit: int | None = None,
    order: Order | None = None,
    *,
    name: str | None = None,
    **options: Unpack[CallOptions],
) -> ContainerPage:
    """List containers, a page at a time.

    Args:
        after: the id of the last container of the page before; begin after it.
        limit: how many at most, 1 to 100. Default: 20.
        order: "asc" or "desc", by the time of creation. Default: "desc", newest first.
        name: only those of this name.

    Returns:
        A page: `data`, `first_id`, `last_id`, `has_more`. `auto_paging()` iterates over it and all pages after it.

    Example:
        for container in list_containers(limit=100).auto_paging():
            print(container.id, container.status)
    """
    return containers(options).list(after, limit, order, name=name)


@twin_of(list_containers)
async def alist_containers(
    after: str | None = None,
    limit: int | None = None,
    order: Order | None = None,
    *,
    name: str | None = None,
    **options: Unpack[CallOptions],
) -> AsyncContainerPage:
    """List containers: await the page; then `async for container in page.auto_paging()`."""
    return await async_containers(options).list(after, limit, order, name=name)


@public
def retrieve_container(container_id: str, **options: Unpack[CallOptions]) -> Container:
    """Retrieve a container. That counts as using it: it puts its expiry off.

    Args:
        container_id: its id ("cntr_…").

    Returns:
        The Container. `status` is "running", or "expired" where the provider still knows it.

    Example:
        container = retrieve_container("cntr_123")
        print(container.status, container.expires_at)
    """
    return containers(options).retrieve(container_id)


@twin_of(retrieve_container)
async def aretrieve_container(container_id: str, **options: Unpack[CallOptions]) -> Container:
    """Retrieve a container: await it."""
    return await async_containers(options).retrieve(container_id)


@public
def delete_container(container_id: str, **options: Unpack[CallOptions]) -> ContainerDeleted:
    """Delete a container, with all its files.

    Args:
        container_id: its id ("cntr_…").

    Returns:
        `id` and `deleted`, which is True.

    Example:
        assert delete_container("cntr_123").deleted
    """
    return containers(options).delete(container_id)


@twin_of(delete_container)
async def adelete_container(container_id: str, **options: Unpack[CallOptions]) -> ContainerDeleted:
    """Delete a container: await it."""
    return await async_containers(options).delete(container_id)
