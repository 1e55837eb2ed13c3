"""What the API answers: frozen models, every published field, unknown fields kept.

Times are unix seconds, sizes are bytes, as they are on the wire. A field that a server adds later is an attribute too,
and in `model_extra`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, model_validator

OnProgress = Callable[[int, int | None], object]
"""Called during a transfer with the bytes of the file so far, and those of the whole file (None: not known)."""


class ApiObject(BaseModel, frozen=True, extra="allow"):
    """What every answer is: frozen, and open to fields it does not know."""


class ExpiresAfter(ApiObject, frozen=True):
    """When a container dies: `minutes` after `anchor`, which is "last_active_at"."""

    anchor: str | None = None
    minutes: int | None = None


class NetworkPolicy(ApiObject, frozen=True):
    """What a container may reach. `type` is "disabled" or "allowlist"; secrets are never told."""

    type: str
    allowed_domains: list[str] | None = None


class Container(ApiObject, frozen=True):
    """A container. `status` is "running", "expired", or what else the provider says.

    `expires_at` is the server's, or else `last_active_at` plus `expires_after`, or None where those are not known.
    Using a container puts it off.
    """

    id: str
    object: str = "container"
    created_at: int
    name: str
    status: str
    last_active_at: int | None = None
    expires_after: ExpiresAfter | None = None
    expires_at: int | None = None
    memory_limit: str | None = None
    network_policy: NetworkPolicy | None = None
    file_ids: list[str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _work_out_expiry(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("expires_at") is not None:
            return data
        last_active_at, expires_after = data.get("last_active_at"), data.get("expires_after")
        minutes = expires_after.get("minutes") if isinstance(expires_after, dict) else None
        if isinstance(last_active_at, int) and isinstance(minutes, int):
            return data | {"expires_at": last_active_at + minutes * 60}
        return data


class ContainerDeleted(ApiObject, frozen=True):
    """The answer to a delete: `deleted` is True."""

    id: str
    object: str = "container.deleted"
    deleted: bool = True


class ContainerFile(ApiObject, frozen=True):
    """A file in a container. `bytes` is None where the provider does not say how large the file is.

    `path` is where it lies in the container. `filename` is the server's, or else the last part of `path`. `source` is
    "user" for what was uploaded and "assistant" for what a model made.
    """

    id: str
    object: str = "container.file"
    container_id: str
    created_at: int
    bytes: int | None = None
    path: str
    filename: str = ""
    source: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _name(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("filename"):
            return data
        path = data.get("path")
        return data | {"filename": path.rstrip("/").rpartition("/")[2] if isinstance(path, str) else ""}


class ContainerFileDeleted(ApiObject, frozen=True):
    """The answer to a file's delete: `deleted` is True."""

    id: str
    object: str = "container.file.deleted"
    deleted: bool = True
