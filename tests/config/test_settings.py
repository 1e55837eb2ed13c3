from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.config.problems import describe
from app.config.settings import Settings

OPENAI = {"name": "main", "provider": "openai", "api_key": "sk-1"}
LOCAL = {"name": "local", "provider": "local"}


def settings(**values: Any) -> Settings:
    return Settings(**values)


def problems_of(**values: Any) -> list[str]:
    with pytest.raises(ValidationError) as refusal:
        Settings(**values)
    return describe(refusal.value, [])


def test_nothing_but_what_is_passed_in_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("server", '{"port": 1}')
    monkeypatch.setenv("data_dir", "/elsewhere")
    assert Settings().server.port == 4000
    assert Settings().data_dir == Path("data")


def test_settings_never_change() -> None:
    for section, field in ((Settings(), "data_dir"), (Settings().server, "port"), (Settings().deployments[0], "name")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, field, getattr(section, field))


def test_folders_follow_the_data_folder(tmp_path: Path) -> None:
    here = settings(data_dir=tmp_path)
    assert here.database_url.get_secret_value() == f"sqlite:///{tmp_path}/quaymaster.db"
    assert here.deployments[0].data_dir == tmp_path / "containers"
    apart = settings(data_dir=tmp_path, deployments=[LOCAL | {"data_dir": "elsewhere"}])
    assert apart.deployments[0].data_dir == Path("elsewhere")


def test_home_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings(data_dir="~/quay").data_dir == tmp_path / "quay"


def test_no_secret_is_in_the_repr() -> None:
    known = settings(
        master_key="hunter2",
        database_url="postgresql://me:hunter2@db/x",
        redis_url="redis://:hunter2@r",
        deployments=[OPENAI | {"api_key": "hunter2"}],
    )
    assert "hunter2" not in repr(known)
    assert "hunter2" not in known.model_dump_json()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "gateway.example.com"])
@pytest.mark.parametrize("key", [None, "", "fifteen-chars-x"])
def test_a_public_address_needs_a_long_master_key(host: str, key: str | None) -> None:
    assert problems_of(server={"host": host}, master_key=key) == [
        f"master_key: server.host is {host}, which other machines may reach, and that needs a master key of at least "
        "16 characters: set QUAYMASTER_MASTER_KEY, or listen on 127.0.0.1"
    ]
    assert settings(server={"host": host}, master_key="sixteen-chars-xy").server.host == host


def test_a_public_address_without_a_word_about_a_master_key_is_refused() -> None:
    [problem] = problems_of(server={"host": "0.0.0.0"})
    assert problem.startswith("master_key: server.host is 0.0.0.0")


def test_on_loopback_any_master_key_will_do_and_an_empty_one_is_none() -> None:
    assert settings(server={"host": "::1"}, master_key="").master_key is None
    key = settings(master_key="short").master_key
    assert key is not None
    assert key.get_secret_value() == "short"


def test_a_key_may_hold_spaces_as_those_of_sdk_suites_do() -> None:
    key = settings(master_key="My API Key").master_key
    assert key is not None
    assert key.get_secret_value() == "My API Key"


@pytest.mark.parametrize(
    "key", [" hunter2-hunter2-hunter2", "hunter2-hunter2-hunter2\n", "hunter2-hunter2-\x00", "hünter2" * 3]
)
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_master_key_can_stand_in_a_header(key: str, host: str) -> None:
    assert problems_of(server={"host": host}, master_key=key) == [
        "master_key: must not be empty, nor hold line ends, spaces at either end or characters outside ASCII"
    ]


def test_several_workers_need_redis() -> None:
    assert problems_of(server={"workers": 2}) == [
        "redis_url: server.workers is 2, and several processes keep limits together in Redis: "
        "set redis_url (REDIS_URL), or serve from one process"
    ]
    assert settings(server={"workers": 2}, redis_url="redis://r").server.workers == 2


def test_several_workers_on_sqlite_are_noticed() -> None:
    several = {"server": {"workers": 2}, "redis_url": "redis://r"}
    notice = "server.workers is 2 and the database SQLite, which one process at a time writes to"
    assert notice in settings(**several).notices
    assert notice not in settings(**several, database_url="postgresql://db/x").notices


@pytest.mark.parametrize(
    ("deployments", "problem"),
    [
        ([LOCAL, OPENAI | {"name": "local"}], 'the name "local" is given to two deployments'),
        (
            [LOCAL, LOCAL | {"name": "spare", "data_dir": "data/../data/containers/"}],
            "local and spare both keep their containers in data/../data/containers; give each a data_dir of its own",
        ),
        ([], "there must be at least one"),
        ({"local": LOCAL}, "must be a list"),
    ],
)
def test_deployments_fit_together(deployments: object, problem: str) -> None:
    assert problems_of(deployments=deployments) == [f"deployments: {problem}"]


def test_a_provider_may_have_several_deployments() -> None:
    spare = {"name": "spare", "weight": 0}
    loaded = settings(deployments=[OPENAI, LOCAL, OPENAI | spare, LOCAL | spare | {"name": "b", "data_dir": "b"}])
    assert [(d.name, d.provider, d.weight) for d in loaded.deployments] == [
        ("main", "openai", 1),
        ("local", "local", 1),
        ("spare", "openai", 0),
        ("b", "local", 0),
    ]
    assert loaded.default_provider == "openai"
    assert loaded.notices == ()


