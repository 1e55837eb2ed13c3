"""What an operator does with virtual keys, whoever carries the wish: a route or a command."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from app.api.admin.key_views import fields_of, key_with, view_of
from app.api.admin.models import (
    DeletedKeys,
    DeleteKeys,
    GeneratedKey,
    GenerateKey,
    KeyInfo,
    KeyPage,
    KeyView,
    ListKeys,
    RegenerateKey,
    UpdateKey,
)
from app.api.admin.named_keys import find_alias, find_key, not_found
from app.api.admin.outages import store_answers
from app.api.admin.standings import Standings
from app.api.admin.validation import nearest
from app.domain.errors import ErrorCode, GatewayError
from app.domain.identity import VirtualKey
from app.domain.keys import mint
from app.domain.stores import AliasTaken, Deed, KeyStore


class KeyAdministration:
    """Makes, changes, shows and removes virtual keys.

    `forget` is called with a key's id when the key may have changed or gone, so that whoever remembers it asks again.
    `deployments` are the names that a key may be allowed to choose. A key is named by itself, its id or its alias.
    Every method may raise GatewayError KEY_NOT_FOUND, INVALID_VALUE (the alias is taken, or there is no such
    deployment) and STORE_UNAVAILABLE.
    """

    def __init__(
        self,
        store: KeyStore,
        forget: Callable[[str], None],
        standings: Standings,
        deployments: Collection[str],
    ) -> None:
        self._store = store
        self._forget = forget
        self._standings = standings
        self._deployments = tuple(sorted(deployments))

    async def generate(self, wanted: GenerateKey, deed: Deed) -> GeneratedKey:
        """Make a key. Its secret is in the answer and nowhere else."""
        self._check_deployments(wanted.allowed_deployments)
        minted, now = mint(), self._standings.now()
        bare = VirtualKey(key_id=minted.key_id, secret_hash=minted.secret_hash, created_at=now, updated_at=now)
        key = key_with(bare, wanted, now)
        with _answers(wanted.key_alias):
            await self._store.add(key, deed)
            balance = await self._standings.begin_window(f"key:{key.key_id}", key.limits, wanted, deed)
        return GeneratedKey(key=minted.key, **fields_of(key, balance, now))

    async def update(self, wanted: UpdateKey, deed: Deed) -> KeyView:
        """Set the fields that were given."""
        self._check_deployments(wanted.allowed_deployments)
        now = self._standings.now()
        key = await self._change(wanted.key, lambda key: key_with(key, wanted, now), deed, wanted.key_alias)
        with _answers():
            balance = await self._standings.begin_window(f"key:{key.key_id}", key.limits, wanted, deed)
        return view_of(key, balance, now)

    async def regenerate(self, name: str, wanted: RegenerateKey, deed: Deed) -> GeneratedKey:
        """Give a key a new secret, and set the fields that were given. The one before works for `grace_period`."""
        self._check_deployments(wanted.allowed_deployments)
        now = self._standings.now()
        found = await self._find(name)
        minted = mint(found.key_id)

        def renewed(key: VirtualKey) -> VirtualKey:
            grace = wanted.grace_period
            return replace(
                key_with(key, wanted, now),
                secret_hash=minted.secret_hash,
                previous_secret_hash=key.secret_hash if grace else None,
                previous_expires_at=now + grace if grace else None,
            )

        key = await self._change(found.key_id, renewed, deed, wanted.key_alias)
        with _answers():
            balance = await self._standings.begin_window(f"key:{key.key_id}", key.limits, wanted, deed)
        return GeneratedKey(key=minted.key, **fields_of(key, balance, now))

    async def set_blocked(self, name: str, blocked: bool, deed: Deed) -> KeyView:
        """Refuse a key from now on, or take it again."""
        now = self._standings.now()
        key = await self._change(name, lambda key: replace(key, blocked=blocked, updated_at=now), deed)
        return (await self.views([key]))[0]

    async def info(self, name: str) -> KeyInfo:
        """Show a key."""
        key = await self._find(name)
        return KeyInfo(key=key.key_id, info=(await self.views([key]))[0])

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
        return KeyPage(
            keys=await self.views(keys),
            total_count=total,
            current_page=wanted.page,
            total_pages=-(-total // wanted.size),
        )

    async def check_alias(self, alias: str | None) -> None:
        """Raises GatewayError INVALID_VALUE where a key has this alias already."""
        with _answers(alias):
            if alias is not None and await self._store.find_by_alias(alias) is not None:
                raise AliasTaken

    async def views(self, keys: Sequence[VirtualKey]) -> list[KeyView]:
        """Keys with how they stand."""
        now = self._standings.now()
        with _answers():
            balances = await self._standings.of_all([f"key:{key.key_id}" for key in keys])
        return [view_of(key, balances[f"key:{key.key_id}"], now) for key in keys]

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
