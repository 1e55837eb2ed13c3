from __future__ import annotations

import ast
import inspect

import pytest

from app.config import deployments, registry, settings
from app.config.catalogue import all_settings, nearest_setting, nearest_variable


def test_settings_are_found_in_sections_and_lists() -> None:
    found = all_settings()
    assert found["server.port"].variable == "QUAYMASTER_SERVER__PORT"
    assert found["deployments"].is_list
    assert found["deployments"].variable == "QUAYMASTER_DEPLOYMENTS"
    assert found["deployments[].timeouts.read_seconds"].variable is None
    assert found["hooks.plugins[].use"].variable is None
    assert not {"server", "logging", "hooks", "deployments[].timeouts"} & found.keys()


@pytest.mark.parametrize(
    ("unknown", "near"),
    [
        ("server.prot", "server.port"),
        ("servr", "server"),
        ("port", "server.port"),
        ("server_port", "server.port"),
        ("log_level", "logging.level"),
        ("deployment", "deployments"),
        ("deployments[openai-main].api_kye", "deployments[openai-main].api_key"),
        ("deployments[3].timeouts.read_second", "deployments[3].timeouts.read_seconds"),
        ("api_base", "deployments[].api_base"),
        ("general_settings", None),
        ("deployments[main].wieght", "deployments[main].weight"),
        ("deployments[main].colour", None),
    ],
)
def test_the_nearest_setting(unknown: str, near: str | None) -> None:
    assert nearest_setting(unknown) == near


@pytest.mark.parametrize(
    ("unknown", "near"),
    [
        ("QUAYMASTER_SERVER__PROT", "QUAYMASTER_SERVER__PORT"),
        ("QUAYMASTER_SERVER_PORT", "QUAYMASTER_SERVER__PORT"),
        ("QUAYMASTER_PORT", "QUAYMASTER_SERVER__PORT"),
        ("QUAYMASTER_MASTERKEY", "QUAYMASTER_MASTER_KEY"),
        ("QUAYMASTER_API_KEYS", None),
        ("QUAYMASTER_", None),
    ],
)
def test_the_nearest_variable(unknown: str, near: str | None) -> None:
    assert nearest_variable(unknown) == near


@pytest.mark.parametrize("module", [deployments, registry, settings])
def test_every_setting_says_what_it_is(module: object) -> None:
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]
    fields = [
        (node, following)
        for section in tree.body
        if isinstance(section, ast.ClassDef)
        for node, following in zip(section.body, [*section.body[1:], None], strict=True)
        if isinstance(node, ast.AnnAssign) and not ast.unparse(node.target).startswith("_")
    ]
    assert fields
    for node, following in fields:
        documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        assert documented, f"{ast.unparse(node.target)} has no docstring"
