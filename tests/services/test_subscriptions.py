"""Where a customer stands: there is always a row to lock, and /status tells tier, end and the open order."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from services import subscriptions
from services.config import Settings
from services.db import Database
from services.ledger import Entry, Kind
from services.settlement import settle
from tests.shop import MONTH, change, customer, fact, invoice, row, rows

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def test_locking_makes_a_missing_row_and_tells_the_databases_time(db: Database) -> None:
    await customer(db)
    await change(db, "DELETE FROM subscriptions")
    async with db.begin() as session:
        locked = await subscriptions.lock(session, {1: {"pro"}})
        now = (await session.exec_driver_sql("SELECT now()")).scalar_one()
    assert locked.now == now
    assert (locked.standings[1].tier, locked.standings[1].ends_at) == ("pro", None)
    assert len(await rows(db, "SELECT 1 FROM subscriptions")) == 1


async def test_who_locks_the_same_customers_waits(db: Database) -> None:
    for user_id in (1, 2):
        await customer(db, user_id)
    order: list[str] = []

    async def hold(name: str, *users: int) -> None:
        async with db.begin() as session:
            await subscriptions.lock(session, {user: {"pro"} for user in users})
            order.append(f"{name} in")
            await asyncio.sleep(0.1)
            order.append(f"{name} out")

    await asyncio.gather(hold("a", 2, 1), hold("b", 1, 2))
    assert [one.split()[1] for one in order] == ["in", "out", "in", "out"]


async def test_only_a_change_of_tier_reads_what_the_running_time_is_made_of(
    db: Database, settings: Settings
) -> None:
    await customer(db)
    _, uuid = await invoice(db)
    await settle(db, [fact(uuid)], settings)
    async with db.begin() as session:
        same = await subscriptions.lock(session, {1: {"pro"}})
        other = await subscriptions.lock(session, {1: {"pro", "business"}})
    assert same.standings[1].stretches == ()
    (stretch,) = other.standings[1].stretches
    assert (stretch.amount, stretch.ends_at) == (Decimal(99), same.standings[1].ends_at)


async def test_the_subscription_moves_to_where_its_last_row_ends(db: Database) -> None:
    for user_id in (1, 2):
        await customer(db, user_id)
    month = timedelta(days=30)
    async with db.begin() as session:
        await subscriptions.lock(session, {1: {"pro"}, 2: {"pro"}})
        await subscriptions.write(
            session,
            [
                Entry(1, Kind.GRANT, "pro", MONTH, NOON, NOON + month, "a"),
                Entry(2, Kind.GRANT, "business", MONTH, NOON, NOON + month, "b"),
                Entry(1, Kind.GRANT, "pro", MONTH, NOON + month, NOON + 2 * month, "c"),
            ],
        )
        await subscriptions.write(session, [])
    stored = await rows(
        db, "SELECT user_id, tier, ends_at FROM subscriptions WHERE user_id < 900 ORDER BY user_id"
    )
    assert [(one["user_id"], one["tier"], one["ends_at"]) for one in stored] == [
        (1, "pro", NOON + 2 * month),
        (2, "business", NOON + month),
    ]


async def test_before_the_first_start_there_is_no_status(db: Database) -> None:
    async with db.begin() as session:
        assert await subscriptions.status(session, 1) is None


async def test_status_tells_tier_end_and_the_newest_order_that_can_still_be_paid(
    db: Database, settings: Settings
) -> None:
    await customer(db)
    async with db.begin() as session:
        fresh = await subscriptions.status(session, 1)
    assert fresh is not None
    assert (fresh.tier, fresh.ends_at, fresh.active, fresh.order) == ("free", None, False, None)

    _, uuid = await invoice(db)
    await settle(db, [fact(uuid)], settings)
    await invoice(db, superseded=False, age=timedelta(minutes=5), period="year", amount="950.40")
    newest, invoice_uuid = await invoice(db, superseded=False, status="partial", amount="98.00")
    await invoice(db, superseded=False, status="expired", amount="97.00")
    await invoice(db, superseded=False, amount="96.00", expires_at=datetime.now(UTC) - timedelta(minutes=1))
    await invoice(db, superseded=True)
    async with db.begin() as session:
        seen = await subscriptions.status(session, 1)
    assert seen is not None
    stored = await row(db, "SELECT ends_at FROM subscriptions WHERE user_id = 1")
    assert (seen.tier, seen.ends_at, seen.active) == ("pro", stored["ends_at"], True)
    assert (seen.order, seen.order_status, seen.order_amount) == (newest, "partial", Decimal(98))
    assert seen.order_url == f"https://pay.example/{invoice_uuid}"


async def test_time_is_over_at_its_very_end(db: Database) -> None:
    await customer(db)
    await change(db, "UPDATE subscriptions SET tier = 'pro', ends_at = now() WHERE user_id = 1")
    async with db.begin() as session:
        seen = await subscriptions.status(session, 1)
    assert seen is not None
    assert not seen.active
    assert (await row(db, "SELECT state FROM entitlements WHERE telegram_id = 1"))["state"] == "expired"


async def test_end_dates_follow_the_databases_clock_and_fixed_seconds_over_any_calendar(
    db: Database, settings: Settings
) -> None:
    await customer(db)
    _, uuid = await invoice(db, seconds=365 * 86_400)
    async with db.begin() as session:  # a session that lives in a zone with summer time
        await session.exec_driver_sql("SET LOCAL TIME ZONE 'America/New_York'")
        before = (await session.exec_driver_sql("SELECT now()")).scalar_one()
    await settle(db, [fact(uuid)], settings)
    entry = await row(db, "SELECT starts_at, ends_at FROM subscription_ledger")
    assert entry["ends_at"] - entry["starts_at"] == timedelta(days=365)
    assert timedelta(0) <= entry["starts_at"] - before < timedelta(minutes=1)
