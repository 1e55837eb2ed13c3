"""What the key routes take and give. The names are those that LiteLLM made common."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.api.admin.validation import nearest
from app.domain.durations import parse_duration
from app.domain.keys import PREFIX, is_key_id
from quaymaster.operations import BY_NAME, matching

MAX_METADATA_BYTES: Final = 64 * 1024
_PATTERNS: Final = ("*", "containers.*", "containers.files.*", *BY_NAME)


def _storable(text: str) -> str:
    """No database keeps these two."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("it holds a NUL character or half a surrogate pair")
    return text


def _no_key_itself(alias: str) -> str:
    if is_key_id(alias) or alias.startswith(PREFIX):
        raise ValueError("an alias may not look like a key or a key id")
    return alias


def _known_pattern(pattern: str) -> str:
    if not matching((pattern,)):
        near = nearest(pattern, _PATTERNS) or "containers.*"
        raise ValueError(f"no operation matches '{pattern}'; the nearest that does is '{near}'")
    return pattern


def _small_and_storable(metadata: dict[str, Any]) -> dict[str, Any]:
    try:
        size_bytes = len(orjson.dumps(metadata))
    except orjson.JSONEncodeError:
        raise ValueError("it is nested too deeply, or not JSON") from None
    if size_bytes > MAX_METADATA_BYTES:
        raise ValueError(f"it is larger than {MAX_METADATA_BYTES} bytes as JSON")
    rest: list[Any] = [metadata]
    while rest:
        value = rest.pop()
        if isinstance(value, str):
            _storable(value)
        elif isinstance(value, dict):
            rest += [*value, *value.values()]
        elif isinstance(value, list):
            rest += value
    return metadata


def _read_duration(text: object) -> timedelta:
    if not isinstance(text, str):
        raise PydanticCustomError("string_type", "Input should be a valid string")
    return parse_duration(text)


Text = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_storable)]
Alias = Annotated[Text, AfterValidator(_no_key_itself)]
KeyName = Annotated[Text, Field(description="The key, its id or its alias")]
Pattern = Annotated[Text, AfterValidator(_known_pattern)]
Metadata = Annotated[dict[str, Any], AfterValidator(_small_and_storable)]
Duration = Annotated[
    timedelta,
    BeforeValidator(_read_duration),
    WithJsonSchema({"type": "string", "examples": ["30s", "15m", "12h", "30d", "2w", "1mo"]}),
]


class Wish(BaseModel):
    """A body or query whose every field is known and of the right type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class KeyFields(Wish):
    """What can be set on a key. A field that is absent stays as it is; null brings the default back."""

    key_alias: Alias | None = Field(None, description="A unique name")
    duration: Duration | None = Field(None, description="How long the key works from now on; null for ever")
    metadata: Metadata | None = Field(None, description="Whatever you want to remember about the key")
    tags: Annotated[list[Text], Field(max_length=100)] | None = Field(None, description="For reports")
    allowed_operations: Annotated[list[Pattern], Field(max_length=100)] | None = Field(
        None, description="Operations or patterns, such as containers.files.*; null for all"
    )
    container_scope: Literal["own", "all"] | None = Field(
        None, description="Which containers it sees: its owner's and shared ones, or all; null for own"
    )
    allowed_deployments: Annotated[list[Text], Field(max_length=100)] | None = Field(
        None, description="Deployments it may choose with x-quaymaster-deployment, * for any; null for none"
    )
    user_id: Text | None = Field(None, description="Whose key it is; its containers belong to the user")
    team_id: Text | None = Field(None, description="The team that its containers belong to")
    blocked: bool | None = Field(None, description="Whether the key is refused; null leaves it as it is")


class GenerateKey(KeyFields):
    """POST /key/generate."""


class UpdateKey(KeyFields):
    """POST /key/update."""

    key: KeyName


class RegenerateKey(KeyFields):
    """POST /key/regenerate and /key/{key}/regenerate."""

    key: KeyName | None = None
    grace_period: Duration | None = Field(None, description="How long the secret until now goes on working")


class NamedKey(Wish):
    """POST /key/block and /key/unblock; GET /key/info."""

    key: KeyName


class DeleteKeys(Wish):
    """POST /key/delete: by name, by alias, or both. Either all are deleted or none."""

    keys: Annotated[list[KeyName], Field(max_length=100)] = []
    key_aliases: Annotated[list[Text], Field(max_length=100)] = []


class ListKeys(BaseModel):
    """GET /key/list."""

    model_config = ConfigDict(extra="forbid")

    page: int = Field(1, ge=1, le=1_000_000)
    size: int = Field(10, ge=1, le=100)
    user_id: Text | None = None
    team_id: Text | None = None
    key_alias: Text | None = None


class KeyView(BaseModel):
    """A key without its secret."""

    key_id: str
    key_name: str = Field(description="The key with its secret left out")
    key_alias: str | None
    expires: datetime | None
    created_at: datetime
    updated_at: datetime
    blocked: bool
    user_id: str | None
    team_id: str | None
    tags: list[str]
    metadata: dict[str, Any]
    allowed_operations: list[str]
    container_scope: Literal["own", "all"]
    allowed_deployments: list[str]
    previous_expires: datetime | None = Field(description="Until when the secret before the last one works too")


class GeneratedKey(KeyView):
    """A new key, or a key's new secret: the only time it is shown."""

    key: str


class KeyInfo(BaseModel):
    """A key id and what is known of the key."""

    key: str
    info: KeyView


class KeyPage(BaseModel):
    """One page of keys, newest first."""

    keys: list[KeyView]
    total_count: int
    current_page: int
    total_pages: int


class DeletedKeys(BaseModel):
    """The ids of the keys that are no more."""

    deleted_keys: list[str]
