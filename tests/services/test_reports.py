"""Revenue: by the moment of payment, in the shop's days, per currency and tier, only what is really paid."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from services import reports
from services.config import Settings
from services.db import Database
from services.reports import Earned
from services.settlement import settle
from tests.shop import change, customer, fact, invoice


async def sale(db: Database, when: str, amount: str = "99.00", **columns: Any) -> None:
    """Write a paid payment whose moment is an SQL expression."""
    payment_id, _ = await invoice(db, amount=amount, **columns)
    await change(db, f"UPDATE payments SET status = 'paid', paid_at = {when} WHERE id = :id", id=payment_id)


async def revenue(db: Database, zone: str = "UTC") -> dict[tuple[str, str, str], tuple[int, Decimal]]:
    async with db.begin() as session:
        earned = await reports.revenue(session, zone)
    return {(one.span, one.currency, one.tier): (one.sales, one.amount) for one in earned}


async def test_a_shop_without_sales_has_earned_nothing(db: Database) -> None:
    assert await revenue(db) == {}


ZONES = ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "America/St_Johns"]


async def test_days_begin_at_midnight_of_the_shops_zone(db: Database) -> None:
    await customer(db)
    before = {"today": "1000", "week": "20000", "month": "300000"}
    after = {"today": "1", "week": "20", "month": "300"}
    for amount in (*before.values(), *after.values()):
        await sale(db, "now()", amount)
    for zone in ZONES:
        for span, days in (("today", 0), ("week", 6), ("month", 29)):
            begin = f"(date_trunc('day', now() AT TIME ZONE '{zone}') - interval '{days} days') AT TIME ZONE '{zone}'"
            moved = "UPDATE payments SET paid_at = {} WHERE amount = {}"
            await change(db, moved.format(begin, after[span]))
            await change(db, moved.format(f"{begin} - interval '1 us'", before[span]))
        found = await revenue(db, zone)
        assert {span: amount for (span, _, _), (_, amount) in found.items()} == {
            "today": Decimal(1),
            "week": Decimal(1 + 1000 + 20),
            "month": Decimal(1 + 1000 + 20 + 20_000 + 300),
            "all": Decimal(321_321),
        }, zone


async def test_currencies_and_tiers_are_never_added_up(db: Database) -> None:
    await customer(db)
    await sale(db, "now()", "99.10")
    await sale(db, "now()", "0.20")
    await sale(db, "now()", "299", tier="business")
    await sale(db, "now()", "9000", currency="RUB")
    async with db.begin() as session:
        today = [one for one in await reports.revenue(session, "UTC") if one.span == "today"]
    assert today == [
        Earned("today", "RUB", "pro", 1, Decimal(9000)),
        Earned("today", "USD", "business", 1, Decimal(299)),
        Earned("today", "USD", "pro", 2, Decimal("99.30")),
    ]


async def test_only_what_is_paid_and_not_doubted_counts(db: Database, settings: Settings) -> None:
    await customer(db)
    await sale(db, "now()")
    for status in ("pending", "partial", "expired", "canceled"):
        await invoice(db, status=status, amount="1000")
    await sale(db, "now()", "5000")
    await change(db, "UPDATE payments SET status = 'refunded' WHERE amount = 5000")
    _, doubted = await invoice(db, amount="7000")
    await settle(db, [fact(doubted, order_id="somebody-else")], settings)
    assert (await revenue(db))["all", "USD", "pro"] == (1, Decimal(99))


async def test_a_payment_counts_on_the_day_the_provider_finished_it(db: Database, settings: Settings) -> None:
    await customer(db)
    _, uuid = await invoice(db)
    await settle(db, [fact(uuid, finished_at=datetime.now(UTC) - timedelta(days=3))], settings)
    found = await revenue(db)
    assert ("today", "USD", "pro") not in found
    assert found["week", "USD", "pro"] == (1, Decimal(99))
