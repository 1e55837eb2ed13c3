"""Byte sizes as people write them: 65536, "96MiB", "512 MB"."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, Field

_UNITS: Final = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
_SIZE: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([a-z]*)", re.IGNORECASE)
_EXPLANATION: Final = 'must be a number of bytes, or a size such as "64KiB", "96MiB" or "512 MB"'


def parse_size(value: object) -> int:
    """The number of bytes that `value` stands for, in units of 1,000 (kB, MB, GB) or of 1,024 (KiB, MiB, GiB).

    Raises ValueError for anything else, also where the size is not a whole number of bytes.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError(_EXPLANATION)
    whole, _, fraction = match[1].partition(".")
    scaled, scale = int(whole + fraction) * _UNITS[match[2].lower()], int("1" + "0" * len(fraction))
    if scaled % scale:
        raise ValueError(_EXPLANATION)
    return scaled // scale


ByteSize = Annotated[int, BeforeValidator(parse_size), Field(ge=1)]
"""A setting in bytes, at least 1."""