def test_folders_are_the_same_wherever_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    two = [LOCAL | {"data_dir": tmp_path / "a"}, LOCAL | {"name": "b", "data_dir": tmp_path / "link"}]
    [problem] = problems_of(deployments=two)
    assert problem.startswith("deployments: local and b both keep")


@pytest.mark.parametrize(
    ("providers", "default"),
    [(["local", "openai"], "openai"), (["vllm", "local"], "local"), (["vllm", "groq"], "vllm")],
)
def test_the_default_provider(providers: list[str], default: str) -> None:
    known = {"local": LOCAL, "openai": OPENAI}
    host = {"api_base": "https://host/v1"}
    deployments = [known.get(p, {"name": p, "provider": p} | host) for p in providers]
    assert settings(deployments=deployments).default_provider == default
    assert settings(deployments=deployments, default_provider=providers[0]).default_provider == providers[0]


def test_the_default_provider_must_be_configured() -> None:
    several = [LOCAL, OPENAI, LOCAL | {"name": "b", "data_dir": "b"}]
    assert problems_of(deployments=several, default_provider="azure") == [
        'default_provider: no deployment is of provider "azure"; configured: local, openai'
    ]


@pytest.mark.parametrize(
    ("deployments", "key_is_set", "stands_in"),
    [
        ([LOCAL], False, True),
        ([LOCAL, LOCAL | {"name": "b", "data_dir": "b"}], False, True),
        ([LOCAL], True, False),
        ([LOCAL, OPENAI], False, False),
        ([{"name": "h", "provider": "h", "api_base": "https://h/v1"}], False, False),
    ],
)
def test_local_stands_in_for_openai_where_nothing_else_can(
    deployments: list[dict[str, Any]], key_is_set: bool, stands_in: bool
) -> None:
    loaded = settings(deployments=deployments).as_loaded(openai_key_is_set=key_is_set, notices=())
    assert loaded.stands_in_for_openai is stands_in


def test_notices_tell_what_may_not_be_meant() -> None:
    host = {"name": "vllm", "provider": "vllm", "api_base": "http://vllm/v1", "api_key": "hunter2"}
    loaded = settings(deployments=[host], redis_url="redis://r").as_loaded(openai_key_is_set=False, notices=("first",))
    assert loaded.notices == (
        "first",
        "deployment vllm: its key goes over the network unencrypted, as api_base is plain http",
    )
    assert Settings().notices == ()


def test_a_provider_without_any_weight_is_noticed() -> None:
    loaded = settings(deployments=[OPENAI | {"weight": 0}, OPENAI | {"name": "b", "weight": 0}, LOCAL])
    assert loaded.notices == (
        "provider openai: no deployment of it has a weight above 0, so no container can be made there",
    )


def test_a_reap_without_a_time_is_noticed() -> None:
    assert settings(reap={"unknown": True}).notices == (
        "reap says what to delete but not when: nothing is deleted without reap.every_seconds",
    )
    assert settings(reap={"unknown": True, "every_seconds": "1h"}).notices == ()


@pytest.mark.parametrize(
    ("field", "url", "problem"),
    [
        (
            "database_url",
            "mysql://me:hunter2@db/x",
            "must start with sqlite:// or postgresql:// or postgres://",
        ),
        ("redis_url", "http://:hunter2@redis", "must start with redis:// or rediss:// or unix://"),
    ],
)
def test_a_store_of_another_kind_is_refused(field: str, url: str, problem: str) -> None:
    [found] = problems_of(**{field: url})
    assert found.startswith(f"{field}: {problem}")
    assert "hunter2" not in found


def test_plugins_may_be_written_short() -> None:
    [short, long] = settings(hooks={"plugins": ["a.b:C", {"use": "a:D", "options": {"x": None}}]}).hooks.plugins
    assert (short.use, short.options) == ("a.b:C", {})
    assert (long.use, long.options) == ("a:D", {"x": None})
    [problem] = problems_of(hooks={"plugins": ["a.b.C"]})
    assert problem.startswith("hooks.plugins[0].use: must match pattern")


def test_levels_are_known_in_any_case() -> None:
    assert settings(logging={"level": "WARNING"}).logging.level == "warning"
    assert problems_of(logging={"level": "loud"}) == ["logging.level: must be 'debug', 'info', 'warning' or 'error'"]


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"port": "many"}, "server.port: must be a whole number"),
        ({"port": 1.5}, "server.port: must be a whole number"),
        ({"port": 65_536}, "server.port: must be less than or equal to 65535"),
        ({"keepalive_seconds": "long"}, "server.keepalive_seconds: must be a number"),
        ({"max_json_bytes": "big"}, 'server.max_json_bytes: must be a number of bytes, or a size such as "64KiB"'),
        ({"max_json_bytes": 0}, "server.max_json_bytes: must be greater than or equal to 1"),
        ({"host": ""}, "server.host: must match pattern"),
        ({"host": 5}, "server.host: must be text; put it in quotes"),
        ({"prot": 1}, "server.prot: unknown setting; did you mean server.port?"),
        (5, "server: must be a section with settings of its own"),
    ],
)
def test_values_of_the_wrong_kind(section: object, problem: str) -> None:
    [found] = problems_of(server=section)
    assert found.startswith(problem)


def test_what_follows_from_a_wrong_setting_is_not_reported_too() -> None:
    assert problems_of(server={"port": "x"}, deployments=[{"name": "local"}]) == [
        "server.port: must be a whole number",
        "deployments[0].provider: required",
    ]
