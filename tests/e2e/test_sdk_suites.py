"""OpenAI's own container tests, unmodified, through the gateway to an upstream that serves the specification."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.e2e.gateway import RunningGateway, clean_environment, forwarding_to, running_gateway
from tests.e2e.sdk_packages import SUITES, openai_sources, packages, run_node
from tests.fakes.spec_upstream import SpecUpstream, spec_upstream

NOT_OVER_THE_NETWORK = "aiohttp client is not compatible with respx2_mock"
"""Why the suite itself skips three of its tests, whatever it is pointed at."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[SpecUpstream]:
    with spec_upstream() as upstream:
        yield upstream


KEY_OF_THE_SUITES = "My API Key"
"""The one that openai-python's own suite sends, whatever the environment says."""


@pytest.fixture(scope="module")
def gateway(upstream: SpecUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with running_gateway(
        tmp_path_factory.mktemp("suites"), forwarding_to(upstream.origin), QUAYMASTER_MASTER_KEY=KEY_OF_THE_SUITES
    ) as gateway:
        yield gateway


def operations(upstream: SpecUpstream) -> set[bytes]:
    """Method and path of what the upstream was asked, having checked that each came with its own key."""
    for request in upstream.requests:
        assert request.header(b"authorization") == b"Bearer sk-upstream-secret"
        assert KEY_OF_THE_SUITES.encode() not in request.raw_head
    return {request.method + b" " + request.target.partition(b"?")[0] for request in upstream.requests}


IN_BOTH_SUITES = {
    b"POST /v1/containers",
    b"GET /v1/containers",
    b"GET /v1/containers/container_id",
    b"DELETE /v1/containers/container_id",
    b"POST /v1/containers/container_id/files",
    b"GET /v1/containers/container_id/files",
    b"GET /v1/containers/container_id/files/file_id",
    b"DELETE /v1/containers/container_id/files/file_id",
}


@pytest.mark.parametrize("base_path", ["", "/v1"])
def test_the_suite_of_openai_python(
    gateway: RunningGateway, upstream: SpecUpstream, base_path: str, tmp_path: Path, cache: pytest.Cache
) -> None:
    sources, aiohttp = openai_sources(cache), packages("aiohttp", cache)
    upstream.requests.clear()
    report = tmp_path / "report.xml"
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-c", SUITES / "pytest.ini", "--rootdir", sources),
            *("-p", "no:cacheprovider", f"--junit-xml={report}"),
            *("tests/api_resources/test_containers.py", "tests/api_resources/containers"),
        ],
        cwd=sources,
        env=clean_environment(
            TEST_API_BASE_URL=f"{gateway.url}{base_path}",
            PYTHONPATH=str(aiohttp),
            PYTHONDONTWRITEBYTECODE="1",
        ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    cases = list(ElementTree.parse(report).iter("testcase"))
    skipped = [skip.get("message") for case in cases for skip in case.iter("skipped")]
    assert set(skipped) <= {NOT_OVER_THE_NETWORK}
    assert len(cases) - len(skipped) > 150
    assert operations(upstream) == IN_BOTH_SUITES


@pytest.mark.parametrize("base_path", ["", "/v1"])
@pytest.mark.parametrize("package", ["openai-6", "openai-7"])
def test_the_suite_of_openai_node(
    gateway: RunningGateway,
    upstream: SpecUpstream,
    base_path: str,
    package: str,
    tmp_path: Path,
    cache: pytest.Cache,
) -> None:
    """The npm package leaves its tests out, so these are the same calls, with the same ids and values, written anew."""
    upstream.requests.clear()
    passed = run_node(
        "suite.mjs",
        tmp_path,
        cache,
        OPENAI_PACKAGE=package,
        BASE_URL=f"{gateway.url}{base_path}",
        API_KEY=KEY_OF_THE_SUITES,
    )
    assert passed == 24
    assert operations(upstream) == IN_BOTH_SUITES | {b"GET /v1/containers/container_id/files/file_id/content"}
