"""What a create asks for, checked as strictly as OpenAI does. Fields we don't know are ignored.

Guesses, where nobody has shown what OpenAI does: an optional field that is null counts as absent, a file that does not
exist is a 400, and so is a name or a policy too long to show a hundred of in a list.
"""

from __future__ import annotations

import base64
import binascii
import io
import zipfile
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson

from app.local.errors import invalid, missing, out_of_range, too_long, unsupported, wrong_type
from app.local.http import json_object

T = TypeVar("T")
Json = dict[str, Any]

MEMORY_LIMITS: Final = ("1g", "4g", "16g", "64g")
MIN_MINUTES: Final = 1
MAX_MINUTES: Final = 20
MAX_NAME_CHARS: Final = 1024
MAX_POLICY_CHARS: Final = 16 * 1024

_KINDS: Final[dict[type, str]] = {str: "a string", int: "an integer", list: "an array", dict: "an object"}


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container to be made. `network_policy` is JSON that holds no secret."""

    name: str
    minutes: int
    memory_limit: str
    network_policy: str
    file_ids: tuple[str, ...]


def read_spec(content: bytes) -> ContainerSpec:
    """The body of a create. Raises ApiError (400) that names the first parameter at fault.

    Blocks for as long as it takes to look at the skills, which may hold 70 MB: run it in a thread.
    """
    body = json_object(content)
    name = _required(body, "name", str)
    if len(name) > MAX_NAME_CHARS:
        raise too_long("name", len(name), MAX_NAME_CHARS)
    minutes = _minutes(body)
    memory_limit = _optional(body, "memory_limit", str)
    if memory_limit is None:
        memory_limit = MEMORY_LIMITS[0]
    elif memory_limit not in MEMORY_LIMITS:
        raise unsupported("memory_limit", memory_limit, MEMORY_LIMITS)
    policy = orjson.dumps(_network_policy(_optional(body, "network_policy", dict))).decode()
    if len(policy) > MAX_POLICY_CHARS:
        raise too_long("network_policy", len(policy), MAX_POLICY_CHARS)
    for place, skill in enumerate(_items(body, "skills", dict)):
        _check_skill(skill, f"skills[{place}]")
    file_ids = tuple(_items(body, "file_ids", str))
    return ContainerSpec(name, minutes, memory_limit, policy, file_ids)


def read_file_id(content: bytes) -> str | None:
    """The file of /v1/files that a JSON body names, if it does. Raises ApiError (400)."""
    return _optional(json_object(content), "file_id", str)


def _required(owner: Json, key: str, kind: type[T], at: str = "") -> T:
    if key not in owner:
        raise missing(at + key)
    return _typed(owner[key], kind, at + key)


def _optional(owner: Json, key: str, kind: type[T], at: str = "") -> T | None:
    value = owner.get(key)
    return None if value is None else _typed(value, kind, at + key)


def _items(owner: Json, key: str, kind: type[T], at: str = "") -> list[T]:
    values = _optional(owner, key, list, at) or []
    return [_typed(value, kind, f"{at}{key}[{place}]") for place, value in enumerate(values)]


def _typed(value: object, kind: type[T], param: str) -> T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise wrong_type(param, _KINDS[kind], value)
    return value


def _text(owner: Json, key: str, at: str) -> str:
    """A required string that says something."""
    value = _required(owner, key, str, at)
    if not value:
        raise invalid(at + key, "expected a string that is not empty")
    return value


def _choice(owner: Json, key: str, choices: tuple[str, ...], at: str) -> str:
    value = _required(owner, key, str, at)
    if value not in choices:
        raise unsupported(at + key, value, choices)
    return value


def _minutes(body: Json) -> int:
    expiry = _optional(body, "expires_after", dict)
    if expiry is None:
        return MAX_MINUTES
    anchor = _required(expiry, "anchor", str, "expires_after.")
    if anchor != "last_active_at":
        raise invalid("expires_after.anchor", "the only supported value is 'last_active_at'")
    minutes = _required(expiry, "minutes", int, "expires_after.")
    if not MIN_MINUTES <= minutes <= MAX_MINUTES:
        raise out_of_range("expires_after.minutes", minutes, MIN_MINUTES, MAX_MINUTES)
    return minutes


def _network_policy(policy: Json | None) -> Json:
    """The policy as it is stored and echoed: only the fields named here, so no secret gets through."""
    if policy is None:
        return {"type": "disabled"}
    at = "network_policy."
    if _choice(policy, "type", ("disabled", "allowlist"), at) == "disabled":
        return {"type": "disabled"}
    _required(policy, "allowed_domains", list, at)
    domains = _items(policy, "allowed_domains", str, at)
    if not domains:
        raise invalid("network_policy.allowed_domains", "expected at least one domain")
    checked: Json = {"type": "allowlist", "allowed_domains": domains}
    secrets = _items(policy, "domain_secrets", dict, at)
    if secrets:
        checked["domain_secrets"] = [
            _without_value(secret, f"network_policy.domain_secrets[{place}].") for place, secret in enumerate(secrets)
        ]
    return checked


def _without_value(secret: Json, at: str) -> Json:
    _text(secret, "value", at)
    return {"domain": _text(secret, "domain", at), "name": _text(secret, "name", at)}


def _check_skill(skill: Json, at: str) -> None:
    if _choice(skill, "type", ("skill_reference", "inline"), f"{at}.") == "skill_reference":
        _text(skill, "skill_id", f"{at}.")
        _optional(skill, "version", str, f"{at}.")
        return
    _text(skill, "name", f"{at}.")
    _required(skill, "description", str, f"{at}.")
    source, at = _required(skill, "source", dict, f"{at}."), f"{at}.source."
    for key, only in (("type", "base64"), ("media_type", "application/zip")):
        if _required(source, key, str, at) != only:
            raise invalid(at + key, f"the only supported value is '{only}'")
    try:
        archive = base64.b64decode(_required(source, "data", str, at), validate=True)
    except binascii.Error:
        raise invalid(f"{at}data", "expected base64") from None
    if not zipfile.is_zipfile(io.BytesIO(archive)):
        raise invalid(f"{at}data", "expected a zip archive")
