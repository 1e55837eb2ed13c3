"""Keys as operators name them: by the key itself, its id or its alias."""

from __future__ import annotations

from app.domain.errors import ErrorCode, GatewayError
from app.domain.identity import MASTER_KEY_ID, VirtualKey
from app.domain.keys import is_key_id, parse
from app.domain.stores import KeyStore


async def find_key(store: KeyStore, name: str, param: str = "key") -> VirtualKey:
    """The key of this name. Raises GatewayError KEY_NOT_FOUND about `param`, and StoreUnavailable."""
    if (key_id := _id_in(name)) is None:
        return await find_alias(store, name, param)
    return _existing(await store.get(key_id), param)


async def find_alias(store: KeyStore, alias: str, param: str) -> VirtualKey:
    """The key with this alias. Raises as `find_key` does."""
    return _existing(await store.find_by_alias(alias), param)


async def find_key_id(store: KeyStore, name: str, param: str = "key") -> str:
    """The id of a key that may have been deleted since, or "master". Raises as `find_key` does."""
    if (key_id := _id_in(name)) is not None:
        return key_id
    try:
        return (await find_key(store, name, param)).key_id
    except GatewayError:
        if name == MASTER_KEY_ID:
            return MASTER_KEY_ID
        raise


def _id_in(name: str) -> str | None:
    parsed = parse(name)
    if parsed is not None:
        return parsed.key_id
    return name if is_key_id(name) else None


def _existing(found: VirtualKey | None, param: str) -> VirtualKey:
    if found is None:
        raise not_found(param)
    return found


def not_found(param: str) -> GatewayError:
    """What is said of a key that does not exist."""
    return GatewayError(ErrorCode.KEY_NOT_FOUND, "No key has this id or alias.", param=param)
