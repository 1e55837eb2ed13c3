from __future__ import annotations

import pytest

from app.upstream.origin import Origin


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://api.openai.com", Origin(True, "api.openai.com", 443, b"api.openai.com")),
        ("https://api.openai.com:443/", Origin(True, "api.openai.com", 443, b"api.openai.com")),
        ("http://API.example:80", Origin(False, "api.example", 80, b"api.example")),
        ("http://localhost:8080", Origin(False, "localhost", 8080, b"localhost:8080")),
        ("https://[::1]:8443", Origin(True, "::1", 8443, b"[::1]:8443")),
    ],
)
def test_origins(text: str, origin: Origin) -> None:
    assert Origin.parse(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.openai.com",
        "ftp://api.openai.com",
        "https://",
        "https://user:pass@api.openai.com",
        "https://api.openai.com/v1",
        "https://api.openai.com?x",
        "https://api.openai.com#x",
        "https://api.openai.com:99999",
        "https://api.openai.com:x",
        "https://caf\u00e9.example",
        "https://a\r\nb.example",
        "https://a b.example",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"[Oo]rigin|[Pp]ort") as caught:
        Origin.parse(text)
    assert "pass" not in str(caught.value)
