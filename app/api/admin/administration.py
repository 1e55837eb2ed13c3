"""What an operator does with virtual keys, whoever carries the wish: a route or a command."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from app.api.admin.models import (
    DeletedKeys,
    DeleteKeys,
    GeneratedKey,
    GenerateKey,
    KeyFields,
    KeyInfo,
    KeyPage,
    KeyView,
    ListKeys,
    RegenerateKey,
    UpdateKey,
)
from app.api.admin.named_keys import find_alias, find_key, not_found
from app.api.admin.outages import store_answers
from app.api.admin.validation import nearest
from app.domain.errors import ErrorCode, GatewayError
from app.domain.identity import ContainerScope, VirtualKey
from app.domain.keys import masked, mint
from app.domain.ports import AliasTaken, Deed, KeyStore


class KeyAdministration:
    """Makes, changes, shows and removes virtual keys.

    `forget` is called with a key's id when the key may have changed or gone, so that whoever remembers it asks again.
    `deployments` are the names that a key may be allowed to choose, `clock` gives unix seconds. A key is named by
    itself, its id or its alias. Every method may raise GatewayError KEY_NOT_FOUND, INVALID_VALUE (the alias is taken,
    or there is no such deployment) and STORE_UNAVAILABLE.
    """

    def __init__(
        self,
        store: KeyStore,
        forget: Callable[[str], None],
        deployments: Collection[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._forget = forget
        self._deployments = tuple(sorted(deployments))
        self._clock = clock

    async def generate(self, wanted: GenerateKey, deed: Deed) -> GeneratedKey:
        """Make a key. Its secret is in the answer and nowhere else."""
        self._check_deployments(wanted.allowed_deployments)
        minted, now = mint(), self._now()
        bare = VirtualKey(key_id=minted.key_id, secret_hash=minted.secret_hash, created_at=now, updated_at=now)
        key = _with(bare, wanted, now)
        with _answers(wanted.key_alias):
            await self._store.add(key, deed)
        return GeneratedKey(key=minted.key, **_fields(key, now))

    async def update(self, wanted: UpdateKey, deed: Deed) -> KeyView:
        """Set the fields that were given."""
        self._check_deployments(wanted.allowed_deployments)
        now = self._now()
        key = await self._change(wanted.key, lambda key: _with(key, wanted, now), deed, wanted.key_alias)
        return _view(key, now)

    async def regenerate(self, name: str, wanted: RegenerateKey, deed: Deed) -> GeneratedKey:
        """Give a key a new secret, and set the fields that were given. The one before works for `grace_period`."""
        self._check_deployments(wanted.allowed_deployments)
        now = self._now()
        found = await self._find(name)
        minted = mint(found.key_id)

        def renewed(key: VirtualKey) -> VirtualKey:
            grace = wanted.grace_period
            return replace(
                _with(key, wanted, now),
                secret_hash=minted.secret_hash,
                previous_secret_hash=key.secret_hash if grace else None,
                previous_expires_at=now + grace if grace else None,
            )

        key = await self._change(found.key_id, renewed, deed, wanted.key_alias)
        return GeneratedKey(key=minted.key, **_fields(key, now))

    async def set_blocked(self, name: str, blocked: bool, deed: Deed) -> KeyView:
        """Refuse a key from now on, or take it again."""
        now = self._now()
        key = await self._change(name, lambda key: replace(key, blocked=blocked, updated_at=now), deed)
        return _view(key, now)

    async def info(self, name: str) -> KeyInfo:
        """Show a key."""
        key = await self._find(name)
        return KeyInfo(key=key.key_id, info=_view(key, self._now()))

    async def page(self, wanted: ListKeys) -> KeyPage:
        """Show one page of keys, newest first."""
        with _answers():
            keys, total = await self._store.page(
                offset=(wanted.page - 1) * wanted.size,
                limit=wanted.size,
                user_id=wanted.user_id,
                team_id=wanted.team_id,
                alias=wanted.key_alias,
            )
        now = self._now()
        return KeyPage(
            keys=[_view(key, now) for key in keys],
            total_count=total,
            current_page=wanted.page,
            total_pages=-(-total // wanted.size),
        )

    async def delete(self, wanted: DeleteKeys, deed: Deed) -> DeletedKeys:
        """Remove keys: all of them, or none where one is unknown. Raises GatewayError MISSING_REQUIRED_PARAMETER."""
        if not wanted.keys and not wanted.key_aliases:
            raise GatewayError(
                ErrorCode.MISSING_REQUIRED_PARAMETER,
                "Name the keys to delete in 'keys' or 'key_aliases'.",
                param="keys",
            )
        with _answers():
            found = [await find_key(self._store, name, f"keys.{place}") for place, name in enumerate(wanted.keys)]
            found += [
                await find_alias(self._store, alias, f"key_aliases.{place}")
                for place, alias in enumerate(wanted.key_aliases)
            ]
        key_ids = list(dict.fromkeys(key.key_id for key in found))
        try:
            with _answers():
                deleted = set(await self._store.delete(key_ids, deed))
        finally:
            for key_id in key_ids:
                self._forget(key_id)
        return DeletedKeys(deleted_keys=[key_id for key_id in key_ids if key_id in deleted])

    async def _change(
        self, name: str, edit: Callable[[VirtualKey], VirtualKey], deed: Deed, alias: str | None = None
    ) -> VirtualKey:
        key_id = (await self._find(name)).key_id
        try:
            with _answers(alias):
                key = await self._store.change(key_id, edit, deed)
        finally:
            self._forget(key_id)
        if key is None:
            raise not_found("key")
        return key

    async def _find(self, name: str) -> VirtualKey:
        with _answers():
            return await find_key(self._store, name)

    def _check_deployments(self, allowed: Sequence[str] | None) -> None:
        for place, name in enumerate(allowed or ()):
            if name != "*" and name not in self._deployments:
                near = nearest(name, self._deployments)
                hint = f" Did you mean '{near}'?" if near else ""
                raise GatewayError(
                    ErrorCode.INVALID_VALUE,
                    f"There is no deployment '{name}'.{hint} Configured here: {', '.join(self._deployments)}.",
                    param=f"allowed_deployments.{place}",
                )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _with(key: VirtualKey, wanted: KeyFields, now: datetime) -> VirtualKey:
    """The key with the given fields set; a null brings a field's default back."""
    values: dict[str, Any] = {
        "key_alias": ("alias", wanted.key_alias),
        "duration": ("expires_at", now + wanted.duration if wanted.duration else None),
        "metadata": ("metadata", wanted.metadata or {}),
        "tags": ("tags", tuple(wanted.tags or ())),
        "allowed_operations": (
            "allowed_operations",
            ("*",) if wanted.allowed_operations is None else tuple(wanted.allowed_operations),
        ),
        "container_scope": ("container_scope", ContainerScope(wanted.container_scope or ContainerScope.OWN)),
        "allowed_deployments": ("allowed_deployments", tuple(wanted.allowed_deployments or ())),
        "user_id": ("user_id", wanted.user_id),
        "team_id": ("team_id", wanted.team_id),
        "blocked": ("blocked", key.blocked if wanted.blocked is None else wanted.blocked),
    }
    given = [values[name] for name in values if name in wanted.model_fields_set]
    return replace(key, updated_at=now, **dict(given))


def _fields(key: VirtualKey, now: datetime) -> dict[str, Any]:
    grace = key.previous_expires_at
    return {
        "key_id": key.key_id,
        "key_name": masked(key.key_id),
        "key_alias": key.alias,
        "expires": key.expires_at,
        "created_at": key.created_at,
        "updated_at": key.updated_at,
        "blocked": key.blocked,
        "user_id": key.user_id,
        "team_id": key.team_id,
        "tags": list(key.tags),
        "metadata": key.metadata,
        "allowed_operations": list(key.allowed_operations),
        "container_scope": key.container_scope.value,
        "allowed_deployments": list(key.allowed_deployments),
        "previous_expires": grace if grace is not None and grace > now else None,
    }


def _view(key: VirtualKey, now: datetime) -> KeyView:
    return KeyView(**_fields(key, now))


@contextmanager
def _answers(alias: str | None = None) -> Iterator[None]:
    """What the store raises, as the client will see it."""
    with store_answers("The database of keys"):
        try:
            yield
        except AliasTaken:
            raise GatewayError(
                ErrorCode.INVALID_VALUE, f"Another key has the alias '{alias}'.", param="key_alias"
            ) from None
