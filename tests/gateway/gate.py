"""An authenticator over a real database whose every read is watched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.domain.errors import GatewayError
from app.domain.identity import Holder, Principal, Team, User, VirtualKey
from app.domain.keys import MintedKey, mint
from app.domain.ports import StoreUnavailable
from app.domain.stores import Deed
from app.gateway.authenticate import Authenticator
from app.storage.engine import Database
from app.storage.groups import sql_teams, sql_users
from app.storage.keys import SqlKeyStore
from tests.storage.keys import DEED, NOON

MASTER_KEY = "sk-master-of-the-tests"


class Clock:
    def __init__(self) -> None:
        self.now = NOON.timestamp()

    def __call__(self) -> float:
        return self.now


class WatchedStore:
    """A real store whose reads are counted, and can be held back after they were made, or cut off."""

    def __init__(self, store: SqlKeyStore, database: Database) -> None:
        self._store = store
        self.database = database
        self.reads: list[str] = []
        self.made = asyncio.Event()
        self.released = asyncio.Event()
        self.released.set()
        self.down = False

    async def holder(self, key_id: str) -> Holder | None:
        self.reads.append(key_id)
        if self.down:
            raise StoreUnavailable("the database did not answer (on purpose)")
        holder = await self._store.holder(key_id)
        self.made.set()
        await self.released.wait()
        return holder

    async def get(self, key_id: str) -> VirtualKey | None:
        return await self._store.get(key_id)

    def hold(self) -> None:
        self.made.clear()
        self.released.clear()

    async def add(self, key: VirtualKey, deed: Deed = DEED) -> None:
        await self._store.add(key, deed)

    async def find_by_alias(self, alias: str) -> VirtualKey | None:
        return await self._store.find_by_alias(alias)

    async def change(
        self, key_id: str, edit: Callable[[VirtualKey], VirtualKey], deed: Deed = DEED
    ) -> VirtualKey | None:
        return await self._store.change(key_id, edit, deed)

    async def delete(self, key_ids: Sequence[str], deed: Deed = DEED) -> list[str]:
        return await self._store.delete(key_ids, deed)

    async def page(self, **query: Any) -> tuple[list[VirtualKey], int]:
        return await self._store.page(**query)


class Gate:
    """An authenticator over a real database, its clock, and a key that works."""

    def __init__(self, store: WatchedStore, **options: Any) -> None:
        self.store = store
        self.clock = Clock()
        self.authenticator = Authenticator(store, MASTER_KEY, self.clock, **options)

    async def new_key(self, **fields: Any) -> MintedKey:
        minted = mint()
        key = VirtualKey(key_id=minted.key_id, secret_hash=minted.secret_hash, created_at=NOON, updated_at=NOON)
        await self.store.add(replace(key, **fields))
        return minted

    async def change(self, key_id: str, **fields: Any) -> None:
        assert await self.store.change(key_id, lambda key: replace(key, **fields))

    async def add_group(self, kind: type[Team] | type[User], noun: str, name: str, **fields: Any) -> None:
        """Make a team or a user, as another process would."""
        made: Any = kind(**{f"{noun}_id": name, "created_at": NOON, "updated_at": NOON, **fields})
        store: Any = sql_teams(self.store.database) if noun == "team" else sql_users(self.store.database)
        await store.add(made, DEED)

    async def ask(self, key: str) -> Principal:
        return await self.authenticator.authenticate(key.encode())

    def cached(self, key: str) -> Principal | None:
        return self.authenticator.cached(key.encode())

    async def refusal(self, key: str | bytes) -> GatewayError:
        credential = key if isinstance(key, bytes) else key.encode()
        assert self.authenticator.cached(credential) is None
        with pytest.raises(GatewayError) as refused:
            await self.authenticator.authenticate(credential)
        return refused.value

    async def settle(self) -> None:
        """Wait for what goes on in the background."""
        await asyncio.gather(*self.authenticator._tasks)
