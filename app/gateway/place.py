"""Phase 3: which deployment."""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.deployments import Deployment


def place(provider: str, deployments: Mapping[str, Deployment]) -> Deployment:
    """The provider's deployment. Every call for one container must reach the same one, so there is one per provider."""
    return deployments[provider]
