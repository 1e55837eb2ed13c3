"""Keys to store."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from app.domain.identity import VirtualKey
from app.domain.keys import mint
from app.domain.stores import Deed

DEED = Deed("master", "key.test", "req_1")
NOON = datetime(2026, 8, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def virtual_key(**fields: Any) -> VirtualKey:
    """A new key that was made at noon."""
    minted = mint()
    key = VirtualKey(key_id=minted.key_id, secret_hash=minted.secret_hash, created_at=NOON, updated_at=NOON)
    return replace(key, **fields)
