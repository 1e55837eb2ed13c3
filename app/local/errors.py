"""What the embedded provider refuses, in OpenAI's words, types and codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

QUOTED_CHARS: Final = 80
"""How much of a client's own value is quoted back to it."""

_JSON_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


class DataDirInUse(Exception):
    """Another process (or another server in this one) has the data folder open."""


class ApiError(Exception):
    """An answer in OpenAI's error envelope. `message` is never empty and never holds a secret."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = headers

    def envelope(self) -> dict[str, object]:
        """The JSON body: all four keys, null where there is nothing to say."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def container_not_found(container_id: str) -> ApiError:
    """Unknown or deleted."""
    return ApiError(404, f"Container with id '{container_id}' not found.")


def container_expired() -> ApiError:
    """Its time is over: it is still listed, but what was in it is gone."""
    return ApiError(400, "Container is expired.")


def container_file_not_found(container_id: str, file_id: str) -> ApiError:
    """No such file in a container that exists."""
    return ApiError(404, f"File {file_id} not found on container {container_id}.")


def file_not_found(file_id: str) -> ApiError:
    """No such file under /v1/files."""
    return ApiError(404, f"No such File object: {file_id}", param="id")


def file_not_usable(file_id: str, param: str) -> ApiError:
    """A body names a file that is not under /v1/files: a 404 would look like a missing container."""
    return ApiError(400, f"File with id '{file_id[:QUOTED_CHARS]}' not found.", param=param, code="invalid_value")


def cursor_not_found(after: str) -> ApiError:
    """A page after an id that was never in this list."""
    return ApiError(
        400, f"Invalid 'after': no item with id '{after[:QUOTED_CHARS]}'.", param="after", code="invalid_value"
    )


def missing(param: str) -> ApiError:
    """A required parameter is absent."""
    return ApiError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def wrong_type(param: str, expected: str, value: object) -> ApiError:
    """`expected` reads "a string"; of the value only its JSON type is told."""
    got = _JSON_KINDS.get(type(value), "something else")
    message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
    return ApiError(400, message, param=param, code="invalid_type")


def unsupported(param: str, value: str, supported: Sequence[str]) -> ApiError:
    """A string that is none of those supported (two or more)."""
    *others, last = (f"'{word}'" for word in supported)
    message = f"Invalid value: '{value[:QUOTED_CHARS]}'. Supported values are: {', '.join(others)} and {last}."
    return ApiError(400, message, param=param, code="invalid_value")


def invalid(param: str, why: str) -> ApiError:
    """A value of the right type that means nothing."""
    return ApiError(400, f"Invalid '{param}': {why}.", param=param, code="invalid_value")


def out_of_range(param: str, value: int, minimum: int, maximum: int) -> ApiError:
    """An integer outside `minimum`..`maximum`."""
    above = value > maximum
    side, sign, bound = ("above maximum", "<=", maximum) if above else ("below minimum", ">=", minimum)
    shown = str(value)[:QUOTED_CHARS]
    message = f"Invalid '{param}': integer {side} value. Expected a value {sign} {bound}, but got {shown} instead."
    code = "integer_above_max_value" if above else "integer_below_min_value"
    return ApiError(400, message, param=param, code=code)


def too_long(param: str, characters: int, maximum: int) -> ApiError:
    """A string, or what is kept of an object, longer than `maximum`."""
    message = (
        f"Invalid '{param}': string too long. Expected a string with maximum length {maximum}, "
        f"but got a string with length {characters} instead."
    )
    return ApiError(400, message, param=param, code="string_above_max_length")


def too_large(what: str, max_bytes: int) -> ApiError:
    """A body or file past its limit."""
    return ApiError(413, f"{what} is too large: the limit is {max_bytes} bytes.", code="request_too_large")


def bad_json() -> ApiError:
    """The body had to be a JSON object."""
    return ApiError(400, "We could not parse the JSON body of your request. A JSON object was expected.")


def bad_multipart(why: str) -> ApiError:
    """A multipart body breaks its own framing."""
    return ApiError(400, f"Invalid multipart body: {why}.", code="invalid_multipart")
