"""A running gateway's admin routes, as commands use them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx

from app.commands.exits import CommandError, ExitCode, code_of_status, nothing_answers
from app.commands.fields import NULL

TIMEOUT_SECONDS: Final = 900.0
"""A thousand deletions at a slow upstream take their time."""


class Admin:
    """The gateway at `base_url`, which may end in /v1, as the holder of an operator's key sees it.

    Every method raises CommandError. What is None is not sent; `NULL` is sent as null.
    """

    def __init__(self, base_url: str, key: str) -> None:
        self._base_url = base_url.rstrip("/").removesuffix("/v1")
        self._key = key

    def get(self, path: str, query: Mapping[str, Any]) -> Any:
        """The answer, parsed."""
        return self._parsed(self._ask("GET", path, params=_said(query)))

    def get_csv(self, path: str, query: Mapping[str, Any]) -> tuple[str, bool]:
        """The answer, which is for spreadsheets, and whether there are more lines than it has."""
        answer = self._ask("GET", path, params=_said(query))
        if not answer.headers.get("content-type", "").startswith("text/csv"):
            raise self._no_gateway(answer)
        return answer.text, answer.headers.get("x-quaymaster-has-more") == "true"

    def post(self, path: str, fields: Mapping[str, Any]) -> Any:
        """The answer, parsed."""
        body = {name: None if value is NULL else value for name, value in _said(fields)}
        return self._parsed(self._ask("POST", path, json=body))

    def _ask(self, method: str, path: str, **asked: Any) -> httpx.Response:
        url, headers = f"{self._base_url}{path}", {"authorization": f"Bearer {self._key}"}
        timeout = httpx.Timeout(TIMEOUT_SECONDS, connect=5)
        try:
            answer = httpx.request(method, url, headers=headers, timeout=timeout, **asked)
        except httpx.TimeoutException:
            raise CommandError(f"the gateway at {self._base_url} took too long", ExitCode.UNREACHABLE) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CommandError(nothing_answers(self._base_url, error), ExitCode.UNREACHABLE) from None
        except UnicodeEncodeError:
            raise CommandError("the key holds characters that no key has", ExitCode.MISUSED) from None
        if answer.is_success:
            return answer
        try:
            message = str(self._parsed(answer)["error"]["message"])
        except (KeyError, TypeError):
            raise self._no_gateway(answer) from None
        raise CommandError(message, code_of_status(answer.status_code))

    def _parsed(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError:
            raise self._no_gateway(answer) from None

    def _no_gateway(self, answer: httpx.Response) -> CommandError:
        return CommandError(
            f"what answers at {self._base_url} is no gateway of this kind (status {answer.status_code})"
        )


def _said(fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in fields.items() if value is not None]
