"""How virtual keys are written: `sk-qm-<key id>-<secret>`. Pure; `docs/adr/0003-virtual-key-format.md` says why."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final, NamedTuple

PREFIX: Final = "sk-qm-"
KEY_ID_LENGTH: Final = 16

_KEY_ID: Final = re.compile(r"[0-9a-f]{16}")
_KEY: Final = re.compile(r"sk-qm-([0-9a-f]{16})-([A-Za-z0-9_-]{43})")


class MintedKey(NamedTuple):
    """A new key. `key` holds the secret: show it once and keep only `secret_hash`."""

    key_id: str
    key: str
    secret_hash: bytes


class ParsedKey(NamedTuple):
    """The two halves of a well-formed key: the public id and the secret."""

    key_id: str
    secret: str


def mint(key_id: str | None = None) -> MintedKey:
    """Make a key with 256 random bits of secret; with `key_id`, a new secret for an existing key."""
    key_id = key_id or secrets.token_hex(KEY_ID_LENGTH // 2)
    secret = secrets.token_urlsafe(32)
    return MintedKey(key_id, f"{PREFIX}{key_id}-{secret}", hash_secret(secret))


def parse(key: str) -> ParsedKey | None:
    """Take a key apart; None for anything that `mint` cannot have written. Never raises."""
    match = _KEY.fullmatch(key)
    return ParsedKey(match[1], match[2]) if match else None


def is_key_id(text: str) -> bool:
    """Whether this has the form of a public key id."""
    return _KEY_ID.fullmatch(text) is not None


def hash_secret(secret: str) -> bytes:
    """SHA-256 of a secret, 32 bytes."""
    return hashlib.sha256(secret.encode("ascii")).digest()


def masked(key_id: str) -> str:
    """How a key is shown after its first day: nothing of the secret is left to show."""
    return f"{PREFIX}{key_id}-..."
