from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.config.deployments import DeploymentSettings
from app.config.problems import describe

OPENAI = {"name": "main", "provider": "openai", "api_key": "sk-1"}
AZURE = {"name": "az", "provider": "azure", "api_base": "https://r.openai.azure.com/openai/v1", "api_key": "k"}
OCI = {"name": "oci", "provider": "oci", "api_base": "https://oci.example.com/openai/v1", "api_key": "k"}
HOST = {"name": "vllm", "provider": "vllm", "api_base": "https://vllm.example.com/v1"}
LOCAL = {"name": "local", "provider": "local"}


def problems_of(values: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as refusal:
        DeploymentSettings.model_validate(values)
    return describe(refusal.value, [])


def without(values: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in fields}


@pytest.mark.parametrize("values", [OPENAI, AZURE, OCI, HOST, LOCAL, without(AZURE, "api_key") | {"bearer_token": "t"}])
def test_the_least_that_each_provider_needs(values: dict[str, Any]) -> None:
    deployment = DeploymentSettings.model_validate(values)
    assert deployment.transport == "wire"
    assert deployment.timeouts.read_seconds == 600


def test_openai_has_an_address_of_its_own() -> None:
    assert DeploymentSettings.model_validate(OPENAI).api_base == "https://api.openai.com/v1"
    elsewhere = OPENAI | {"api_base": "https://us.api.openai.com/v1/"}
    assert DeploymentSettings.model_validate(elsewhere).api_base == "https://us.api.openai.com/v1"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (without(OPENAI, "api_key"), ".api_key: required for provider openai"),
        (without(OCI, "api_key"), ".api_key: required for provider oci"),
        (without(OCI, "api_base"), ".api_base: required for provider oci"),
        (without(AZURE, "api_base"), ".api_base: required for provider azure"),
        (without(AZURE, "api_key"), ".api_key: provider azure needs either api_key or bearer_token, and not both"),
        (AZURE | {"bearer_token": "t"}, ".api_key: provider azure needs either api_key or bearer_token, and not both"),
        (OPENAI | {"bearer_token": "t"}, ".bearer_token: is for provider azure only"),
        (OPENAI | {"api_version": "2024-10-01"}, ".api_version: is for provider azure only"),
        (AZURE | {"organization": "org-1"}, ".organization: is for provider openai only"),
        (HOST | {"project": "p"}, ".project: is for provider openai only"),
        (OPENAI | {"data_dir": "x"}, ".data_dir: is for provider local only"),
        (OPENAI | {"http2": True}, ".transport: http2 needs transport: httpx"),
        (OPENAI | {"proxy": "http://proxy:3128"}, ".transport: proxy needs transport: httpx"),
        (
            LOCAL | {"api_key": "k"},
            ".api_key: has no meaning for provider local, which keeps containers on this machine's disk",
        ),
        (
            without(HOST, "api_base"),
            '.provider: "vllm" is none of openai, azure, oci, local, '
            "so it is an OpenAI-compatible host and needs api_base",
        ),
    ],
)
def test_what_does_not_fit_its_provider(values: dict[str, Any], problem: str) -> None:
    assert problems_of(values) == [problem]


@pytest.mark.parametrize(("written", "meant"), [("opnai", "openai"), ("azur", "azure"), ("locale", "local")])
def test_a_near_miss_of_a_provider_gets_a_suggestion(written: str, meant: str) -> None:
    [problem] = problems_of({"name": "x", "provider": written, "api_key": "k"})
    assert problem.endswith(f"needs api_base; did you mean {meant}?")


def test_a_near_miss_with_an_address_is_a_host_of_its_own() -> None:
    assert DeploymentSettings.model_validate(HOST | {"provider": "opnai"}).provider == "opnai"


def test_providers_are_written_in_lower_case() -> None:
    [problem] = problems_of(OPENAI | {"provider": "OpenAI"})
    assert problem.startswith("provider: must be 1 to 64 characters, each a lower-case letter")
    assert problem.endswith("did you mean openai?")


@pytest.mark.parametrize("name", ["", "Main", "a b", "a/b", "x" * 65, "é", "main\n"])
def test_a_name_is_safe_in_logs_and_headers(name: str) -> None:
    [problem] = problems_of(OPENAI | {"name": name})
    assert problem.startswith("name: must be 1 to 64 characters")


@pytest.mark.parametrize("field", ["api_key", "bearer_token"])
@pytest.mark.parametrize("secret", ["", "hunter2 ", "hunter2\r\nx: y", "hünter2", "hunter2\n"])
def test_a_credential_can_stand_in_a_header(field: str, secret: str) -> None:
    problems = problems_of(without(AZURE, "api_key") | {field: secret})
    assert problems == [
        f"{field}: must not be empty, nor hold line ends, spaces at either end or characters outside ASCII"
    ]


@pytest.mark.parametrize("field", ["organization", "project"])
def test_a_header_value_cannot_break_out_of_its_header(field: str) -> None:
    [problem] = problems_of(OPENAI | {field: "x\r\ny: z"})
    assert problem.startswith(f"{field}: must match pattern")


def test_all_that_is_wrong_is_said_at_once() -> None:
    values = OPENAI | {"bearer_token": "t", "data_dir": "x", "http2": True}
    assert [problem.partition(":")[0] for problem in problems_of(values)] == [
        ".bearer_token",
        ".data_dir",
        ".transport",
    ]


def test_a_proxy_is_a_url_and_a_secret() -> None:
    values = OPENAI | {"transport": "httpx", "proxy": "http://me:hunter2@proxy:3128"}
    assert "hunter2" not in repr(DeploymentSettings.model_validate(values))
    [problem] = problems_of(values | {"proxy": "socks9://me:hunter2@proxy"})
    assert problem == "proxy: must be a URL with a host, starting with http:// or https://"


def test_certificates_must_be_there(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    assert problems_of(OPENAI | {"ca_file": str(file)}) == ["ca_file: there is no such file"]
    file.touch()
    assert DeploymentSettings.model_validate(OPENAI | {"ca_file": str(file)}).ca_file == file


@pytest.mark.parametrize("seconds", [0, -1, "inf", "nan", 100_000, "soon"])
def test_a_timeout_is_a_time(seconds: object) -> None:
    [problem] = problems_of(OPENAI | {"timeouts": {"read_seconds": seconds}})
    assert problem.startswith("timeouts.read_seconds: must be")


@pytest.mark.parametrize("weight", [-0.1, "inf", "nan", 1e7, "heavy", None])
def test_a_weight_is_a_share(weight: object) -> None:
    [problem] = problems_of(OPENAI | {"weight": weight})
    assert problem.startswith("weight: must be")


@pytest.mark.parametrize("weight", [0, 0.5, "3"])
def test_a_weight_may_be_nothing_or_a_part(weight: object) -> None:
    assert DeploymentSettings.model_validate(OPENAI | {"weight": weight}).weight == float(str(weight))


@pytest.mark.parametrize(
    ("values", "in_the_clear"),
    [
        (HOST | {"api_base": "http://vllm:8000/v1", "api_key": "k"}, True),
        (HOST | {"api_base": "http://vllm:8000/v1"}, False),
        (HOST | {"api_base": "http://127.0.0.1:8000/v1", "api_key": "k"}, False),
        (HOST | {"api_key": "k"}, False),
        (LOCAL, False),
    ],
)
def test_a_key_that_crosses_a_network_unencrypted_is_noticed(values: dict[str, Any], in_the_clear: bool) -> None:
    assert DeploymentSettings.model_validate(values).sends_credential_in_the_clear is in_the_clear
