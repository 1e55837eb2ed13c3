"""Looking through a deployment's list."""

from __future__ import annotations

import pytest

from app.domain.errors import UpstreamFault
from app.registry.listing import find_listed, listed
from tests.registry.harbour import HERE, Harbour


async def test_every_page_is_read_newest_first(harbour: Harbour) -> None:
    for number in range(250):
        harbour.here.put(f"cntr_{number}", created_at=number)
    pages = [page async for page in listed(harbour.deployments[HERE])]
    assert [len(page) for page in pages] == [100, 100, 50]
    assert [each.container_id for page in pages for each in page] == [f"cntr_{number}" for number in range(249, -1, -1)]


async def test_a_container_is_found_on_a_later_page_and_never_retrieved(harbour: Harbour) -> None:
    for number in range(150):
        harbour.here.put(f"cntr_{number}", created_at=number)
    found = await find_listed(harbour.deployments[HERE], "cntr_3")
    assert found
    assert found.container_id == "cntr_3"
    assert await find_listed(harbour.deployments[HERE], "cntr_150") is None
    assert set(harbour.here.asked) == {"GET /v1/containers"}


async def test_a_list_that_goes_round_comes_to_an_end(harbour: Harbour) -> None:
    harbour.here.pages_forever = True
    harbour.here.put("cntr_1", created_at=1)
    assert await find_listed(harbour.deployments[HERE], "cntr_2") is None
    assert len(harbour.here.asked) == 2


async def test_a_list_that_is_refused_is_a_fault(harbour: Harbour) -> None:
    harbour.here.list_status = 401
    with pytest.raises(UpstreamFault, match="401"):
        await find_listed(harbour.deployments[HERE], "cntr_1")
