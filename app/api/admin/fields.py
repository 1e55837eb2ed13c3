"""What the fields of admin routes may hold."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final

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
KeyAlias = Annotated[Text, AfterValidator(_no_key_itself)]
KeyName = Annotated[Text, Field(description="The key, its id or its alias")]
Pattern = Annotated[Text, AfterValidator(_known_pattern)]
Tags = Annotated[list[Text], Field(max_length=100)]
Metadata = Annotated[dict[str, Any], AfterValidator(_small_and_storable)]
Duration = Annotated[
    timedelta,
    BeforeValidator(_read_duration),
    WithJsonSchema({"type": "string", "examples": ["30s", "15m", "12h", "30d", "2w", "1mo"]}),
]


class Wish(BaseModel):
    """A body or query whose every field is known and of the right type."""

    model_config = ConfigDict(extra="forbid", strict=True)
