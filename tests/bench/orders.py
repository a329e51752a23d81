"""Customers with one open order each, by the thousand, written by the database itself.

Everything about an order follows from its number, so that the outside world can know it without asking.
"""

import hashlib
import time
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import URL, text

from sandbox.invoices import DEFAULT_COIN, Invoice
from services.db import Database
from tests.conftest import ADMIN, administer
from tests.shop import DAY, MONTH

FIRST_INVOICE: Final = 10_000_000
FIRST_CUSTOMER: Final = 5_000_000
PRICE: Final = Decimal("99.00")


def customer_of(number: int) -> int:
    return FIRST_CUSTOMER + number


def payment_of(number: int) -> UUID:
    return UUID(hashlib.md5(str(number).encode()).hexdigest())


def invoice_of(number: int) -> str:
    """The invoice's short id; digits only, so that pgbench can count them up."""
    return str(FIRST_INVOICE + number)


def issued(number: int, url: str = "https://pay.example") -> Invoice:
    """The invoice as CryptoCloud knows it."""
    uuid, now = invoice_of(number), time.time()
    return Invoice(
        uuid=uuid,
        order_id=str(payment_of(number)),
        amount_in_fiat=PRICE,
        fiat_currency="USD",
        coin=DEFAULT_COIN,
        link=f"{url}/pay/{uuid}",
        test_mode=False,
        created=now,
        expires=now + DAY,
    )


async def take_orders(url: URL, count: int) -> None:
    """Write customers and their orders 1 to `count`; nobody is asked about them within the hour."""
    for statement in (
        f"INSERT INTO users (telegram_id, first_name) SELECT {FIRST_CUSTOMER} + n, 'Customer ' || n"
        f" FROM generate_series(1, {count}) n",
        f"INSERT INTO users (telegram_id) VALUES ({ADMIN})",
        "INSERT INTO subscriptions (user_id, tier) SELECT telegram_id, 'free' FROM users",
        f"""
        INSERT INTO payments (id, user_id, tier, period, period_seconds, amount, currency, status,
                              invoice_uuid, invoice_url, expires_at, next_check_at)
        SELECT md5(n::text)::uuid, {FIRST_CUSTOMER} + n, 'pro', 'month', {MONTH}, {PRICE}, 'USD', 'pending',
               ({FIRST_INVOICE} + n)::text, 'https://pay.example/' || n, now() + interval '24 hours',
               now() + interval '1 hour'
          FROM generate_series(1, {count}) n
        """,
        "VACUUM ANALYZE",
    ):
        await administer(url, statement)


async def count(db: Database, query: str) -> int:
    """Ask for one number."""
    async with db.begin() as session:
        return int(await session.scalar(text(query)) or 0)
