from __future__ import annotations

import pytest

from app.config.addresses import check_api_base, is_loopback


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.10", "::1", "0:0:0:0:0:0:0:1"])
def test_only_this_machine_reaches_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "::",
        "",
        "10.0.0.1",
        "128.0.0.1",
        "::ffff:127.0.0.1",
        "localhost.example.com",
        "gateway",
        "127.1",
        "[::1]",
    ],
)
def test_everything_else_counts_as_public(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost:8080//", "http://localhost:8080"),
    ],
)
def test_a_base_url_loses_its_trailing_slashes(url: str, base: str) -> None:
    assert check_api_base(url) == base


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("api.openai.com/v1", "must be a URL with a host, starting with https:// or http://"),
        ("ftp://host/v1", "must be a URL with a host"),
        ("https:///v1", "must be a URL with a host"),
        ("https://host:99999/v1", "must be a URL with a host"),
        ("https://host:0/v1", "must be a URL with a host"),
        ("https://[::1/v1", "must be a URL with a host"),
        ("https://host/v1?api-version=1", "must not have a query or a fragment"),
        ("https://host/v1?", "must not have a query or a fragment"),
        ("https://host/v1#top", "must not have a query or a fragment"),
        ("https://hunter2@host/v1", "must not hold a user name or password"),
        ("https://me:hunter2@host/v1", "must not hold a user name or password"),
        ("https://host/v1\r\nx: y", "without spaces, control characters"),
        ("https://host/a b", "without spaces, control characters"),
        ("https://höst/v1", "letters outside ASCII"),
    ],
)
def test_what_is_no_base_url_is_refused_without_repeating_it(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match="must") as refusal:
        check_api_base(url)
    assert reason in str(refusal.value)
    assert "hunter2" not in str(refusal.value)
