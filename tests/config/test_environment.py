from __future__ import annotations

import pytest

from app.config.environment import read_environment


def test_variables_become_a_tree() -> None:
    environ = {
        "QUAYMASTER_SERVER__PORT": "8080",
        "QUAYMASTER_SERVER__HOST": "::1",
        "QUAYMASTER_DATA_DIR": "/data",
        "QUAYMASTER_HOOKS__PLUGINS": '["a:B"]',
        "PATH": "/bin",
    }
    assert read_environment(environ) == (
        {"server": {"port": "8080", "host": "::1"}, "data_dir": "/data", "hooks": {"plugins": ["a:B"]}},
        [],
    )


def test_common_names_are_read_and_the_long_ones_are_stronger() -> None:
    environ = {"QUAYMASTER_DATABASE_URL": "sqlite:///long", "DATABASE_URL": "sqlite:///short", "REDIS_URL": "redis://r"}
    tree = {"database_url": "sqlite:///long", "redis_url": "redis://r"}
    assert read_environment(environ) == (tree, [])
    assert read_environment(dict(reversed(environ.items()))) == (tree, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QUAYMASTER_CONFIG", "x.yaml"),
        ("QUAYMASTER_API_KEY", "sk-1"),
        ("QUAYMASTER_API_BASE", "http://x"),
        ("QUAYMASTER_SERVICE_HOST", "10.0.0.1"),
        ("QUAYMASTER_SERVICE_PORT", "4000"),
        ("QUAYMASTER_SERVICE_PORT_HTTP", "4000"),
        ("QUAYMASTER_PORT", "tcp://10.0.0.1:4000"),
        ("QUAYMASTER_PORT_4000_TCP", "tcp://10.0.0.1:4000"),
        ("QUAYMASTER_PORT_4000_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_names_that_are_no_settings_are_passed_over(name: str, value: str) -> None:
    assert read_environment({name: value}) == ({}, [])


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("QUAYMASTER_SERVER__PROT", "unknown setting; did you mean QUAYMASTER_SERVER__PORT?"),
        ("QUAYMASTER_PORT", "unknown setting; did you mean QUAYMASTER_SERVER__PORT?"),
        ("QUAYMASTER_server__port", "unknown setting; did you mean QUAYMASTER_SERVER__PORT?"),
        ("QUAYMASTER_SERVER", "unknown setting"),
        ("QUAYMASTER_WHATEVER", "unknown setting"),
        ("QUAYMASTER_DEPLOYMENTS", "must be a list, written as JSON"),
        ("QUAYMASTER_HOOKS__PLUGINS", "must be a list, written as JSON"),
    ],
)
@pytest.mark.parametrize("value", ["hunter2", '{"hunter2": 1}'])
def test_what_is_wrong_is_named_without_its_value(name: str, problem: str, value: str) -> None:
    assert read_environment({name: value}) == ({}, [f"{name}: {problem}"])
