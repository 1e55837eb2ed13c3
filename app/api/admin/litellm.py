"""What LiteLLM's admin calls may send that has no meaning here.

Such a field is passed over where it asks for nothing (null, false, "", [], {} or its default) and refused where it asks
for something: whoever wants a limit on tokens must not believe that there is one.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from pydantic import BaseModel

from app.api.admin.validation import checked, object_in
from app.domain.errors import ErrorCode, GatewayError

Model = TypeVar("Model", bound=BaseModel)

_MODELS: Final = "containers have no models"
_TOKENS: Final = "containers have no tokens; rpm_limit and max_budget limit them"
_ROUTES: Final = "allowed_operations says what a key may do"
_MEMBERS: Final = "a team has the keys that name it: /key/generate takes team_id"
_ORGANIZATIONS: Final = "there are teams, and nothing above them"
_BUDGETS: Final = "a budget is part of its key, team or user: max_budget and budget_duration"
_CONTENT: Final = "the content of requests is not looked into"
_ROTATION: Final = "/key/regenerate gives a key a new secret"

MEANINGLESS: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("models", "aliases", "model_aliases", "model_max_budget", "model_rpm_limit", "model_tpm_limit"), _MODELS
    ),
    **dict.fromkeys(("tpm_limit", "tpm_limit_type", "rpm_limit_type", "team_member_tpm_limit"), _TOKENS),
    **dict.fromkeys(("allowed_routes", "permissions", "key_type", "allowed_passthrough_routes"), _ROUTES),
    **dict.fromkeys(
        ("members_with_roles", "members", "admins", "teams", "team_member_permissions", "team_member_budget"), _MEMBERS
    ),
    **dict.fromkeys(("organization_id", "organizations"), _ORGANIZATIONS),
    **dict.fromkeys(("budget_id", "budget_limits", "temp_budget_increase", "temp_budget_expiry"), _BUDGETS),
    **dict.fromkeys(
        ("guardrails", "policies", "prompts", "enforced_params", "object_permission", "allowed_cache_controls"),
        _CONTENT,
    ),
    **dict.fromkeys(("auto_rotate", "rotation_interval"), _ROTATION),
    "config": "settings are those of the gateway",
    "router_settings": "settings are those of the gateway",
    "send_invite_email": "no mail is sent from here",
    "sso_user_id": "there is no sign-on here",
    "user_role": "roles are of keys: /key/generate takes role",
}
"""LiteLLM's fields without a meaning here, and what is said of each."""

_DEFAULTS: Final = {"user_role": "internal_user", "key_type": "default"}
"""Values that ask for nothing more than there is."""


def from_litellm(model: type[Model], body: bytes) -> Model:
    """Check a JSON body that may have been written for LiteLLM. Raises GatewayError."""
    fields = object_in(body)
    return checked(model, {name: value for name, value in fields.items() if not _is_idle(name, value)})


def _is_idle(name: str, value: Any) -> bool:
    """Whether a field can be passed over. Raises GatewayError UNKNOWN_PARAMETER where it asks for something."""
    if name not in MEANINGLESS:
        return False
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number or (value and value != _DEFAULTS.get(name)):  # 0 is the strictest of limits
        raise GatewayError(
            ErrorCode.UNKNOWN_PARAMETER, f"'{name}' has no meaning here: {MEANINGLESS[name]}.", param=name
        )
    return True
