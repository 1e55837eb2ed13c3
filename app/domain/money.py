"""Money is an integer of nano-USD (a thousand-millionth of a dollar). `None` is not 0: it is no price, or no limit."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Final

NANOUSD_PER_USD: Final = 10**9
MAX_NANOUSD: Final = 10**18
"""A thousand million dollars: sums of many of these still fit the 64 bits that databases count in."""


def to_nanousd(usd: Decimal | float | str) -> int:
    """Dollars as nano-USD; a part of one is rounded up. A float counts as the decimal it is written as.

    Raises ValueError for what is no amount: negative, not finite, or above a thousand million dollars.
    """
    try:
        amount = Decimal(str(usd))
    except InvalidOperation:
        raise ValueError(f"expected an amount in dollars, such as 2.50; got {str(usd)[:40]!r}") from None
    if not amount.is_finite() or not 0 <= amount <= MAX_NANOUSD // NANOUSD_PER_USD:
        raise ValueError("expected an amount of 0 to 1000000000 dollars")
    return int((amount * NANOUSD_PER_USD).to_integral_value(ROUND_CEILING))


def to_usd(nanousd: int) -> float:
    """Nano-USD as dollars, for JSON: the nearest float, which is written with the same digits up to 15 of them."""
    return nanousd / NANOUSD_PER_USD


def usd_text(nanousd: int) -> str:
    """Nano-USD as dollars in decimal digits, exactly and without an exponent: "0.0075"."""
    sign, amount = ("-", -nanousd) if nanousd < 0 else ("", nanousd)
    whole, part = divmod(amount, NANOUSD_PER_USD)
    return f"{sign}{whole}.{part:09d}".rstrip("0").rstrip(".")
