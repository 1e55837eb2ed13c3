"""What the API's description says of an admin route; the route itself checks, so that it answers in our own words."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


def takes_body(model: type[BaseModel]) -> dict[str, Any]:
    """A JSON body of this form."""
    return {"requestBody": {"content": {"application/json": {"schema": model.model_json_schema()}}}}


def takes_query(model: type[BaseModel]) -> dict[str, Any]:
    """Query parameters of these names."""
    schema = model.model_json_schema()
    required = schema.get("required", ())
    return {
        "parameters": [
            {"name": name, "in": "query", "required": name in required, "schema": field}
            for name, field in schema["properties"].items()
        ]
    }
