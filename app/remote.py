"""A running gateway's admin routes, as commands use them: what is asked, and what is shown of the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx

TIMEOUT_SECONDS: Final = 900.0
"""A thousand deletions at a slow upstream take their time."""
_WIDEST: Final = 60


class RemoteError(Exception):
    """What was asked for was not done. `misused` says that it was asked for wrongly."""

    def __init__(self, message: str, *, misused: bool = False) -> None:
        super().__init__(message)
        self.misused = misused


class Remote:
    """The gateway at `base_url`, which may end in /v1, as its master key sees it. Raises RemoteError."""

    def __init__(self, base_url: str, key: str) -> None:
        self._base_url = base_url.rstrip("/").removesuffix("/v1")
        self._key = key

    def get(self, path: str, query: Mapping[str, Any]) -> Any:
        """The answer, parsed. None is not sent."""
        return self._ask("GET", path, params=_said(query))

    def post(self, path: str, fields: Mapping[str, Any]) -> Any:
        """The answer, parsed. None is not sent."""
        return self._ask("POST", path, json=_said(fields))

    def _ask(self, method: str, path: str, **asked: Any) -> Any:
        url, headers = f"{self._base_url}{path}", {"authorization": f"Bearer {self._key}"}
        timeout = httpx.Timeout(TIMEOUT_SECONDS, connect=5)
        try:
            answer = httpx.request(method, url, headers=headers, timeout=timeout, **asked)
        except httpx.TimeoutException:
            raise RemoteError(f"the gateway at {self._base_url} took too long") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            hint = "start it with `quaymaster serve`, or say --base-url"
            raise RemoteError(f"nothing answers at {self._base_url} ({error}): {hint}") from None
        except UnicodeEncodeError:
            raise RemoteError("the key holds characters that no key has", misused=True) from None
        try:
            said = answer.json()
            if answer.is_success:
                return said
            message = str(said["error"]["message"])
        except (ValueError, KeyError, TypeError):
            where = f"what answers at {self._base_url}"
            raise RemoteError(f"{where} is no gateway of this kind (status {answer.status_code})") from None
        raise RemoteError(message, misused=answer.status_code == 400)


def show_json(answer: Any) -> None:
    """Print an answer for programs."""
    print(json.dumps(answer, indent=2))


def show_page(answer: Mapping[str, Any]) -> None:
    """Print a page of /container/list."""
    columns = ("id", "owner", "deployment", "name", "status", "created_at", "last_active_at", "files")
    if answer["containers"]:
        _show_table(columns, answer["containers"])
    print(f"{answer['total_count']} in all, page {answer['current_page']} of {answer['total_pages']}.")


def show_container(answer: dict[str, Any]) -> None:
    """Print an answer of /container/info."""
    shares = ", ".join(f"{identity} ({access})" for identity, access in answer["shares"].items())
    width = max(map(len, answer))
    for name, value in (answer | {"shares": shares or None}).items():
        print(f"{name:<{width}}  {_shown(value, whole=True)}")


def show_reaped(answer: Mapping[str, Any]) -> None:
    """Print an answer of /container/reap, and what to do next."""
    columns: tuple[str, ...] = ("id", "owner", "deployment", "name", "created_at", "reason")
    if any(container["outcome"] != "would_delete" for container in answer["containers"]):
        columns += ("outcome", "error")
    if answer["containers"]:
        _show_table(columns, answer["containers"])
        print()
    for name, why in answer["unlisted"].items():
        print(f"The deployment {_shown(name)} was left out, as its list did not answer: {_shown(why, whole=True)}.")
    if not answer["matched"]:
        print("No running container fits.")
    elif answer["dry_run"]:
        print(f"{_counted(answer['matched'])} would be deleted. Nothing was: the same with --yes deletes.")
    else:
        counts = ", ".join(f"{answer[name]} {name}" for name in ("deleted", "gone", "kept", "failed") if answer[name])
        print(f"{_counted(answer['matched'])}: {counts}.")
    if answer["has_more"]:
        print("More fit than are shown here.")


def _show_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    lines = [[name.upper() for name in columns], *([_shown(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _shown(value: object, *, whole: bool = False) -> str:
    """A value for a terminal, which a container's name must not command."""
    if value is None:
        return "-"
    text = "".join(character if character.isprintable() else "?" for character in str(value))
    return text if whole or len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _counted(count: int) -> str:
    return "1 container" if count == 1 else f"{count} containers"


def _said(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
