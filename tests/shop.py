"""Customers, orders and facts for tests, and questions about what became of them."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from sandbox.app import Sandbox, running
from sandbox.invoices import DEFAULT_COIN, Invoice, new_uuid
from sandbox.world import World
from services import users
from services.cryptocloud import CryptoCloud, InvoiceFact, ProviderStatus
from services.db import Database
from services.payments import Payment, Status
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


def ordered(**known: Any) -> Payment:
    """A pending payment as it would be read from the database: a month of Pro for 99 USD."""
    usual: dict[str, Any] = dict.fromkeys(Payment.__slots__)
    usual |= {
        "id": UUID("0f8fad5b-d9cb-469f-a165-70867728950e"),
        "user_id": 1,
        "tier": "pro",
        "period": "month",
        "period_seconds": MONTH,
        "amount": Decimal("99.00"),
        "currency": "USD",
        "status": Status.PENDING,
        "overpaid": False,
        "late": False,
        "review": False,
        "invoice_uuid": "ABCD1234",
        "superseded": False,
        "cancel_requested": False,
        "created_at": datetime(2026, 3, 1, tzinfo=UTC),
    }
    return Payment(**(usual | known))


@dataclasses.dataclass(frozen=True)
class Provider:
    """CryptoCloud as an outside world of its own, and the shop's client for it."""

    sandbox: Sandbox
    client: CryptoCloud

    @property
    def world(self) -> World:
        return self.sandbox.world

    def fail(self, kind: str, method: str = "*", *, times: int | None = 1, **options: Any) -> None:
        """Let the next calls of a method go wrong."""
        self.world.faults.add("cryptocloud", kind, method=method, times=times, **options)

    def mend(self) -> None:
        """Let nothing go wrong any more."""
        self.world.faults.clear()

    def calls(self, method: str) -> int:
        """Count how often a method was called."""
        return sum(one["method"] == method for one in self.world.provider_calls)

    def issue(self, *, order_id: str | None = None, amount: str = "99.00", currency: str = "USD") -> Invoice:
        """Make an invoice that our shop has not asked for just now."""
        uuid, now = new_uuid(), time.time()
        self.world.invoices[uuid] = Invoice(
            uuid=uuid,
            order_id=order_id,
            amount_in_fiat=Decimal(amount),
            fiat_currency=currency,
            coin=DEFAULT_COIN,
            link=f"{self.sandbox.url}/pay/{uuid}",
            test_mode=False,
            created=now,
            expires=now + DAY,
        )
        return self.world.invoices[uuid]

    def pay(self, uuid: str, amount: Decimal | None = None) -> None:
        """Let a customer pay what is missing, or an amount; the postback is lost."""
        invoice = self.world.invoices[uuid]
        invoice.pay(invoice.to_surcharge if amount is None else amount)


@contextlib.asynccontextmanager
async def cryptocloud_world(
    *, create_seconds: float = 8.0, read_seconds: float = 15.0
) -> AsyncIterator[Provider]:
    """Run CryptoCloud on loopback for as long as the block runs; the seconds are the client's patience."""
    world = World()
    async with running(world) as sandbox:
        client = CryptoCloud(
            api_url=sandbox.url,
            api_key=world.credentials.api_key,
            shop_id=world.credentials.shop_id,
            create_seconds=create_seconds,
            read_seconds=read_seconds,
        )
        yield Provider(sandbox, client)
        await client.aclose()


async def change(db: Database, statement: str, **values: Any) -> None:
    """Move data by hand, in a transaction of its own."""
    async with db.begin() as session:
        await session.execute(text(statement), values)


async def until(happened: Callable[[], object]) -> None:
    """Wait for something outside to have happened."""
    async with asyncio.timeout(10):
        while not happened():  # noqa: ASYNC110 - the outside world has no event for us
            await asyncio.sleep(0.01)
