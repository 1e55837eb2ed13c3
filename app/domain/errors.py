"""Everything that can go wrong, as the client will see it.

    Exception
    ├── GatewayError          an answer in OpenAI's error envelope; the edge turns its code into a status
    ├── UpstreamFault         a deployment could not be reached, broke off or broke the protocol; no answer yet
    └── ClientGone            the client went away: nobody is left to answer

`GatewayError` carries what the client may read and nothing else: never a key, a secret or an upstream's address.
"""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """`error.code` of the gateway's own answers. The status and type of each stand in `app/api/errors.py`."""

    INVALID_API_KEY = "invalid_api_key"
    """No credential, or one that is not known here."""
    EXPIRED_API_KEY = "expired_api_key"
    """The virtual key's duration is over."""
    BLOCKED_API_KEY = "blocked_api_key"
    """An operator blocked the virtual key."""
    OPERATION_NOT_ALLOWED = "operation_not_allowed"
    """The key is good, and may not do this."""
    CONTAINER_NOT_FOUND = "container_not_found"
    """There is no such container, or it is somebody else's: the same answer. Sent as `code: null`, as OpenAI does."""
    FILE_NOT_FOUND = "file_not_found"
    """An id that no container file can have, or one in a body that names somebody else's. Sent as `code: null`."""
    KEY_NOT_FOUND = "key_not_found"
    """An admin route was given a key that does not exist."""
    ROUTE_NOT_FOUND = "route_not_found"
    """There is nothing at this path."""
    METHOD_NOT_ALLOWED = "method_not_allowed"
    """The path exists, the method does not; `Allow` lists those that do."""
    INVALID_JSON = "invalid_json"
    """A body that had to be JSON is not."""
    INVALID_TYPE = "invalid_type"
    """A parameter has the wrong type."""
    INVALID_VALUE = "invalid_value"
    """A parameter has a value that is not accepted."""
    INTEGER_BELOW_MIN_VALUE = "integer_below_min_value"
    """A number is smaller than it may be."""
    INTEGER_ABOVE_MAX_VALUE = "integer_above_max_value"
    """A number is larger than it may be."""
    INVALID_MULTIPART = "invalid_multipart"
    """A multipart body breaks its own framing."""
    INVALID_REQUEST = "invalid_request"
    """The request is not HTTP, or goes past a limit of the protocol."""
    UNKNOWN_PARAMETER = "unknown_parameter"
    """An admin route was sent a field it does not have."""
    MISSING_REQUIRED_PARAMETER = "missing_required_parameter"
    """A required parameter is absent."""
    UNKNOWN_PROVIDER = "unknown_provider"
    """`custom_llm_provider` names no configured provider."""
    REQUEST_TOO_LARGE = "request_too_large"
    """The body is larger than the configured limit."""
    HEADERS_TOO_LARGE = "headers_too_large"
    """More or larger headers than the gateway reads."""
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    """The deployment could not be reached, or broke the connection before it answered."""
    UPSTREAM_PROTOCOL_ERROR = "upstream_protocol_error"
    """The deployment's answer is not valid HTTP."""
    UPSTREAM_TIMEOUT = "upstream_timeout"
    """The deployment took longer than the configured time."""
    NO_HEALTHY_DEPLOYMENT = "no_healthy_deployment"
    """No deployment can take a new container now, or the one where this container lives is not configured."""
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    """The Idempotency-Key stands for another request."""
    IDEMPOTENCY_KEY_IN_USE = "idempotency_key_in_use"
    """The first request with this Idempotency-Key is not over yet."""
    CONTAINER_TAKEN = "container_taken"
    """The upstream says that it made a container whose id is another owner's."""
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    """The key, its user or its team makes too many requests, in a minute or at the same time."""
    BUDGET_EXCEEDED = "budget_exceeded"
    """A budget or a quota has no room for this: it names whose, how much, and when it starts anew."""
    GROUP_NOT_FOUND = "group_not_found"
    """An admin route was given a team or a user that does not exist."""
    SHUTTING_DOWN = "shutting_down"
    """The process was told to stop, and the time that requests in flight had was over."""
    STORE_UNAVAILABLE = "store_unavailable"
    """The database did not answer, or the disk took no more."""
    INTERNAL_ERROR = "internal_error"
    """A bug in the gateway; the log has the traceback under the request id."""


class GatewayError(Exception):
    """An answer the gateway itself gives.

    `message` is what users read (openai-python shows nothing else), so it is never empty and never holds a secret.
    `param` names the parameter at fault. `retry_after_seconds` becomes a Retry-After header; `should_retry`, where it
    is not None, becomes `x-should-retry`, which OpenAI's SDKs obey. `allow` lists the methods of a 405.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        should_retry: bool | None = None,
        allow: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        self.should_retry = should_retry
        self.allow = allow


class FaultKind(StrEnum):
    """How a deployment failed to answer."""

    UNREACHABLE = "upstream_unreachable"
    TIMEOUT = "upstream_timeout"
    PROTOCOL = "upstream_protocol_error"


class UpstreamFault(Exception):
    """A deployment did not give a whole, valid answer.

    `request_sent` is False only where it is certain that no byte of the request reached the upstream, which is what
    makes sending it again safe for any method. `detail` says what happened, for logs and clients: it never holds
    headers, bodies or addresses.
    """

    def __init__(self, kind: FaultKind, detail: str, *, request_sent: bool) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.request_sent = request_sent


class ClientGone(Exception):
    """The client closed its connection; what was being done for it stops."""
