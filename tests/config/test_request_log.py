from __future__ import annotations

from pathlib import Path

import pytest

from app.config.load import load_settings
from app.config.problems import ConfigurationError
from app.config.request_log import RequestLogSettings

REFUSED = {
    "webhook_url: https://logs.test/x": "request_log.webhook_secret: signs what is posted",
    "{webhook_url: https://logs.test/x, webhook_secret: too-short}": "at least 16 characters",
    "webhook_url: https://user:hush@logs.test/": "must not hold a user name or password",
    "webhook_url: ftp://logs.test/": "must be a URL",
    "when_full: explode": "request_log.when_full",
    "retain_days: -1": "request_log.retain_days",
    "file_count: 0": "request_log.file_count",
}


def loaded(folder: Path, section: str) -> RequestLogSettings:
    path = folder / "config.yaml"
    path.write_text(f"request_log: {section if section.startswith('{') else '{' + section + '}'}")
    return load_settings(path, {}).request_log


@pytest.mark.parametrize(("section", "says"), REFUSED.items())
def test_what_is_refused(tmp_path: Path, section: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        loaded(tmp_path, section)
    assert says in str(refused.value)
    assert "hush" not in str(refused.value)


def test_a_webhook_that_is_signed(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "{webhook_url: 'https://logs.test/x?y', webhook_secret: a-secret-of-sixteen}")
    assert settings.webhook_url == "https://logs.test/x?y"
    assert "sixteen" not in repr(settings)
