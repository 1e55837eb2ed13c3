"""What an operator does with containers: sees whose they are, gives them away, shares them, deletes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from app.api.admin.container_models import (
    AdoptContainer,
    ContainerPage,
    ContainerView,
    ListContainers,
    Party,
    ReapAnswer,
    ReapContainers,
    ShareContainer,
)
from app.api.admin.container_views import answer_of, view_of
from app.api.admin.named_keys import find_key, find_key_id
from app.api.admin.outages import store_answers
from app.domain.containers import Access, Container, Ending
from app.domain.deployments import Deployment
from app.domain.errors import ErrorCode, GatewayError, UpstreamFault
from app.domain.ports import ContainerFilter, ContainerStore
from app.domain.stores import Deed, KeyStore
from app.registry.condemned import Criteria
from app.registry.listing import find_listed
from app.registry.ownership import Ownerships
from app.registry.reap import Reaper

_DATABASE = "The registry of containers"


class ContainerAdministration:
    """Shows, gives away, shares and deletes containers.

    `deployments` are by name, `clock` gives unix seconds. What is changed counts at once in this process, and in others
    soon. Every method may raise GatewayError STORE_UNAVAILABLE, INVALID_VALUE, and KEY_NOT_FOUND where it takes a key.
    """

    def __init__(
        self,
        store: ContainerStore,
        keys: KeyStore,
        *,
        deployments: Mapping[str, Deployment],
        ownerships: Ownerships,
        reaper: Reaper,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._keys = keys
        self._deployments = deployments
        self._ownerships = ownerships
        self._reaper = reaper
        self._clock = clock

    async def page(self, wanted: ListContainers) -> ContainerPage:
        """Show one page of containers, newest first."""
        if wanted.unowned and wanted.owner is not None:
            raise GatewayError(ErrorCode.INVALID_VALUE, "A container of an owner is not unowned.", param="unowned")
        now = self._now()
        with store_answers(_DATABASE):
            asked = ContainerFilter(
                owner=wanted.owner,
                unowned=wanted.unowned,
                deployment=wanted.deployment,
                status=wanted.status,
                key_ids=None if wanted.key is None else frozenset({await find_key_id(self._keys, wanted.key)}),
            )
            records, total = await self._store.records(
                asked, now=now, offset=(wanted.page - 1) * wanted.size, limit=wanted.size
            )
        return ContainerPage(
            containers=[view_of(record, now) for record in records],
            total_count=total,
            current_page=wanted.page,
            total_pages=-(-total // wanted.size),
        )

    async def info(self, container_id: str) -> ContainerView:
        """Show a container. Raises GatewayError CONTAINER_NOT_FOUND."""
        with store_answers(_DATABASE):
            record = await self._store.record(container_id)
        if record is None:
            raise _unregistered()
        return view_of(record, self._now())

    async def adopt(self, wanted: AdoptContainer, deed: Deed) -> ContainerView:
        """Give a container to an owner: a registered one, or one that a deployment's list shows. Its shares end.

        Raises GatewayError CONTAINER_NOT_FOUND, and UPSTREAM_… where it might be in a list that did not answer.
        """
        if wanted.deployment is not None:
            self._check_deployment(wanted.deployment)
        with store_answers(_DATABASE):
            owner, _ = await self._party(wanted)
            record = await self._store.record(wanted.container_id)
            known = None if record is None else record.container
            if known is not None and known.ending is Ending.DELETED:
                raise GatewayError(ErrorCode.CONTAINER_NOT_FOUND, "This container was deleted.", param="container_id")
            if known is not None and wanted.deployment not in {None, known.deployment}:
                raise GatewayError(
                    ErrorCode.INVALID_VALUE,
                    f"This container lives in the deployment '{known.deployment}'.",
                    param="deployment",
                )
            if known is None or known.ending is not None:
                home = wanted.deployment if known is None else known.deployment
                known = await self._listed(wanted.container_id, home)
            try:
                await self._store.adopt(replace(known, owner=owner, key_id=None), deed)
            finally:
                self._ownerships.forget(wanted.container_id)
        return await self.info(wanted.container_id)

    async def share(self, wanted: ShareContainer, deed: Deed) -> ContainerView:
        """Let somebody else use a container too. Raises GatewayError CONTAINER_NOT_FOUND."""
        return await self._share(wanted, Access(wanted.access), deed)

    async def unshare(self, wanted: Party, deed: Deed) -> ContainerView:
        """Take that back. Raises GatewayError CONTAINER_NOT_FOUND."""
        return await self._share(wanted, None, deed)

    async def reap(self, wanted: ReapContainers, deed: Deed) -> ReapAnswer:
        """Delete the running containers that fit, or say which those are.

        Raises GatewayError MISSING_REQUIRED_PARAMETER where nothing says which.
        """
        if wanted.deployment is not None:
            self._check_deployment(wanted.deployment)
        with store_answers(_DATABASE):
            criteria = await self._criteria(wanted)
            harvest = await self._reaper.reap(criteria, dry_run=wanted.dry_run, limit=wanted.limit, deed=deed)
        return answer_of(harvest, dry_run=wanted.dry_run)

    async def _share(self, wanted: Party, access: Access | None, deed: Deed) -> ContainerView:
        with store_answers(_DATABASE):
            _, identity = await self._party(wanted)
            record = await self._store.record(wanted.container_id)
            if record is None or record.container.ending is Ending.DELETED:
                raise _unregistered()
            try:
                shared = await self._store.share(wanted.container_id, identity, access, deed)
            finally:
                self._ownerships.forget(wanted.container_id)
        if not shared:
            raise GatewayError(ErrorCode.INVALID_VALUE, f"This container is not shared with {identity}.")
        return await self.info(wanted.container_id)

    async def _party(self, wanted: Party) -> tuple[str, str]:
        """Whoever is named: as an owner, and as one that something is shared with."""
        name = _only(("team_id", wanted.team_id), ("user_id", wanted.user_id), ("key", wanted.key))
        if name is None:
            raise GatewayError(
                ErrorCode.MISSING_REQUIRED_PARAMETER, "Name one of 'team_id', 'user_id' and 'key'.", param="team_id"
            )
        kind, value = name
        if kind == "key":
            key = await find_key(self._keys, value)
            return key.owner, f"key:{key.key_id}"
        identity = f"{kind.removesuffix('_id')}:{value}"
        return identity, identity

    async def _criteria(self, wanted: ReapContainers) -> Criteria:
        named = _only(("owner", wanted.owner), ("team_id", wanted.team_id), ("user_id", wanted.user_id))
        owner = None
        if named is not None:
            kind, value = named
            owner = value if kind == "owner" else f"{kind.removesuffix('_id')}:{value}"
        criteria = Criteria(
            owner=owner,
            key_id=None if wanted.key is None else await find_key_id(self._keys, wanted.key),
            older_than=wanted.older_than,
            idle_for=wanted.idle_for,
            revoked_keys=wanted.revoked_keys,
            unknown=wanted.unknown,
            deployment=wanted.deployment,
        )
        if not criteria.says_something:
            raise GatewayError(
                ErrorCode.MISSING_REQUIRED_PARAMETER,
                "Say which containers: owner, team_id, user_id, key, revoked_keys, older_than, idle_for or unknown.",
                param="owner",
            )
        if criteria.contradicts_itself:
            raise GatewayError(
                ErrorCode.INVALID_VALUE,
                "What the registry never heard of has no owner and no key: ask for 'unknown' without them.",
                param="unknown",
            )
        return criteria

    async def _listed(self, container_id: str, deployment: str | None) -> Container:
        """A container that some deployment's list shows. Raises GatewayError."""
        silent: GatewayError | None = None
        for each in self._deployments.values():
            if deployment not in {None, each.name}:
                continue
            try:
                sighting = await find_listed(each, container_id)
            except UpstreamFault as fault:
                message = f"The deployment '{each.name}', where it may be, gave no list: {fault.detail}."
                silent = GatewayError(ErrorCode(fault.kind.value), message)
                continue
            if sighting is not None:
                return Container.of(sighting, owner=None, deployment=each.name)
        raise silent or GatewayError(
            ErrorCode.CONTAINER_NOT_FOUND, "No deployment's list shows this container.", param="container_id"
        )

    def _check_deployment(self, name: str) -> None:
        if name not in self._deployments:
            configured = ", ".join(sorted(self._deployments))
            raise GatewayError(
                ErrorCode.INVALID_VALUE, f"Unknown deployment. Configured here: {configured}.", param="deployment"
            )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _only(*named: tuple[str, str | None]) -> tuple[str, str] | None:
    """The one that was given. Raises GatewayError INVALID_VALUE where there are several."""
    given = [(name, value) for name, value in named if value is not None]
    if len(given) > 1:
        names = " and ".join(f"'{name}'" for name, _ in given)
        raise GatewayError(ErrorCode.INVALID_VALUE, f"Give only one of {names}.", param=given[1][0])
    return given[0] if given else None


def _unregistered() -> GatewayError:
    return GatewayError(
        ErrorCode.CONTAINER_NOT_FOUND,
        "The registry has no such container. /container/adopt takes one in that a deployment has.",
        param="container_id",
    )
