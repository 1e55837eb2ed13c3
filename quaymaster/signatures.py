"""What all public functions have in common: their last arguments, in their help; and help with misspelt ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from typing import Any, Final, TypeVar, cast

from quaymaster.options import CallOptions

F = TypeVar("F", bound=Callable[..., Any])

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


def taking(options: type) -> Callable[[F], F]:
    """For a function with `**options`, as this TypedDict has them: its signature shows each of them, and its TypeError
    for one that there is not names the nearest."""

    def decorate(function: F) -> F:
        signature = _signature(function, options)
        names = frozenset(signature.parameters) - {"self"}

        def check(given: dict[str, Any]) -> None:
            for name in given:
                if name not in names:
                    raise TypeError(_unknown(function, name, names))

        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                check(kwargs)
                return await function(*args, **kwargs)

            wrapper: Any = awaited
        else:

            @wraps(function)
            def called(*args: Any, **kwargs: Any) -> Any:
                check(kwargs)
                return function(*args, **kwargs)

            wrapper = called
        wrapper.__signature__ = signature
        return cast(F, wrapper)

    return decorate


def public(function: F) -> F:
    """A public function: the common arguments are explained in its docstring too."""
    described = taking(CallOptions)(function)
    described.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\n{COMMON}"
    return described


def twin_of(blocking: Callable[..., Any]) -> Callable[[F], F]:
    """A public function that is the asynchronous twin of another: the same arguments, the same help."""

    def decorate(function: F) -> F:
        described = taking(CallOptions)(function)
        own = inspect.cleandoc(function.__doc__ or "")
        described.__doc__ = f"{own}\n\nThe asynchronous twin of `{blocking.__name__}`:\n\n{blocking.__doc__ or ''}"
        return described

    return decorate


def _signature(function: Callable[..., Any], options: type) -> inspect.Signature:
    """A function's signature, with each option in place of `**options`."""
    written = inspect.signature(function)
    own = [each for each in written.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    common = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=getattr(kind, "__forward_arg__", kind)
        )
        for name, kind in options.__annotations__.items()
    ]
    return written.replace(parameters=own + common)


def _unknown(function: Callable[..., Any], name: str, names: frozenset[str]) -> str:
    label = function.__qualname__.removesuffix(".__init__")
    synonym = _OTHER_NAMES.get(name)
    nearest = [synonym] if synonym in names else get_close_matches(name, sorted(names), 1, 0.5)
    hint = f". Did you mean '{nearest[0]}'?" if nearest else f"; it takes {', '.join(sorted(names))}."
    return f"{label}() has no argument '{name}'{hint}"
