"""The whole life of a container with openai-node, in versions old and new, against the embedded provider."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.gateway import MASTER_KEY, RunningGateway, running_gateway
from tests.e2e.sdk_packages import run_node


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path_factory.mktemp("node")) as gateway:
        yield gateway


@pytest.mark.parametrize(
    ("package", "base_path"), [("openai-4", "/v1"), ("openai-6", ""), ("openai-7", ""), ("openai-7", "/v1")]
)
def test_the_whole_life_of_a_container(
    gateway: RunningGateway, package: str, base_path: str, tmp_path: Path, cache: pytest.Cache
) -> None:
    for container in gateway.client.get("/v1/containers").json()["data"]:
        gateway.client.delete(f"/v1/containers/{container['id']}")
    passed = run_node(
        "life.mjs",
        tmp_path,
        cache,
        OPENAI_PACKAGE=package,
        BASE_URL=f"{gateway.url}{base_path}",
        API_KEY=MASTER_KEY,
        READERS_KEY=gateway.make_key(allowed_operations=["containers.list"]),
    )
    assert passed == 6
