from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.config.load import load_settings
from app.config.problems import ConfigurationError
from app.config.settings import Settings

OPENAI_MAIN = "deployments: [{name: openai-main, provider: openai, api_key: '${OPENAI_API_KEY}'}]"
WITH_LOCAL = """\
deployments:
  - {name: openai-main, provider: openai, api_key: "${OPENAI_API_KEY}"}
  - {name: local, provider: local}
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(content: str | None = None, **environ: str) -> Settings:
        path = None
        if content is not None:
            path = tmp_path / "quay.yaml"
            path.write_text(content)
        return load_settings(path, environ)

    return load


def refusal(load: Load, content: str | None = None, **environ: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as refused:
        load(content, **environ)
    return refused.value


def test_nothing_at_all_is_a_configuration(load: Load) -> None:
    assert load() == Settings()
    assert load().stands_in_for_openai
    assert load().notices == ()


def test_the_environment_beats_the_file_and_the_file_the_defaults(load: Load) -> None:
    loaded = load("server: {port: 1, max_headers: 2, host: localhost}", QUAYMASTER_SERVER__PORT="3")
    assert (loaded.server.port, loaded.server.max_headers, loaded.server.host) == (3, 2, "localhost")
    assert loaded.server.workers == 1


def test_values_from_the_environment_are_of_the_right_type(load: Load) -> None:
    loaded = load(
        QUAYMASTER_SERVER__MAX_JSON_BYTES="1 MiB",
        QUAYMASTER_LOGGING__BODIES="false",
        QUAYMASTER_SERVER__DRAIN_SECONDS="0.5",
        QUAYMASTER_HOOKS__PLUGINS='["a:B", {"use": "c:D", "options": {"e": null}}]',
    )
    assert loaded.server.max_json_bytes == 2**20
    assert loaded.logging.bodies is False
    assert loaded.server.drain_seconds == 0.5
    assert [(plugin.use, plugin.options) for plugin in loaded.hooks.plugins] == [("a:B", {}), ("c:D", {"e": None})]


@pytest.mark.parametrize(
    "content",
    ["", "server:", "server: {port: null}", "server: {port: '${NOPE}'}", "data_dir: null\nmaster_key: ${NOPE}\nhooks:"],
)
def test_null_an_empty_section_and_an_unset_variable_mean_the_default(load: Load, content: str) -> None:
    assert load(content, QUAYMASTER_SERVER__PORT="", QUAYMASTER_MASTER_KEY="", DATABASE_URL="") == Settings()


def test_which_file_is_read(tmp_path: Path) -> None:
    for name, port in (("config.yaml", 1), ("named.yaml", 2), ("given.yaml", 3)):
        (tmp_path / name).write_text(f"server: {{port: {port}}}")
    named = {"QUAYMASTER_CONFIG": str(tmp_path / "named.yaml")}
    assert load_settings(None, {}).server.port == 1
    assert load_settings(None, named).server.port == 2
    assert load_settings(tmp_path / "given.yaml", named).server.port == 3


def test_a_file_that_was_asked_for_must_be_there(load: Load, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yaml: cannot be read: No such file"):
        load_settings(tmp_path / "absent.yaml", {})
    assert "absent.yaml: cannot be read" in str(refusal(load, QUAYMASTER_CONFIG="absent.yaml"))


def test_no_deployments_and_a_key(load: Load) -> None:
    loaded = load(OPENAI_API_KEY="sk-1")
    assert [(d.name, d.provider, d.api_base) for d in loaded.deployments] == [
        ("openai-main", "openai", "https://api.openai.com/v1"),
        ("local", "local", None),
    ]
    assert loaded.default_provider == "openai"
    assert not loaded.stands_in_for_openai


@pytest.mark.parametrize("content", [None, "deployments:", "deployments: []", WITH_LOCAL])
def test_openai_is_where_the_environment_says(load: Load, content: str | None) -> None:
    loaded = load(content, OPENAI_API_KEY="sk-1", OPENAI_BASE_URL="https://eu.example.com/v1/")
    assert loaded.deployments[0].api_base == "https://eu.example.com/v1"


def test_an_address_in_the_file_beats_the_one_of_the_sdk(load: Load) -> None:
    content = "deployments: [{name: a, provider: openai, api_key: k, api_base: https://mine/v1}]"
    assert load(content, OPENAI_BASE_URL="https://other/v1").deployments[0].api_base == "https://mine/v1"


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": ""}])
@pytest.mark.parametrize("reference", ["${OPENAI_API_KEY}", "os.environ/OPENAI_API_KEY"])
def test_a_deployment_without_its_key_is_left_out_with_a_notice(
    load: Load, reference: str, environ: dict[str, str]
) -> None:
    loaded = load(WITH_LOCAL.replace("${OPENAI_API_KEY}", reference), **environ)
    assert [deployment.name for deployment in loaded.deployments] == ["local"]
    assert loaded.notices == ("deployment openai-main is left out: OPENAI_API_KEY is not set",)
    assert loaded.stands_in_for_openai
    assert loaded.default_provider == "local"


@pytest.mark.parametrize(("environ", "stands_in"), [({}, True), ({"OPENAI_API_KEY": "sk-1"}, False)])
def test_with_a_key_at_hand_local_is_no_stand_in(load: Load, environ: dict[str, str], stands_in: bool) -> None:
    loaded = load("deployments: [{name: local, provider: local}]", **environ)
    assert loaded.stands_in_for_openai is stands_in


@pytest.mark.parametrize("credential", ["null", "''", "'${KEY:-}'"])
def test_only_an_unset_variable_leaves_a_deployment_out(load: Load, credential: str) -> None:
    error = refusal(load, WITH_LOCAL.replace('"${OPENAI_API_KEY}"', credential))
    assert error.problems[0].startswith("deployments[openai-main].api_key: ")


def test_a_deployment_stays_while_one_of_its_credentials_is_set(load: Load) -> None:
    azure = "{name: az, provider: azure, api_base: https://az/v1, api_key: '${A}', bearer_token: '${B}'}"
    content = f"deployments: [{azure}, {{name: local, provider: local}}]"
    assert [d.name for d in load(content, B="token").deployments] == ["az", "local"]
    assert load(content).notices == ("deployment az is left out: A and B are not set",)


def test_the_rest_of_a_deployment_left_out_is_not_looked_at(load: Load) -> None:
    azure = "{name: az, provider: azure, api_base: 'https://${RES}/v1', api_key: '${A}', colour: blue}"
    assert load(f"deployments: [{azure}, {{name: local, provider: local}}]").default_provider == "local"


def test_where_every_deployment_lacks_its_key_the_start_is_refused(load: Load) -> None:
    error = refusal(load, OPENAI_MAIN + "\nprot: 1")
    assert error.problems == (
        "deployments: none remains; one of provider local would need no key",
        "prot: unknown setting; did you mean server.port?",
    )
    assert error.notes == ("deployment openai-main is left out: OPENAI_API_KEY is not set",)


def test_a_note_explains_a_default_provider_that_is_not_there(load: Load) -> None:
    error = refusal(load, WITH_LOCAL + "default_provider: openai")
    assert str(error).splitlines() == [
        "The configuration has a problem:",
        '  default_provider: no deployment is of provider "openai"; configured: local',
        "  (note) deployment openai-main is left out: OPENAI_API_KEY is not set",
    ]


def test_deployments_of_the_environment_replace_those_of_the_file(load: Load) -> None:
    loaded = load(
        OPENAI_MAIN,
        QUAYMASTER_DEPLOYMENTS='[{"name": "o", "provider": "openai", "api_key": "${NOT_LOOKED_UP}", "proxy": null}]',
        OPENAI_BASE_URL="https://o/v1",
    )
    assert [(d.name, d.api_base) for d in loaded.deployments] == [("o", "https://o/v1")]
    assert loaded.deployments[0].api_key is not None
    assert loaded.deployments[0].api_key.get_secret_value() == "${NOT_LOOKED_UP}"
    assert loaded.notices == ()


def test_everything_wrong_is_said_at_once(load: Load) -> None:
    content = """\
