"""What all public functions have in common: their last arguments, in their help; and help with misspelt ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

COMMON: Final = """\
Every function also takes:
    custom_llm_provider: whose API it is, such as "openai" or "azure". Default: openai, or what the gateway uses.
    api_key: the key. Default: OPENAI_API_KEY, AZURE_API_KEY, …; QUAYMASTER_API_KEY for a gateway.
    api_base: the base URL. Default: QUAYMASTER_API_BASE, a gateway's; else OPENAI_BASE_URL, AZURE_API_BASE, …
    api_version: sent as `api-version` (Azure). Default: AZURE_API_VERSION, else none.
    timeout: seconds to wait for the server at each step, or an httpx.Timeout. Default: 600, and 5 to connect.
    max_retries: how often to try again after a failure that may pass. Default: 2.
    extra_headers, extra_query: added to the request; they win over what is sent otherwise.
    extra_body: fields added to a JSON body or a form. Where nothing is sent, only custom_llm_provider counts in it.

Raises:
    MissingCredentialError: no key or no base URL; it names the variable to set.
    InvalidArgumentError: an empty id, or another argument that can never be right (a ValueError).
    TypeError: an argument that there is not; it names the nearest.
    APIConnectionError, APITimeoutError: no whole answer came.
    APIStatusError: the server said no; by status BadRequestError, AuthenticationError, PermissionDeniedError,
        NotFoundError, RateLimitError, InternalServerError, … ContainerExpiredError for a container that is no more.
    APIResponseValidationError: the answer cannot be understood.
"""

_OTHER_NAMES: Final = {
    "base_url": "api_base",
    "url": "api_base",
    "provider": "custom_llm_provider",
    "model": "custom_llm_provider",
    "headers": "extra_headers",
    "default_headers": "extra_headers",
    "query": "extra_query",
    "default_query": "extra_query",
    "body": "extra_body",
    "path": "file",
    "filename": "file",
    "before": "after",
    "retries": "max_retries",
    "num_retries": "max_retries",
    "request_timeout": "timeout",
    "memory": "memory_limit",
    "ttl": "expires_after",
    "organization": "extra_headers",
}
"""What other libraries call it, where the nearest spelling would mislead."""


def spelled(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function's TypeError for an unknown argument name the nearest known one."""
    names = frozenset(
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY} and name != "self"
    )

    def check(given: dict[str, Any]) -> None:
        for name in given:
            if name not in names:
                raise TypeError(_unknown(function, name, names))

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            check(kwargs)
            return await function(*args, **kwargs)

        return cast("Callable[P, R]", awaited)

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        check(kwargs)
        return function(*args, **kwargs)

    return called


def public(function: Callable[P, R]) -> Callable[P, R]:
    """A public function: help with misspelt arguments, and the common ones explained in its docstring."""
    described = spelled(function)
    described.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\n{COMMON}"
    return described


def twin_of(blocking: Callable[..., Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A public function that is the asynchronous twin of another: the same arguments, the same help."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        described = spelled(function)
        own = inspect.cleandoc(function.__doc__ or "")
        described.__doc__ = f"{own}\n\nThe asynchronous twin of `{blocking.__name__}`:\n\n{blocking.__doc__ or ''}"
        return described

    return decorate


def _unknown(function: Callable[..., Any], name: str, names: frozenset[str]) -> str:
    label = function.__qualname__.removesuffix(".__init__")
    synonym = _OTHER_NAMES.get(name)
    nearest = [synonym] if synonym in names else get_close_matches(name, sorted(names), 1, 0.5)
    hint = f". Did you mean '{nearest[0]}'?" if nearest else f"; it takes {', '.join(sorted(names))}."
    return f"{label}() has no argument '{name}'{hint}"
