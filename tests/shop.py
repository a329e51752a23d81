"""Customers, orders and facts for tests, and questions about what became of them."""

import dataclasses
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from services import users
from services.cryptocloud import InvoiceFact, ProviderStatus
from services.db import Database
from services.users import Person

DAY = 86_400
MONTH = 30 * DAY


async def customer(db: Database, telegram_id: int = 1, **known: Any) -> Person:
    """Let a customer say hello."""
    person = Person(telegram_id, **({"first_name": f"Customer {telegram_id}"} | known))
    async with db.begin() as session:
        await users.meet(session, person, "free")
    return person


async def invoice(
    db: Database,
    user_id: int = 1,
    *,
    tier: str = "pro",
    period: str = "month",
    seconds: int = MONTH,
    amount: str = "99.00",
    currency: str = "USD",
    status: str = "pending",
    uuid: str | None = None,
    age: timedelta = timedelta(0),
    **columns: Any,
) -> tuple[UUID, str]:
    """Write an order whose invoice the customer has; tells the payment's id and the invoice's."""
    payment_id, uuid = uuid4(), uuid or uuid4().hex[:8].upper()
    given = {
        "id": payment_id,
        "user_id": user_id,
        "tier": tier,
        "period": period,
        "period_seconds": seconds,
        "amount": Decimal(amount),
        "currency": currency,
        "status": status,
        "invoice_uuid": uuid,
        "invoice_url": f"https://pay.example/{uuid}",
        "created_at": datetime.now(UTC) - age,
        "expires_at": datetime.now(UTC) - age + timedelta(hours=24),
        "next_check_at": datetime.now(UTC) - age,
        "superseded": True,
    } | columns
    names = ", ".join(given)
    async with db.begin() as session:
        await session.execute(
            text(f"INSERT INTO payments ({names}) VALUES ({', '.join(':' + name for name in given)})"), given
        )
    return payment_id, uuid


def fact(uuid: str, status: str = "paid", **said: Any) -> InvoiceFact:
    """What CryptoCloud says of an invoice, as sparse as the documented answer unless more is given."""
    known = {one.value for one in ProviderStatus}
    usual: dict[str, Any] = {field.name: None for field in dataclasses.fields(InvoiceFact)}
    usual |= {
        "uuid": uuid,
        "status": ProviderStatus(status) if status in known else ProviderStatus.UNKNOWN,
        "status_word": status,
        "test_mode": False,
        "transactions": (),
    }
    return InvoiceFact(**(usual | said))


async def rows(db: Database, query: str, **values: Any) -> list[dict[str, Any]]:
    """Ask the database through a fresh connection."""
    async with db.begin() as session:
        return [dict(row._mapping) for row in await session.execute(text(query), values)]


async def row(db: Database, query: str, **values: Any) -> dict[str, Any]:
    """Ask for exactly one row."""
    (only,) = await rows(db, query, **values)
    return only


async def payment(db: Database, payment_id: UUID) -> dict[str, Any]:
    """Read a payment as stored."""
    return await row(db, "SELECT * FROM payments WHERE id = :id", id=payment_id)


async def keys(db: Database, user_id: int | None = None) -> list[str]:
    """Name what people are to be told, in the order it was written."""
    found = await rows(db, "SELECT key, user_id FROM notifications ORDER BY id")
    return [one["key"] for one in found if user_id in (None, one["user_id"])]