servr: {port: 1}
server: {port: many, prot: 2, host: 0.0.0.0, host: 0.0.0.0}
data_dir: ${HERE}/data
default_provider: nowhere
deployments:
  - {name: spare, provider: openai, api_key: "${NOPE}"}
  - {name: az, provider: azure, api_base: "https://me:hunter2@az", api_kye: hunter2}
  - {provider: opnai}
  - 5
logging: {level: loud}
hooks: {plugins: {a: b}}
"""
    error = refusal(load, content, QUAYMASTER_DATADIR="x", QUAYMASTER_SERVER__WORKERS="4")
    assert sorted(error.problems) == sorted(
        [
            "QUAYMASTER_DATADIR: unknown setting; did you mean QUAYMASTER_DATA_DIR?",
            "server.host: stands twice, in lines 2 and 2",
            "data_dir: the environment variable HERE is not set",
            "server.port: must be a whole number",
            "server.prot: unknown setting; did you mean server.port?",
            "deployments[az].api_base: must not hold a user name or password; the credential goes into api_key",
            "deployments[az].api_kye: unknown setting; did you mean deployments[az].api_key?",
            "deployments[2].name: required",
            "deployments[3]: must be a section with settings of its own",
            "logging.level: must be 'debug', 'info', 'warning' or 'error'",
            "hooks.plugins: must be a list",
            "servr: unknown setting; did you mean server?",
        ]
    )
    assert error.notes == ("deployment spare is left out: NOPE is not set",)


def test_problems_in_the_file_refuse_also_where_the_rest_is_good(load: Load) -> None:
    assert refusal(load, "server: {port: 1, port: 2}").problems == ("server.port: stands twice, in lines 1 and 1",)
    assert refusal(load, QUAYMASTER_X="1").problems == ("QUAYMASTER_X: unknown setting",)


SECRETS = [
    {"QUAYMASTER_MASTER_KEY": "hunter2\n"},
    {"DATABASE_URL": "mysql://me:hunter2@db"},
    {"REDIS_URL": "hunter2"},
    {"OPENAI_API_KEY": "hunter2\t"},
    {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://me:hunter2@host/v1"},
    {"QUAYMASTER_DEPLOYMENTS": '[{"name": "a", "provider": "openai", "api_key": ["hunter2"]}]'},
    {"QUAYMASTER_DEPLOYMENTS": '[{"name": "a", "provider": "openai", "api_key": "k", "proxy": "hunter2"}]'},
    {"QUAYMASTER_DEPLOYMENTS": '["hunter2"]'},
    {"QUAYMASTER_DEPLOYMENTS": '[{"hunter2"]'},
]


@pytest.mark.parametrize("environ", SECRETS)
def test_no_secret_is_in_a_refusal_or_its_traceback(load: Load, environ: dict[str, str]) -> None:
    error: Any = refusal(load, **environ)
    assert error.problems
    shown = "".join(traceback.format_exception(error)) + repr(error)
    assert "hunter2" not in shown
    assert "pydantic" not in shown
