"""Orders for containers, and accounts that pay for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from app.domain.accounts import Account, AccountKind, Limits
from app.domain.spending import Order, Price
from tests.storage.containers import at

BY_THE_MINUTE = Price(nanousd_per_unit=1_500_000, minimum_minutes=5)
BY_SESSION = Price(nanousd_per_unit=30_000_000, unit_minutes=20)
WHOLE_LIFE = 30_000_000
"""What either costs for the 20 minutes that a container lives unused."""


def account(kind: AccountKind = AccountKind.KEY, id: str = "0123456789abcdef", **limits: Any) -> Account:
    """An account with these limits; the key that makes the containers of these tests."""
    return Account(kind=kind, id=id, limits=Limits(**limits))


def order(*accounts: Account, **fields: Any) -> Order:
    """A container of 1 GB that is ordered at noon, by the minute; by default for a key without limits."""
    made = Order(
        accounts=accounts or (account(),),
        provider="openai",
        deployment="here",
        memory_limit="1g",
        memory_gb=1,
        price=BY_THE_MINUTE,
        minutes=20,
        tags=("red", "blue"),
        request_id="req_1",
        started_at=at(0),
    )
    return replace(made, **fields)
