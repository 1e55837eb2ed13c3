from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.keys import hash_secret, is_key_id, masked, mint, parse


def test_what_is_minted_can_be_taken_apart() -> None:
    for _ in range(200):
        minted = mint()
        parsed = parse(minted.key)
        assert parsed is not None
        assert parsed.key_id == minted.key_id
        assert is_key_id(parsed.key_id)
        assert hash_secret(parsed.secret) == minted.secret_hash == sha256(minted.key[23:].encode()).digest()


def test_keys_differ_in_both_halves() -> None:
    minted = [mint() for _ in range(200)]
    assert len({each.key_id for each in minted}) == len({each.secret_hash for each in minted}) == 200


def test_a_new_secret_for_a_key_keeps_its_id() -> None:
    first = mint()
    second = mint(first.key_id)
    assert second.key_id == first.key_id
    assert second.secret_hash != first.secret_hash


def test_a_masked_key_holds_nothing_of_the_secret() -> None:
    minted = mint()
    assert masked(minted.key_id) == minted.key[:23] + "..."


@given(st.text() | st.from_regex(r"sk-qm-[0-9a-f]{15,17}-[A-Za-z0-9_-]{42,44}", fullmatch=True))
def test_only_what_mint_writes_is_a_key(text: str) -> None:
    parsed = parse(text)
    if parsed is not None:
        assert text == f"sk-qm-{parsed.key_id}-{parsed.secret}"
        assert (len(parsed.key_id), len(parsed.secret)) == (16, 43)


@pytest.mark.parametrize("spoil", [str.upper, lambda key: key + "\n", lambda key: key[:-1] + "é", lambda key: key[:-1]])
def test_almost_a_key_is_none(spoil: object) -> None:
    assert callable(spoil)
    assert parse(spoil(mint().key)) is None
