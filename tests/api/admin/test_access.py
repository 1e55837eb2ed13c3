from __future__ import annotations

from typing import Any

import pytest

from app.domain.identity import ContainerScope, Holder, Principal, Role
from tests.api.admin.hosting import Admin, Refused
from tests.storage.keys import virtual_key

KEY_ROUTES = [
    ("post", "/key/generate"),
    ("post", "/key/update"),
    ("post", "/key/block"),
    ("post", "/key/unblock"),
    ("post", "/key/delete"),
    ("post", "/key/regenerate"),
    ("post", "/key/prod/regenerate"),
    ("get", "/key/info"),
    ("get", "/key/list"),
]
GROUP_ROUTES = [
    *(("post", f"/{noun}/{verb}") for noun in ("team", "user") for verb in ("new", "update", "delete")),
    *(("post", f"/{noun}/{verb}") for noun in ("team", "user") for verb in ("block", "unblock")),
    *(("get", f"/{noun}/{verb}") for noun in ("team", "user") for verb in ("info", "list")),
    ("get", "/v2/team/list"),
    ("get", "/audit/list"),
]
CONTAINER_ROUTES = [
    ("get", "/container/list"),
    ("get", "/container/info"),
    ("post", "/container/adopt"),
    ("post", "/container/share"),
    ("post", "/container/unshare"),
    ("post", "/container/reap"),
]
ROUTES = [*KEY_ROUTES, *GROUP_ROUTES, *CONTAINER_ROUTES]


def pose(admin: Admin, **fields: Any) -> None:
    admin.posing.principal = Principal.of(Holder(key=virtual_key(**fields)))


async def is_refused(admin: Admin, method: str, path: str) -> bool:
    try:
        await getattr(admin, method)(path)
    except Refused as refused:
        return (refused.status, refused.code) == (403, "operation_not_allowed")
    return False


@pytest.mark.parametrize("fields", [{}, {"alias": "master", "container_scope": ContainerScope.ALL}])
async def test_a_member_may_use_no_admin_route(operator: Admin, fields: dict[str, Any]) -> None:
    made = await operator.post("/key/generate", {"key_alias": "prod"})
    pose(operator, **fields)
    assert [path for method, path in ROUTES if not await is_refused(operator, method, path)] == []
    assert await operator.works(made["key"])


async def test_a_viewer_may_look_and_change_nothing(operator: Admin) -> None:
    pose(operator, role=Role.VIEWER)
    for method, path in ROUTES:
        assert await is_refused(operator, method, path) is (method == "post"), path


async def test_an_admin_may_do_everything(operator: Admin) -> None:
    pose(operator, role=Role.ADMIN)
    assert [path for method, path in ROUTES if await is_refused(operator, method, path)] == []
    assert (await operator.post("/key/generate", {"role": "admin"}))["role"] == "admin"


async def test_every_route_was_tried(operator: Admin) -> None:
    document = (await operator.client.get("/openapi.json")).json()
    described = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(method, path.replace("/prod/", "/{key}/")) for method, path in ROUTES}
