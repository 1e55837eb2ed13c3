"""The control plane put together: keys, teams, users, containers and spend.

FastAPI and all of this take a fifth of a second to import: that is done on a thread, while containers are served.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp

from app.api.admin.administration import KeyAdministration
from app.api.admin.audit import audit_routes
from app.api.admin.container_administration import ContainerAdministration
from app.api.admin.containers import container_routes
from app.api.admin.group_administration import TEAM, USER, GroupAdministration
from app.api.admin.groups import team_routes, user_routes
from app.api.admin.keys import key_routes
from app.api.admin.spend import spend_routes
from app.api.admin.spend_administration import SpendAdministration
from app.api.admin.standings import Standings
from app.api.framework import build_framework
from app.api.health import Health
from app.domain.deployments import Deployment
from app.gateway.authenticate import Authenticator
from app.registry.ownership import Ownerships
from app.registry.reap import Reaper
from app.storage.audit import SqlAuditLog
from app.storage.containers import SqlContainerStore
from app.storage.engine import Database
from app.storage.groups import sql_teams, sql_users
from app.storage.keys import SqlKeyStore
from app.storage.ledger import SqlLedger
from app.storage.reports import SqlSpendReports
from quaymaster.version import VERSION


def build_control_plane(
    database: Database,
    keys: SqlKeyStore,
    authenticator: Authenticator,
    health: Health,
    *,
    containers: SqlContainerStore,
    deployments: Mapping[str, Deployment],
    ownerships: Ownerships,
    reaper: Reaper,
) -> ASGIApp:
    """FastAPI with the routes of everything that is administered."""
    audit = SqlAuditLog(database)
    standings = Standings(SqlLedger(database), audit)
    of_keys = KeyAdministration(keys, authenticator.forget, standings, deployments)
    of_teams = GroupAdministration(TEAM, sql_teams(database), authenticator.forget_team, standings)
    of_users = GroupAdministration(USER, sql_users(database), authenticator.forget_user, standings)
    of_containers = ContainerAdministration(
        containers, keys, deployments=deployments, ownerships=ownerships, reaper=reaper
    )
    routers = [
        key_routes(of_keys),
        team_routes(of_teams, of_keys),
        user_routes(of_users, of_keys),
        audit_routes(audit),
        container_routes(of_containers),
        spend_routes(SpendAdministration(SqlSpendReports(database), keys)),
    ]
    return build_framework(routers, health, VERSION)
