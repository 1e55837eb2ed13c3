from __future__ import annotations

import pytest

from app.domain.identity import ContainerScope, Holder, Principal, VirtualKey
from tests.api.admin.hosting import Admin, Refused
from tests.storage.keys import virtual_key


@pytest.mark.parametrize("key", [virtual_key(), virtual_key(alias="master", user_id="master")])
async def test_a_virtual_key_may_not_use_the_admin_routes(admin: Admin, key: VirtualKey) -> None:
    made = await admin.post("/key/generate", {"key_alias": "prod"})
    admin.posing.principal = Principal.of(Holder(key=key))
    routes = [
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
    await everything_is_refused(admin, routes)
    assert await admin.works(made["key"])


CONTAINER_ROUTES = [
    ("get", "/container/list"),
    ("get", "/container/info"),
    ("post", "/container/adopt"),
    ("post", "/container/share"),
    ("post", "/container/unshare"),
    ("post", "/container/reap"),
]


async def test_a_virtual_key_may_not_use_the_container_routes(operator: Admin) -> None:
    operator.posing.principal = Principal.of(Holder(key=virtual_key(container_scope=ContainerScope.ALL)))
    await everything_is_refused(operator, CONTAINER_ROUTES)


async def everything_is_refused(admin: Admin, routes: list[tuple[str, str]]) -> None:
    for method, path in routes:
        with pytest.raises(Refused) as refused:
            await getattr(admin, method)(path)
        assert (refused.value.status, refused.value.code) == (403, "operation_not_allowed"), path


async def test_every_route_was_tried(operator: Admin) -> None:
    document = (await operator.client.get("/openapi.json")).json()
    assert sorted(document["paths"]) == [
        *sorted(path for _, path in CONTAINER_ROUTES),
        "/key/block",
        "/key/delete",
        "/key/generate",
        "/key/info",
        "/key/list",
        "/key/regenerate",
        "/key/unblock",
        "/key/update",
        "/key/{key}/regenerate",
    ]
