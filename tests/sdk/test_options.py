"""Where requests go, and with which credential: arguments first, then the environment."""

from __future__ import annotations

from typing import Any

import pytest

from quaymaster.errors import InvalidArgumentError, MissingCredentialError, QuaymasterError
from quaymaster.options import Destination, Settings, resolve

GATEWAY = {"QUAYMASTER_API_BASE": "http://gateway:4000/v1", "QUAYMASTER_API_KEY": "sk-qm-gateway"}
OPENAI = {"OPENAI_API_KEY": "sk-openai"}
AZURE = {"AZURE_API_KEY": "azure-key", "AZURE_API_BASE": "https://res.openai.azure.com"}
OCI = {"OCI_API_KEY": "oci-key", "OCI_API_BASE": "https://oci.example/openai/v1"}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("arguments", "variables", "base_url", "headers", "told"),
    [
        pytest.param({}, OPENAI, "https://api.openai.com/v1", bearer("sk-openai"), None, id="openai"),
        pytest.param({"api_key": "k-1"}, {}, "https://api.openai.com/v1", bearer("k-1"), None, id="a key"),
        pytest.param(
            {},
            OPENAI | {"OPENAI_BASE_URL": "https://us.api.openai.com/v1/"},
            "https://us.api.openai.com/v1",
            bearer("sk-openai"),
            None,
            id="openai's base URL",
        ),
        pytest.param(
            {},
            OPENAI | {"OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj-1"},
            "https://api.openai.com/v1",
            bearer("sk-openai") | {"openai-organization": "org-1", "openai-project": "proj-1"},
            None,
            id="organization and project",
        ),
        pytest.param(
            {"custom_llm_provider": "azure"},
            AZURE,
            "https://res.openai.azure.com/openai/v1",
            {"api-key": "azure-key"},
            None,
            id="azure",
        ),
        pytest.param(
            {"custom_llm_provider": " Azure "},
            AZURE | {"AZURE_API_BASE": "https://res.openai.azure.com/openai/v1/"},
            "https://res.openai.azure.com/openai/v1",
            {"api-key": "azure-key"},
            None,
            id="azure, spelled freely",
        ),
        pytest.param(
            {"custom_llm_provider": "oci"},
            OCI,
            "https://oci.example/openai/v1",
            bearer("oci-key"),
            "oci",
            id="any host",
        ),
        pytest.param({}, GATEWAY | OPENAI, "http://gateway:4000/v1", bearer("sk-qm-gateway"), None, id="a gateway"),
        pytest.param(
            {"custom_llm_provider": "azure"},
            GATEWAY | AZURE,
            "http://gateway:4000/v1",
            bearer("sk-qm-gateway"),
            "azure",
            id="a gateway, and whose API",
        ),
        pytest.param(
            {"api_key": "sk-master"}, GATEWAY, "http://gateway:4000/v1", bearer("sk-master"), None, id="a gateway's key"
        ),
        pytest.param(
            {"custom_llm_provider": "openai", "api_key": "sk-own"},
            GATEWAY,
            "https://api.openai.com/v1",
            bearer("sk-own"),
            None,
            id="past the gateway",
        ),
        pytest.param(
            {"custom_llm_provider": "openai", "api_key": "sk-qm-other"},
            GATEWAY,
            "http://gateway:4000/v1",
            bearer("sk-qm-other"),
            "openai",
            id="a virtual key is a gateway's",
        ),
        pytest.param(
            {"api_base": "http://other:1"},
            GATEWAY | OPENAI,
            "http://other:1",
            bearer("sk-qm-gateway"),
            None,
            id="a base",
        ),
        pytest.param(
            {"api_base": "http://other:1"}, OPENAI, "http://other:1", bearer("sk-openai"), None, id="a base of openai's"
        ),
        pytest.param(
            {"api_base": "https://api.openai.com/v1"},
            GATEWAY | OPENAI,
            "https://api.openai.com/v1",
            bearer("sk-openai"),
            None,
            id="a provider never gets a gateway's key",
        ),
        pytest.param(
            {"api_base": "https://oci.example/openai/v1", "custom_llm_provider": "oci"},
            GATEWAY | OCI,
            "https://oci.example/openai/v1",
            bearer("oci-key"),
            "oci",
            id="a named provider with a key gets its own",
        ),
        pytest.param(
            {"api_base": "http://other:1", "custom_llm_provider": "oci"},
            GATEWAY,
            "http://other:1",
            bearer("sk-qm-gateway"),
            "oci",
            id="a named provider without a key is a gateway's",
        ),
        pytest.param(
            {"custom_llm_provider": "azure", "api_base": "http://gateway", "api_key": "k-2"},
            {},
            "http://gateway",
            {"api-key": "k-2"},
            "azure",
            id="everything said",
        ),
    ],
)
def test_where_and_with_what(
    arguments: dict[str, str], variables: dict[str, str], base_url: str, headers: dict[str, str], told: str | None
) -> None:
    there = resolve(**arguments, environment=variables)
    assert (there.base_url, there.headers, there.provider_told) == (base_url, headers, told)


