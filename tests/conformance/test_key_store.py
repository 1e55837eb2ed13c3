"""What every `KeyStore` does, over each of them."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from datetime import timedelta

import pytest

from app.domain.identity import ContainerScope, VirtualKey
from app.domain.stores import AliasTaken, KeyStore
from app.storage.engine import Database
from app.storage.keys import SqlKeyStore
from tests.storage.keys import DEED, NOON, virtual_key


@pytest.fixture
async def store(database: Database) -> KeyStore:
    await database.migrate()
    return SqlKeyStore(database)


def full_key() -> VirtualKey:
    return virtual_key(
        alias="Zoë's key 🗝",
        updated_at=NOON + timedelta(microseconds=1),
        expires_at=NOON + timedelta(days=30),
        blocked=True,
        user_id="user",
        team_id="team",
        tags=("a", "b"),
        metadata={"z": 1, "a": {"nested": [1.5, None, True, "ü"]}},
        allowed_operations=("containers.*",),
        container_scope=ContainerScope.ALL,
        allowed_deployments=("eu", "us"),
        previous_secret_hash=b"\x00\xff" * 16,
        previous_expires_at=NOON,
    )


@pytest.mark.parametrize("key", [virtual_key(), full_key()], ids=["bare", "full"])
async def test_a_key_comes_back_as_it_went_in(store: KeyStore, key: VirtualKey) -> None:
    await store.add(key, DEED)
    found = await store.get(key.key_id)
    assert found == key
    assert [type(getattr(found, field.name)) for field in fields(VirtualKey)] == [
        type(getattr(key, field.name)) for field in fields(VirtualKey)
    ]
    assert list(found.metadata) == list(key.metadata)


async def test_unknown_keys_are_none(store: KeyStore) -> None:
    await store.add(virtual_key(), DEED)
    assert await store.get("0" * 16) is None
    assert await store.find_by_alias("nobody") is None
    assert await store.change("0" * 16, lambda key: key, DEED) is None


async def test_a_key_is_found_by_its_alias_exactly(store: KeyStore) -> None:
    key = virtual_key(alias="prod")
    await store.add(key, DEED)
    assert await store.find_by_alias("prod") == key
    assert await store.find_by_alias("PROD") is None
    assert await store.find_by_alias("pro%") is None


async def test_an_alias_belongs_to_one_key(store: KeyStore) -> None:
    first, second = virtual_key(alias="prod"), virtual_key()
    await store.add(first, DEED)
    await store.add(second, DEED)
    with pytest.raises(AliasTaken):
        await store.add(virtual_key(alias="prod"), DEED)
    with pytest.raises(AliasTaken):
        await store.change(second.key_id, lambda key: replace(key, alias="prod"), DEED)
    assert await store.get(second.key_id) == second
    assert (await store.page(offset=0, limit=10))[1] == 2


async def test_an_id_belongs_to_one_key(store: KeyStore) -> None:
    key = virtual_key()
    await store.add(key, DEED)
    with pytest.raises(Exception, match=r"key_id|pk_virtual_keys") as refused:
        await store.add(replace(key, alias="other"), DEED)
    assert refused.type is not AliasTaken


async def test_a_change_writes_every_field(store: KeyStore) -> None:
    key = virtual_key()
    await store.add(key, DEED)
    wanted = replace(full_key(), key_id=key.key_id)
    assert await store.change(key.key_id, lambda _: wanted, DEED) == wanted
    assert await store.get(key.key_id) == wanted


async def test_a_change_that_fails_writes_nothing(store: KeyStore) -> None:
    key = virtual_key()
    await store.add(key, DEED)

    def fail(_: VirtualKey) -> VirtualKey:
        raise LookupError("on purpose")

    with pytest.raises(LookupError):
        await store.change(key.key_id, fail, DEED)
    assert await store.get(key.key_id) == key


async def test_changes_at_the_same_time_are_all_kept(store: KeyStore) -> None:
    key = virtual_key()
    await store.add(key, DEED)

    def tagging(tag: str) -> asyncio.Future[VirtualKey | None]:
        return asyncio.ensure_future(
            store.change(key.key_id, lambda old: replace(old, tags=tuple(sorted((*old.tags, tag)))), DEED)
        )

    await asyncio.gather(*(tagging(f"{number:02}") for number in range(20)))
    found = await store.get(key.key_id)
    assert found is not None
    assert found.tags == tuple(f"{number:02}" for number in range(20))


async def test_delete_tells_which_keys_there_were(store: KeyStore) -> None:
    keys = [virtual_key() for _ in range(3)]
    for key in keys:
        await store.add(key, DEED)
    assert sorted(await store.delete([keys[0].key_id, keys[1].key_id, "0" * 16], DEED)) == sorted(
        [keys[0].key_id, keys[1].key_id]
    )
    assert await store.delete([], DEED) == []
    assert await store.page(offset=0, limit=10) == ([keys[2]], 1)


async def test_pages_go_from_the_newest_to_the_oldest_without_gaps(store: KeyStore) -> None:
    keys = [virtual_key(created_at=NOON + timedelta(seconds=number // 2)) for number in range(7)]
    for key in keys:
        await store.add(key, DEED)
    newest_first = sorted(keys, key=lambda key: (key.created_at, key.key_id), reverse=True)
    pages = [await store.page(offset=offset, limit=3) for offset in (0, 3, 6, 9)]
    assert [key for page, _ in pages for key in page] == newest_first
    assert [total for _, total in pages] == [7, 7, 7, 7]


async def test_pages_of_one_user_team_or_alias(store: KeyStore) -> None:
    ann = virtual_key(user_id="ann", team_id="sea", alias="one")
    bob = virtual_key(user_id="bob", team_id="sea", alias="two")
    for key in (ann, bob, virtual_key()):
        await store.add(key, DEED)
    assert await store.page(offset=0, limit=10, user_id="ann") == ([ann], 1)
    assert await store.page(offset=0, limit=1, team_id="sea", user_id="bob") == ([bob], 1)
    assert (await store.page(offset=0, limit=1, team_id="sea"))[1] == 2
    assert await store.page(offset=0, limit=10, alias="two") == ([bob], 1)
    assert await store.page(offset=0, limit=10, alias="two", user_id="ann") == ([], 0)
    assert await store.page(offset=0, limit=10, user_id="") == ([], 0)
