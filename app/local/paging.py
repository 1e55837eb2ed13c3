"""Lists on the wire: which page a query asks for, and how one is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from app.local.database import Cursor, Page
from app.local.errors import out_of_range, unsupported, wrong_type

DEFAULT_ITEMS: Final = 20
MAX_ITEMS: Final = 100


class Listed(Protocol):
    """Something a list may hold."""

    @property
    def id(self) -> str:
        """What `after` names."""
        ...

    def document(self) -> dict[str, object]:
        """What a client sees of it."""
        ...


def read_cursor(query: Mapping[str, str], *, max_items: int = MAX_ITEMS, default_items: int = DEFAULT_ITEMS) -> Cursor:
    """The page that `limit`, `order` and `after` ask for. Raises ApiError (400)."""
    limit = default_items
    if "limit" in query:
        limit = _integer("limit", query["limit"])
        if not 1 <= limit <= max_items:
            raise out_of_range("limit", limit, 1, max_items)
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise unsupported("order", order, ("asc", "desc"))
    return Cursor(limit, descending=order == "desc", after=query.get("after") or None)


def list_document(page: Page[Any]) -> dict[str, object]:
    """A page as OpenAI writes one."""
    items: list[Listed] = page.items
    return {
        "object": "list",
        "data": [item.document() for item in items],
        "first_id": items[0].id if items else None,
        "last_id": items[-1].id if items else None,
        "has_more": page.has_more,
    }


def _integer(param: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 19):
        raise wrong_type(param, "an integer", text)
    return int(text)
