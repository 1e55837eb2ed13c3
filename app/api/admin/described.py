"""What the API's description says of an admin route; the route itself checks, so that it answers in our own words."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Sequence
from typing import Any

from pydantic import BaseModel


class Described(dict[str, Any]):
    """An `openapi_extra` that is worked out when FastAPI reads its items, to write the API's description.

    Few gateways are ever asked for it, and the models' schemas take more than a megabyte.
    """

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        super().__init__()
        self._describe = describe

    def __bool__(self) -> bool:
        return True

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """What there is to say."""
        return self._describe().items()


def takes_body(model: type[BaseModel], *, parameters: Sequence[dict[str, Any]] = ()) -> Described:
    """A JSON body of this form, and parameters that are described already."""

    def describe() -> dict[str, Any]:
        body = {"content": {"application/json": {"schema": model.model_json_schema()}}}
        return {"requestBody": body, **({"parameters": list(parameters)} if parameters else {})}

    return Described(describe)


def takes_query(model: type[BaseModel]) -> Described:
    """Query parameters of these names."""

    def describe() -> dict[str, Any]:
        schema = model.model_json_schema()
        required = schema.get("required", ())
        return {
            "parameters": [
                {"name": name, "in": "query", "required": name in required, "schema": field}
                for name, field in schema["properties"].items()
            ]
        }

    return Described(describe)
