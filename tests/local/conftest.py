from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.local.hosting import Clock, Provider, hosted


@pytest.fixture(scope="session")
def shared_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with hosted(tmp_path_factory.mktemp("provider"), clock=Clock()) as provider:
        yield provider


@pytest.fixture
def provider(shared_provider: Provider) -> Provider:
    """One provider for every test that does not restart it; its clock only goes forward."""
    return shared_provider
