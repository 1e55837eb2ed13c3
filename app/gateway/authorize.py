"""Phase 2: may this principal do this operation, on this container?

Somebody else's container is answered exactly as one that does not exist, and takes as long.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

from app.domain.containers import Access, Ownership
from app.domain.errors import ErrorCode, GatewayError
from app.domain.exchange import Exchange
from app.domain.identity import Principal, Role
from app.domain.ports import ContainerStore, StoreUnavailable
from app.registry.ownership import Ownerships
from app.telemetry.redaction import shown_path
from quaymaster.operations import Operation

_CONTAINER_KEYS: Final = frozenset({"container", "containers", "container_id", "container_ids"})
_NAMES: Final = frozenset({"name", "filename", "description"})
_container_id = re.compile(r"cntr_[0-9A-Za-z]{16,}").fullmatch
_file_id = re.compile(r"cfile_[0-9A-Za-z]{16,}").fullmatch
_INLINE_BYTES: Final = 64 * 1024
"""A body up to here is searched where it stands; a larger one, in a worker thread."""


def authorize(principal: Principal, operation: Operation) -> None:
    """Raises GatewayError OPERATION_NOT_ALLOWED where the key lacks the operation."""
    if operation in principal.allowed_operations:
        return
    changes_for_a_viewer = principal.role is Role.VIEWER and operation.method != "GET"
    why = "its role is viewer" if changes_for_a_viewer else "its allowed_operations do not include it"
    raise GatewayError(ErrorCode.OPERATION_NOT_ALLOWED, f"This key may not do {operation.name}: {why}.")


class Gate:
    """Lets principals through to the containers that they may use."""

    def __init__(self, ownerships: Ownerships, store: ContainerStore) -> None:
        self._ownerships = ownerships
        self._store = store

    def cached(self, principal: Principal, container_id: str) -> Ownership | None:
        """The ownership of a container that this principal may do anything with, where that can be told without
        waiting; None says nothing yet: ask `container`."""
        known = self._ownerships.cached(container_id)
        if known is None or not (principal.sees_all or (known.owner == principal.owner and not known.deleted)):
            return None
        return known

    async def container(self, principal: Principal, operation: Operation, container_id: str) -> Ownership | None:
        """The ownership of the container in the path; None where it is not registered and the principal sees all.

        Raises GatewayError: CONTAINER_NOT_FOUND, OPERATION_NOT_ALLOWED for what a share does not include,
        STORE_UNAVAILABLE.
        """
        if (theirs := self.cached(principal, container_id)) is not None:
            return theirs
        if principal.sees_all:
            try:
                return await self._ownerships.any(container_id)
            except StoreUnavailable as outage:
                raise _no_registry() from outage
        known = self._ownerships.cached(container_id)
        access = _access(known, principal) or _access(known := await self._ask(principal, container_id), principal)
        if access is None:
            raise not_found(container_id)
        if access is Access.READ and operation.method != "GET":
            raise GatewayError(
                ErrorCode.OPERATION_NOT_ALLOWED,
                f"This container is shared with this key to read, which {operation.name} is not.",
            )
        return known

    async def check_references(self, principal: Principal, exchange: Exchange) -> None:
        """Check the containers and container files that a JSON body names. Raises GatewayError as `container` does."""
        said = exchange.request_json
        if said is None or principal.sees_all:
            return
        inline = exchange.body.bytes_read <= _INLINE_BYTES
        containers, files = referenced(said) if inline else await asyncio.to_thread(referenced, said)
        await self._check_all(principal, containers, files)

    async def field(self, exchange: Exchange, name: str, content: str) -> None:
        """The same for a form field of an upload, as it comes by."""
        principal = exchange.principal
        if principal is None:
            raise ValueError("an upload that nobody sends")
        if not principal.sees_all:
            await self._check_all(principal, *referenced({name: content}))

    async def _check_all(self, principal: Principal, containers: list[str], files: list[str]) -> None:
        for container_id in containers:
            await self._check(principal, container_id, not_found(container_id))
        for file_id in files:
            absent = file_not_found(file_id)
            try:
                home = await self._store.file_home(file_id)
            except StoreUnavailable as outage:
                raise _no_registry() from outage
            # A file nobody saw costs the same question as one of somebody else's.
            await self._check(principal, home or file_id, absent)

    async def _check(self, principal: Principal, container_id: str, absent: GatewayError) -> None:
        known = self._ownerships.cached(container_id)
        if not _access(known, principal) and not _access(await self._ask(principal, container_id), principal):
            raise absent

    async def _ask(self, principal: Principal, container_id: str) -> Ownership | None:
        try:
            return await self._ownerships.accessible(principal, container_id)
        except StoreUnavailable as outage:
            raise _no_registry() from outage


def referenced(said: Any) -> tuple[list[str], list[str]]:
    """The ids of containers and of container files that a JSON value names, each once, in order.

    Whatever stands under a name such as `container_id` counts, and whatever looks like an id, except as a name.
    """
    containers: dict[str, None] = {}
    files: dict[str, None] = {}
    left: list[tuple[str, Any]] = [("", said)]
    while left:
        key, value = left.pop()
        if isinstance(value, dict):
            left += value.items()
        elif isinstance(value, list):
            left += ((key, item) for item in value)
        elif not isinstance(value, str) or not (value := value.strip()):
            continue
        elif key in _CONTAINER_KEYS or (key not in _NAMES and _container_id(value)):
            containers[value] = None
        elif key not in _NAMES and _file_id(value):
            files[value] = None
    return list(containers), list(files)


def not_found(container_id: str) -> GatewayError:
    """What is said of a container that does not exist, and of somebody else's."""
    return GatewayError(
        ErrorCode.CONTAINER_NOT_FOUND, f"Container with id '{shown_path(container_id)[:256]}' not found."
    )


def file_not_found(file_id: str) -> GatewayError:
    """What is said of a container file that does not exist, and of one in somebody else's container."""
    return GatewayError(ErrorCode.FILE_NOT_FOUND, f"File {shown_path(file_id)[:256]} not found.")


def _access(known: Ownership | None, principal: Principal) -> Access | None:
    return None if known is None or known.deleted else known.access_of(principal.identities, principal.owner)


def _no_registry() -> GatewayError:
    return GatewayError(
        ErrorCode.STORE_UNAVAILABLE, "The registry of containers did not answer.", retry_after_seconds=1
    )
