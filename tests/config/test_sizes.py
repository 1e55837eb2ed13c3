from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.sizes import parse_size


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (65536, 65536),
        ("65536", 65536),
        ("96MiB", 96 * 2**20),
        ("512 MB", 512 * 10**6),
        (" 64 kib ", 65536),
        ("1.5KiB", 1536),
        ("0.001MB", 1000),
        ("2 GB", 2 * 10**9),
        ("1B", 1),
    ],
)
def test_sizes_as_people_write_them(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    "written",
    ["", "MiB", "64k", "10 MB and more", "-5", "-5MB", "1e6", "1.5B", "1.0001KiB", "٣MB", "1.MB", 1.5, True, None, [1]],
)
def test_anything_else_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(ValueError, match='such as "64KiB", "96MiB" or "512 MB"'):
        parse_size(written)


@given(
    count=st.integers(0, 10**15),
    unit=st.sampled_from([("kB", 10**3), ("MB", 10**6), ("GB", 10**9), ("KiB", 2**10), ("MiB", 2**20), ("GiB", 2**30)]),
    gap=st.sampled_from(["", " ", "  "]),
    change_case=st.sampled_from([str, str.lower, str.upper]),
)
def test_a_unit_multiplies_exactly(count: int, unit: tuple[str, int], gap: str, change_case: type[str]) -> None:
    name, factor = unit
    assert parse_size(f"{count}{gap}{change_case(name)}") == count * factor


@given(st.text())
def test_any_text_is_a_size_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert parse_size(text) >= 0
