"""What the shop of a chaos run sells: six periods of two tiers, each at a price that no other has.

So a customer can have six open invoices of one tier, and the price of an invoice says what was bought.
"""

from decimal import Decimal
from pathlib import Path

from services.tiers import PriceList, read_tiers

TIERS = """
currency = "USD"
[periods]
week = { days = 7 }
fortnight = { days = 14 }
month = { days = 30 }
pair = { days = 60, discount = 2 }
quarter = { days = 90, discount = 5 }
year = { days = 365, months = 12, discount = 20 }
[tiers.free]
price = 0
title = { en = "Free" }
[tiers.pro]
price = 99
title = { en = "Pro" }
[tiers.business]
price = 299
title = { en = "Business" }
"""


def write_tiers(folder: Path) -> Path:
    """Write the price list where the processes can read it."""
    file = folder / "tiers.toml"
    file.write_text(TIERS)
    return file


def prices(file: Path) -> tuple[PriceList, dict[Decimal, tuple[str, str]]]:
    """Read the price list, and which tier and period has which price."""
    price_list = read_tiers(file)
    by_price = {
        price_list.price_for(tier, period): (tier.code, period.code)
        for tier in price_list.paid_tiers
        for period in price_list.periods.values()
    }
    return price_list, by_price
