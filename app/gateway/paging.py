"""Which page of a list a query asks for, refused in OpenAI's words, and how a page is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode

import orjson

from app.domain.errors import ErrorCode, GatewayError

DEFAULT_ITEMS: Final = 20
MAX_ITEMS: Final = 100
_QUOTED_CHARS: Final = 80
_OURS: Final = frozenset({"after", "limit", "order"})


@dataclass(frozen=True, slots=True)
class Asked:
    """What a list's query asks for."""

    after: str | None = None
    limit: int = DEFAULT_ITEMS
    descending: bool = True
    name: str | None = None
    rest: tuple[tuple[str, str], ...] = ()
    """Everything but the cursor, the limit and the order."""

    @classmethod
    def of(cls, query: str) -> Asked:
        """From a raw query, of which the first field of each name counts. Raises GatewayError."""
        pairs = parse_qsl(query, keep_blank_values=True, errors="replace") if query else []
        fields = dict(reversed(pairs))
        order = fields.get("order", "desc")
        if order not in ("asc", "desc"):
            raise _invalid(
                "order", f"Invalid value: '{order[:_QUOTED_CHARS]}'. Supported values are: 'asc' and 'desc'."
            )
        return cls(
            after=fields.get("after") or None,
            limit=_limit(fields["limit"]) if "limit" in fields else DEFAULT_ITEMS,
            descending=order == "desc",
            name=fields.get("name"),
            rest=tuple(pair for pair in pairs if pair[0] not in _OURS),
        )

    def page(self, after: str | None, limit: int) -> str:
        """The raw query for a page of the same list."""
        cursor = () if after is None else (("after", after),)
        order = "desc" if self.descending else "asc"
        return urlencode((*self.rest, ("limit", str(limit)), ("order", order), *cursor))


def unknown_cursor(after: str) -> GatewayError:
    """A page after an id that is not in this list: one that does not exist, or somebody else's."""
    return _invalid("after", f"Invalid 'after': no item with id '{after[:_QUOTED_CHARS]}'.")


def page_text(items: Sequence[bytes], ids: Sequence[str], *, has_more: bool) -> bytes:
    """A page as OpenAI writes one, of items that are JSON already."""
    first, last = (orjson.dumps(ids[0]), orjson.dumps(ids[-1])) if ids else (b"null", b"null")
    return b'{"object":"list","data":[%b],"first_id":%b,"last_id":%b,"has_more":%b}' % (
        b",".join(items),
        first,
        last,
        b"true" if has_more else b"false",
    )


def _limit(text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 19):
        message = "Invalid type for 'limit': expected an integer, but got a string instead."
        raise GatewayError(ErrorCode.INVALID_TYPE, message, param="limit")
    limit = int(text)
    if 1 <= limit <= MAX_ITEMS:
        return limit
    above = limit > MAX_ITEMS
    side, bound = ("above maximum", f"<= {MAX_ITEMS}") if above else ("below minimum", ">= 1")
    raise GatewayError(
        ErrorCode.INTEGER_ABOVE_MAX_VALUE if above else ErrorCode.INTEGER_BELOW_MIN_VALUE,
        f"Invalid 'limit': integer {side} value. Expected a value {bound}, but got {limit} instead.",
        param="limit",
    )


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(ErrorCode.INVALID_VALUE, message, param=param)
