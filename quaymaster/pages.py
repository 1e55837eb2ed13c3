"""Lists, page by page.

A page is what one request answers. Iterating over it gives its own items; `auto_paging()` goes on to the pages after
it, one request each, to the end of the list.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Generic, Self, TypeVar

from pydantic import PrivateAttr

from quaymaster.errors import QuaymasterError
from quaymaster.types import ApiObject, Container, ContainerFile

ItemT = TypeVar("ItemT", Container, ContainerFile)


class _Trail:
    """Where a walk through pages has been. It ends at an empty page, and where it would come by again."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def is_new(self, items: Sequence[Container] | Sequence[ContainerFile]) -> bool:
        """Whether these items are any, and were not here before."""
        if not items or items[-1].id in self._seen:
            return False
        self._seen.add(items[-1].id)
        return True


class _Page(ApiObject, Generic[ItemT]):
    """`first_id` and `last_id` are those of the first and last item; `has_more` says that another page follows."""

    object: str = "list"
    data: list[ItemT]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


class Page(_Page[ItemT]):
    """A page whose next one is asked for with a blocking call."""

    _fetch: Callable[[str], Self] | None = PrivateAttr(None)

    def __iter__(self) -> Iterator[ItemT]:  # type: ignore[override]
        return iter(self.data)

    def auto_paging(self) -> Iterator[ItemT]:
        """Its items, and those of all pages after it. Raises what the list call raises."""
        page, trail = self, _Trail()
        while trail.is_new(page.data):
            yield from page.data
            if not page.has_more:
                return
            if page._fetch is None:
                raise _unfetched()
            page = page._fetch(page.data[-1].id)


class AsyncPage(_Page[ItemT]):
    """A page whose next one is awaited."""

    _fetch: Callable[[str], Awaitable[Self]] | None = PrivateAttr(None)

    async def __aiter__(self) -> AsyncIterator[ItemT]:
        for item in self.data:
            yield item

    async def auto_paging(self) -> AsyncIterator[ItemT]:
        """Its items, and those of all pages after it. Raises what the list call raises."""
        page, trail = self, _Trail()
        while trail.is_new(page.data):
            for item in page.data:
                yield item
            if not page.has_more:
                return
            if page._fetch is None:
                raise _unfetched()
            page = await page._fetch(page.data[-1].id)


class ContainerPage(Page[Container]):
    """A page of containers."""


class AsyncContainerPage(AsyncPage[Container]):
    """A page of containers, of an asynchronous call."""


class ContainerFilePage(Page[ContainerFile]):
    """A page of container files."""


class AsyncContainerFilePage(AsyncPage[ContainerFile]):
    """A page of container files, of an asynchronous call."""


def _unfetched() -> QuaymasterError:
    return QuaymasterError("This page did not come from a request, so the next one cannot be asked for.")
