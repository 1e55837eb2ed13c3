from __future__ import annotations

from uuid import uuid4

import pytest

from tests.local.hosting import Provider


def test_the_sdk_pages_through_everything_in_either_order(provider: Provider) -> None:
    name = uuid4().hex
    made = []
    for number in range(25):
        made.append(provider.container(name))
        provider.clock.advance(number % 2)  # pairs of one second: insertion breaks the tie
    ascending = provider.sdk.containers.list(name=name, order="asc", limit=4)
    assert [container.id for container in ascending] == made
    assert [container.id for container in provider.sdk.containers.list(name=name)] == made[::-1]


def test_files_are_paged_too(provider: Provider) -> None:
    container_id = provider.container()
    made = [provider.file(container_id) for _ in range(5)]
    listed = provider.sdk.containers.files.list(container_id, order="asc", limit=2)
    assert [file.id for file in listed] == made
    assert [file.id for file in provider.sdk.containers.files.list(container_id, limit=2)] == made[::-1]


def test_the_ends_of_a_page_are_named(provider: Provider) -> None:
    name = uuid4().hex
    first, second, third = (provider.container(name) for _ in range(3))
    page = provider.http.get("/v1/containers", params={"name": name, "order": "asc", "limit": 2}).json()
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == ("list", first, second, True)
    page = provider.http.get(
        "/v1/containers", params={"name": name, "order": "asc", "limit": 2, "after": second}
    ).json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == (third, third, False)


def test_an_empty_page(provider: Provider) -> None:
    page = provider.http.get("/v1/containers", params={"name": uuid4().hex}).json()
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_twenty_by_default_newest_first(provider: Provider) -> None:
    name = uuid4().hex
    made = [provider.container(name) for _ in range(21)]
    page = provider.http.get("/v1/containers", params={"name": name}).json()
    assert [container["id"] for container in page["data"]] == made[:0:-1]
    assert page["has_more"] is True


def test_a_client_may_delete_as_it_pages(provider: Provider) -> None:
    name = uuid4().hex
    made = {provider.container(name) for _ in range(5)}
    deleted = set()
    for container in provider.sdk.containers.list(name=name, limit=2):
        provider.sdk.containers.delete(container.id)
        deleted.add(container.id)
    assert deleted == made
    assert provider.sdk.containers.list(name=name).data == []


def test_a_client_may_delete_files_as_it_pages(provider: Provider) -> None:
    container_id = provider.container()
    made = {provider.file(container_id) for _ in range(5)}
    deleted = set()
    for file in provider.sdk.containers.files.list(container_id, limit=2):
        provider.sdk.containers.files.delete(file.id, container_id=container_id)
        deleted.add(file.id)
    assert deleted == made


def test_a_tombstone_is_forgotten_after_a_day(provider: Provider) -> None:
    container_id = provider.container()
    provider.sdk.containers.delete(container_id)
    provider.clock.advance(24 * 60 * 60)
    provider.container()
    assert provider.http.get("/v1/containers", params={"after": container_id}).status_code == 200
    provider.clock.advance(1)
    provider.container()
    assert provider.http.get("/v1/containers", params={"after": container_id}).status_code == 400


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("limit=0", "integer_below_min_value", "limit"),
        ("limit=-5", "integer_below_min_value", "limit"),
        ("limit=101", "integer_above_max_value", "limit"),
        ("limit=9999999999999999999", "integer_above_max_value", "limit"),
        ("limit=ten", "invalid_type", "limit"),
        ("limit=", "invalid_type", "limit"),
        ("limit=1.5", "invalid_type", "limit"),
        ("limit=%D9%A1", "invalid_type", "limit"),
        ("order=up", "invalid_value", "order"),
        ("after=cntr_unknown", "invalid_value", "after"),
    ],
)
@pytest.mark.parametrize("of_files", [False, True])
def test_a_wrong_query_is_named(provider: Provider, query: str, code: str, param: str, of_files: bool) -> None:
    path = f"/v1/containers/{provider.container()}/files" if of_files else "/v1/containers"
    reply = provider.http.get(f"{path}?{query}")
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, code, param)


def test_the_largest_page(provider: Provider) -> None:
    assert provider.http.get("/v1/containers?limit=100&unknown=1&after=").status_code == 200


def test_a_cursor_of_another_containers_files_is_unknown(provider: Provider) -> None:
    mine, other = provider.container(), provider.container()
    file_id = provider.file(other)
    assert provider.http.get(f"/v1/containers/{mine}/files", params={"after": file_id}).status_code == 400
