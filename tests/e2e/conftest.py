"""A gateway that tests share where they only ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.gateway import RunningGateway, running_gateway


@pytest.fixture(scope="session")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway process with the embedded provider."""
    with running_gateway(tmp_path_factory.mktemp("shared-gateway")) as gateway:
        yield gateway
