"""Races that a loaded shop loses once in a while, played slowly here, so that they are lost every time."""

import asyncio
from uuid import UUID

import pytest
from sqlalchemy import text

from services import notifications, payments, subscriptions
from services.checkout import order
from services.config import Settings
from services.db import Database
from services.notifications import Kind, Notification
from services.payments import Answer
from services.settlement import settle
from services.tiers import PriceList
from tests.shop import cryptocloud_world, customer, fact, invoice, keys, payment, rows

HIGH, LOW = (UUID(f"{digit}0000000-0000-4000-8000-000000000000") for digit in "92")


async def test_a_hint_that_began_before_the_check_and_is_committed_after_it_is_not_lost(db: Database) -> None:
    """By its clock the hint is older than the check, and the check has not seen it all the same."""
    await customer(db)
    payment_id, _ = await invoice(db)
    async with db.begin() as hint:
        await hint.execute(text("SELECT now()"))  # a transaction's time is that of its first statement
        async with db.begin() as session:
            token, due = await payments.claim_due(session, lease_seconds=60)
        await payments.wake(hint, payment_id)
    async with db.begin() as session:
        await payments.release(session, token, [(one, Answer.ANSWERED) for one in due], check_seconds=60)

    (left,) = await rows(db, "SELECT next_check_at <= now() AS due FROM payments")
    assert left["due"]


async def test_a_batch_locks_its_payments_in_the_order_of_their_ids(db: Database) -> None:
    await customer(db)
    uuids = [(await invoice(db, id=payment_id))[1] for payment_id in (HIGH, LOW)]  # the table has them so

    async def lock_both() -> None:
        async with db.begin() as session:
            await payments.lock_by_invoice(session, uuids)

    async with db.begin() as session:
        await payments.lock(session, LOW)
        batch = asyncio.create_task(lock_both())
        await asyncio.sleep(0.3)
        await payments.lock(session, HIGH)  # a deadlock, if the batch had taken it first
    await batch


async def test_a_batch_locks_its_subscriptions_in_the_order_of_their_customers(db: Database) -> None:
    for user in (7, 3):  # the table has them so
        await customer(db, user)

    async def lock_both() -> None:
        async with db.begin() as session:
            await subscriptions.lock(session, {7: {"pro"}, 3: {"pro"}})

    async with db.begin() as session:
        await subscriptions.lock(session, {3: {"pro"}})
        batch = asyncio.create_task(lock_both())
        await asyncio.sleep(0.3)
        await subscriptions.lock(session, {7: {"pro"}})
    await batch


async def test_a_second_settlement_waits_for_the_first_and_sees_what_it_did(
    db: Database, settings: Settings
) -> None:
    """Whoever looks without a lock sees an unpaid payment here, and would grant what is granted already."""
    await customer(db)
    payment_id, uuid = await invoice(db)

    async with db.begin() as first:
        await payments.lock(first, payment_id)
        second = asyncio.create_task(settle(db, [fact(uuid, "canceled")], settings))
        await asyncio.sleep(0.3)
        await first.execute(
            text("UPDATE payments SET status = 'paid', paid_at = now() WHERE id = :id"), {"id": payment_id}
        )
    await second

    stored = await payment(db, payment_id)
    assert (stored["status"], stored["late"]) == ("paid", True)


async def test_two_payments_of_one_customer_settled_by_two_replicas_add_up(
    db: Database, settings: Settings
) -> None:
    await customer(db)
    uuids = [(await invoice(db))[1] for _ in range(2)]
    async with db.begin() as session:
        await subscriptions.lock(session, {1: {"pro"}})  # makes the row

    async with db.begin() as session:  # lets both get as far as the subscription
        await subscriptions.lock(session, {1: {"pro"}})
        both = [asyncio.create_task(settle(db, [fact(uuid)], settings)) for uuid in uuids]
        await until_waiting(db, 2)
    await asyncio.gather(*both)

    first, second = await rows(db, "SELECT starts_at, ends_at FROM subscription_ledger ORDER BY id")
    assert second["starts_at"] == first["ends_at"]


async def test_giving_somebody_up_and_meeting_them_lock_in_the_same_order(db: Database) -> None:
    await customer(db)
    async with db.begin() as session:
        await notifications.notify(session, [Notification(1, Kind.GRANTED, "granted")])
    (one,) = await notifications.claim(db, limit=1, lease_seconds=60)

    async def give_up() -> None:
        async with db.begin() as session:
            await notifications.mark_undeliverable(session, one, "blocked")

    async with db.begin() as session:
        await session.execute(text("UPDATE users SET reachable = true WHERE telegram_id = 1"))
        given_up = asyncio.create_task(give_up())
        await until_waiting(db, 1)
        await session.execute(text("UPDATE notifications SET next_at = now() WHERE id = :id"), {"id": one.id})
    await given_up


async def until_waiting(db: Database, wanted: int) -> None:
    """Wait until so many transactions wait for a lock."""
    waiting = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(20):
        while len(await rows(db, waiting)) < wanted:  # noqa: ASYNC110 - the database rings no bell
            await asyncio.sleep(0.02)


async def test_what_is_rolled_back_has_told_nobody_anything(db: Database, settings: Settings) -> None:
    await customer(db)
    _, uuid = await invoice(db)
    async with db.begin() as session:
        # Refuses at COMMIT, after everything was written and said.
        await session.exec_driver_sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'not today' USING ERRCODE = '57P01'; END $$"
        )
        await session.exec_driver_sql(
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON subscription_ledger"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
        )

    with pytest.raises(Exception, match="database is away"):
        await settle(db, [fact(uuid)], settings)

    assert await keys(db) == []
    assert await rows(db, "SELECT * FROM subscription_ledger") == []


async def test_an_order_is_looked_after_by_the_timer_from_its_first_moment(
    db: Database, settings: Settings, price_list: PriceList
) -> None:
    """No postback ever comes, nobody presses anything: the first look is due all the same."""
    person = await customer(db)
    async with cryptocloud_world() as provider:
        await order(db, provider.client, settings, price_list, person, "pro", "month", message_id=None)

    (stored,) = await rows(db, "SELECT next_check_at - created_at AS pause FROM payments")
    assert stored["pause"] is not None
    assert stored["pause"].total_seconds() <= float(settings.check_seconds) + 10
