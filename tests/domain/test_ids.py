"""Nothing in an id shapes a URL."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.ids import MAX_ID_LENGTH, decode_id, encode_id


@pytest.mark.parametrize(
    "segment", ["cntr_" + "a" * 48, "container_id", "cfile%2Fa%20b", "%252e%252e", "a.b", "...", "é%C3%A9"]
)
def test_what_could_be_an_id_is_decoded_once(segment: str) -> None:
    assert decode_id(segment) == unquote(segment)


@pytest.mark.parametrize(
    "segment",
    [
        *(".", "..", "%2e%2e", "%2E.", "a%2F..%2Fb", "..%2F..", "a%5C..%5Cb", "%2Fa", "a%2F", "a%2F%2Fb"),
        *("%00", "a%0Ab", "%7F", "%FF", "a" * (MAX_ID_LENGTH + 1), "%C2%A0", "%E2%80%AE"),
    ],
)
def test_what_could_be_another_path_or_no_id_at_all_is_refused(segment: str) -> None:
    assert decode_id(segment) is None


@given(st.text(min_size=1))
def test_an_accepted_id_goes_up_as_exactly_one_segment(text: str) -> None:
    try:
        segment = "".join(f"%{byte:02X}" for byte in text.encode())
    except UnicodeEncodeError:
        return
    decoded = decode_id(segment)
    if decoded is not None:
        encoded = encode_id(decoded)
        assert not set(encoded) & set("/\\?#& \r\n")
        assert encoded not in {".", ".."}
        assert unquote(encoded) == text
