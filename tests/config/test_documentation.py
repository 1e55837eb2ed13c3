"""config.yaml and docs/configuration.md are held to the models: neither can go stale."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic.fields import FieldInfo

from app.config.catalogue import Setting, all_settings
from app.config.deployments import TimeoutSettings
from app.config.environment import NOT_SETTINGS, SHORT_NAMES
from app.config.load import load_settings
from app.config.settings import Settings
from app.config.sizes import parse_size

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "config.yaml"
KEYS = dict.fromkeys(("OPENAI_API_KEY", "AZURE_API_KEY", "OCI_API_KEY", "IN_HOUSE_API_KEY"), "sk-1")
DEPENDS_ON_OTHERS = {"deployments[].data_dir"}
"""Filled in by `Settings`, though the field itself has None."""


def page() -> str:
    return (ROOT / "docs" / "configuration.md").read_text()


def rows() -> dict[str, list[str]]:
    """Cells of the page's rows about settings, by the setting's path: type, default, what for, environment."""
    cells = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in page().splitlines() if "|" in line
    ]
    return {row[0].strip("`"): row[1:] for row in cells if len(row) == 5 and row[0].startswith("`")}


def with_examples_switched_on() -> str:
    return re.sub(r"^( *)#(?=-|  )", r"\1", SHIPPED.read_text(), flags=re.MULTILINE)


def paths_in(tree: Any, prefix: str = "") -> set[str]:
    if isinstance(tree, list):
        return {path for item in tree for path in paths_in(item, f"{prefix}[]")} | {prefix}
    if isinstance(tree, dict):
        dot = f"{prefix}." if prefix else ""
        return {path for name, value in tree.items() for path in paths_in(value, dot + name)} | {prefix}
    return {prefix}


def test_the_shipped_file_has_every_setting() -> None:
    assert all_settings().keys() <= paths_in(yaml.safe_load(with_examples_switched_on()))


def test_the_shipped_file_holds_the_defaults() -> None:
    loaded = load_settings(SHIPPED, {})
    assert loaded.model_dump() == Settings().model_dump()
    assert loaded.stands_in_for_openai
    assert load_settings(SHIPPED, KEYS).model_dump() == load_settings(Path(os.devnull), KEYS).model_dump()


def test_the_shipped_file_takes_the_addresses_of_stores_from_the_environment() -> None:
    loaded = load_settings(SHIPPED, {"DATABASE_URL": "postgresql://db/x", "QUAYMASTER_MASTER_KEY": "sk-master"})
    assert loaded.database_url.get_secret_value() == "postgresql://db/x"
    assert loaded.master_key is not None


def test_every_example_in_the_shipped_file_works(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(with_examples_switched_on())
    loaded = load_settings(file, KEYS)
    assert [d.provider for d in loaded.deployments] == ["openai", "local", "azure", "oci", "in-house"]
    assert all(d.timeouts == TimeoutSettings() for d in loaded.deployments)
    assert loaded.hooks.plugins[0].options == {"file": "/var/log/audit.jsonl"}
    assert [d.name for d in load_settings(file, {}).deployments] == ["local"]


def test_the_page_has_every_setting_and_no_other() -> None:
    assert sorted(rows()) == sorted(all_settings())


@pytest.mark.parametrize("setting", all_settings().values(), ids=lambda setting: setting.path)
def test_the_page_names_the_variables(setting: Setting) -> None:
    short = [name for name, path in SHORT_NAMES.items() if path == setting.path]
    variables = [f"`{name}`" for name in [*short, setting.variable] if name]
    assert rows()[setting.path][3] == ", ".join(variables)


@pytest.mark.parametrize("setting", all_settings().values(), ids=lambda setting: setting.path)
def test_the_page_agrees_on_defaults(setting: Setting) -> None:
    kind, written, what_for, _ = rows()[setting.path]
    assert what_for
    default = ... if setting.path in DEPENDS_ON_OTHERS else default_of(setting.field)
    if default is ...:
        assert written not in ("", "none", "required")
    elif kind == "size":
        assert parse_size(written.strip("`")) == default
    else:
        assert written == default if default in ("none", "required") else written == f"`{default}`"


def default_of(field: FieldInfo) -> Any:
    """As the page should have it; ... where it depends on other settings."""
    if field.is_required():
        return "required"
    if field.default_factory is dict or field.default in (None, ()):
        return "none"
    if field.default_factory is not None or isinstance(field.default, tuple):
        return ...
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return f"{field.default:g}" if isinstance(field.default, float) else field.default


def test_the_page_names_the_variables_that_are_no_settings() -> None:
    assert all(f"`{name}`" in page() for name in NOT_SETTINGS)