@pytest.mark.parametrize(
    ("arguments", "variables", "version"),
    [
        ({"custom_llm_provider": "azure"}, AZURE, {}),
        ({"custom_llm_provider": "azure"}, AZURE | {"AZURE_API_VERSION": "preview"}, {"api-version": "preview"}),
        (
            {"custom_llm_provider": "azure", "api_version": "v2"},
            AZURE | {"AZURE_API_VERSION": "preview"},
            {"api-version": "v2"},
        ),
        ({"api_version": "v2"}, OPENAI, {"api-version": "v2"}),
        ({}, GATEWAY | {"QUAYMASTER_API_VERSION": "x"}, {}),
    ],
)
def test_the_version_is_a_query_parameter(
    arguments: dict[str, str], variables: dict[str, str], version: dict[str, str]
) -> None:
    assert resolve(**arguments, environment=variables).query == version


@pytest.mark.parametrize(
    ("arguments", "variables", "missing"),
    [
        ({}, {}, "OPENAI_API_KEY"),
        ({}, {"OPENAI_API_KEY": "  "}, "OPENAI_API_KEY"),
        ({"custom_llm_provider": "azure"}, {"AZURE_API_BASE": AZURE["AZURE_API_BASE"]}, "AZURE_API_KEY"),
        ({"custom_llm_provider": "azure"}, {"AZURE_API_KEY": "k"}, "AZURE_API_BASE"),
        ({"custom_llm_provider": "my-host"}, {}, "MY_HOST_API_BASE"),
        ({}, {"QUAYMASTER_API_BASE": "http://gateway"}, "QUAYMASTER_API_KEY"),
        ({"api_base": "https://api.openai.com"}, GATEWAY, "OPENAI_API_KEY"),
        ({"api_key": "sk-qm-a-virtual-key"}, {}, "QUAYMASTER_API_BASE"),
        ({}, {"OPENAI_API_KEY": "sk-qm-a-virtual-key"}, "QUAYMASTER_API_BASE"),
    ],
)
def test_what_is_missing_is_named(arguments: dict[str, str], variables: dict[str, str], missing: str) -> None:
    with pytest.raises(MissingCredentialError, match=missing) as caught:
        resolve(**arguments, environment=variables)
    assert caught.value.variable == missing
    assert isinstance(caught.value, QuaymasterError)
    assert "a-virtual-key" not in str(caught.value)


@pytest.mark.parametrize(
    "base", ["ftp://host", "host:4000", "http://", "http://user:secret@host", "http://host?key=secret"]
)
def test_a_base_url_that_is_none_is_refused_and_not_shown(base: str) -> None:
    with pytest.raises(InvalidArgumentError, match="base URL") as caught:
        resolve(api_base=base, api_key="k")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-secret\nx: y", "sk-secret-ü", "sk-secret\x00"])
def test_a_key_that_is_none_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(InvalidArgumentError, match="api_key") as caught:
        resolve(api_key=key)
    assert "secret" not in str(caught.value)


def test_the_environment_is_read_at_each_call(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OPENAI_API_KEY", "sk-first")
    assert resolve().headers == bearer("sk-first")
    environment.setenv("OPENAI_API_KEY", "sk-second")
    assert resolve().headers == bearer("sk-second")


def test_nothing_shows_a_secret() -> None:
    settings = Settings.of_client({"api_key": "sk-secret", "default_headers": {"x-api-key": "sk-secret"}})
    settings = settings.joined({"extra_headers": {"api-key": "sk-secret"}, "extra_body": {"token": "sk-secret"}})
    assert "sk-secret" not in repr(settings)
    assert "sk-secret" not in repr(settings.destination)


def test_a_request_wins_over_its_client() -> None:
    client = Settings(
        destination=Destination("http://host"),
        timeout=5,
        max_retries=1,
        headers={"X-Team": "a", "X-Both": "client"},
        query={"team": "a", "both": "client"},
    )
    joined = client.joined({"extra_headers": {"x-both": "call"}, "extra_query": {"both": "call"}, "max_retries": 0})
    assert joined.headers == {"x-team": "a", "x-both": "call"}
    assert joined.query == {"team": "a", "both": "call"}
    assert (joined.timeout, joined.max_retries) == (5, 0)
    assert client.joined({"timeout": None, "max_retries": None}).timeout == 5


@pytest.mark.parametrize("value", ["a\nb", "é", 3, None])
def test_a_header_that_cannot_be_sent_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="'x-team'"):
        Settings(destination=Destination("http://host")).joined({"extra_headers": {"x-team": value}})
