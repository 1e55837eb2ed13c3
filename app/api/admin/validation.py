"""From what an admin route was sent to a checked model, and from what is wrong with it to one GatewayError."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.domain.errors import ErrorCode, GatewayError

Model = TypeVar("Model", bound=BaseModel)

_ABOUT_TYPES: Final = ("_type", "_parsing")
"""How pydantic's names of errors end where the type is wrong, and not the value."""


def from_json(model: type[Model], body: bytes) -> Model:
    """Check a JSON body; no body is an empty object. Raises GatewayError for what is wrong with it."""
    return checked(model, object_in(body))


def object_in(body: bytes) -> dict[str, Any]:
    """The object that a JSON body is; no body is an empty one. Raises GatewayError where it is something else."""
    try:
        fields = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        raise GatewayError(ErrorCode.INVALID_JSON, "The request body is not valid JSON.") from None
    if not isinstance(fields, dict):
        raise GatewayError(ErrorCode.INVALID_TYPE, "The request body must be a JSON object.")
    return fields


def from_query(model: type[Model], query: Iterable[tuple[str, str]]) -> Model:
    """Check a query string's parameters, each of which may stand there once. Raises GatewayError."""
    fields: dict[str, str] = {}
    for name, value in query:
        if name in fields:
            raise GatewayError(
                ErrorCode.INVALID_VALUE, f"The parameter '{_shown(name)}' stands here twice.", param=_shown(name)
            )
        fields[name] = value
    return checked(model, fields)


def checked(model: type[Model], fields: Mapping[str, Any]) -> Model:
    """Check named values. Raises GatewayError for all unknown names together, else for the first wrong value."""
    try:
        return model.model_validate(fields)
    except ValidationError as invalid:
        raise _translated(model, invalid.errors(include_url=False, include_input=False)) from None


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that was probably meant."""
    return next(iter(difflib.get_close_matches(word[:256], list(words), n=1)), None)


def _translated(model: type[BaseModel], errors: list[ErrorDetails]) -> GatewayError:
    unknown = [str(error["loc"][0]) for error in errors if error["type"] == "extra_forbidden"]
    if unknown:
        return _unknown_parameters(unknown, model.model_fields)
    error = errors[0]
    param = _shown(".".join(str(part) for part in error["loc"]))
    if error["type"] == "missing":
        return GatewayError(
            ErrorCode.MISSING_REQUIRED_PARAMETER, f"Missing required parameter: '{param}'.", param=param
        )
    reason = str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"].replace("Input", "it", 1)
    if error["type"].endswith(_ABOUT_TYPES):
        return GatewayError(ErrorCode.INVALID_TYPE, f"Invalid type for '{param}': {reason}.", param=param)
    return GatewayError(ErrorCode.INVALID_VALUE, f"Invalid value for '{param}': {reason}.", param=param)


def _unknown_parameters(names: list[str], known: Iterable[str]) -> GatewayError:
    sentences = []
    for name in names[:8]:
        near = nearest(name, known)
        sentences.append(f"Unknown parameter: '{_shown(name)}'." + (f" Did you mean '{near}'?" if near else ""))
    return GatewayError(ErrorCode.UNKNOWN_PARAMETER, " ".join(sentences), param=_shown(names[0]))


def _shown(name: str) -> str:
    """A name from a request, short enough to be repeated in an answer."""
    return name if len(name) <= 64 else f"{name[:64]}..."
