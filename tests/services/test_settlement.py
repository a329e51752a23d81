"""Facts become paid time once, in any order, however often."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services import ledger, settlement
from services.config import Settings
from services.db import Database
from services.errors import NotReviewable
from services.settlement import settle
from tests.shop import DAY, MONTH, customer, fact, invoice, keys, payment, row, rows


async def test_a_paid_invoice_extends_the_subscription_and_owes_one_receipt(
    db: Database, settings: Settings
) -> None:
    await customer(db)
    payment_id, uuid = await invoice(db)

    (settled,) = await settle(db, [fact(uuid)], settings)

    assert settled.granted
    now = await row(db, "SELECT tier, ends_at - now() AS left, ends_at FROM subscriptions WHERE user_id = 1")
    assert now["tier"] == "pro"
    assert timedelta(days=30) - timedelta(seconds=30) < now["left"] <= timedelta(days=30)
    entry = await row(db, "SELECT * FROM subscription_ledger")
    assert (entry["kind"], entry["payment_id"], entry["seconds"]) == ("payment", payment_id, MONTH)
    assert (entry["amount"], entry["currency"], entry["ends_at"]) == (Decimal(99), "USD", now["ends_at"])
    assert (await payment(db, payment_id))["status"] == "paid"
    assert await keys(db, 1) == [f"receipt:{payment_id}", f"order:{payment_id}"]
    history = await rows(db, "SELECT old_status, new_status FROM payment_history ORDER BY id")
    assert history == [
        {"old_status": None, "new_status": "pending"},
        {"old_status": "pending", "new_status": "paid"},
    ]
    assert await ledger.check(db) == []


async def test_the_same_fact_again_changes_nothing(db: Database, settings: Settings) -> None:
    await customer(db)
    payment_id, uuid = await invoice(db)
    await settle(db, [fact(uuid)], settings)
    before = await payment(db, payment_id)

    again = await settle(db, [fact(uuid), fact(uuid)], settings)

    assert not any(one.granted for one in again)
    assert await payment(db, payment_id) == before
    assert len(await rows(db, "SELECT * FROM subscription_ledger")) == 1


async def test_three_payments_of_one_customer_in_one_batch_all_count(
    db: Database, settings: Settings
) -> None:
    await customer(db)
    uuids = [(await invoice(db))[1] for _ in range(3)]

    await settle(db, [fact(uuid) for uuid in uuids], settings)

    left = await row(db, "SELECT ends_at - now() AS left FROM subscriptions WHERE user_id < 900")
    assert timedelta(days=90) - timedelta(seconds=30) < left["left"] <= timedelta(days=90)
    assert len(await rows(db, "SELECT * FROM subscription_ledger")) == 3
    assert len([key for key in await keys(db, 1) if key.startswith("receipt:")]) == 3
    assert await ledger.check(db) == []


async def test_two_replicas_that_settle_a_first_purchase_at_once_grant_it_once(
    db: Database, settings: Settings
) -> None:
    await customer(db)
    payment_id, uuid = await invoice(db)

    results = await asyncio.gather(*(settle(db, [fact(uuid)], settings) for _ in range(8)))

    assert sum(one.granted for result in results for one in result) == 1
    assert len(await rows(db, "SELECT * FROM subscription_ledger")) == 1
    assert (await keys(db, 1)).count(f"receipt:{payment_id}") == 1


async def test_two_first_purchases_of_somebody_without_a_subscription_row_both_count(
    db: Database, settings: Settings
) -> None:
    await customer(db)
    async with db.begin() as session:
        await session.exec_driver_sql("DELETE FROM subscriptions")
    uuids = [(await invoice(db))[1] for _ in range(6)]

    await asyncio.gather(*(settle(db, [fact(uuid)], settings) for uuid in uuids))

    left = await row(db, "SELECT ends_at - now() AS left FROM subscriptions WHERE user_id < 900")
    assert left["left"] > timedelta(days=180) - timedelta(seconds=30)
    assert await ledger.check(db) == []


async def test_overlapping_batches_from_four_replicas_end_without_an_unretried_deadlock(
    db: Database, settings: Settings
) -> None:
    people, each = 6, 5
    uuids = []
    for telegram_id in range(1, people + 1):
        await customer(db, telegram_id)
        uuids += [(await invoice(db, telegram_id))[1] for _ in range(each)]

    def shuffled(step: int) -> list[str]:
        return [uuids[(place * step) % len(uuids)] for place in range(len(uuids))]

    for _ in range(3):
        await asyncio.gather(
            *(settle(db, [fact(uuid) for uuid in shuffled(step)], settings) for step in (1, 7, 11, 29))
        )

    assert len(await rows(db, "SELECT * FROM subscription_ledger")) == people * each
    lefts = await rows(db, "SELECT ends_at - now() AS left FROM subscriptions WHERE user_id < 900")
    assert all(one["left"] > timedelta(days=30 * each) - timedelta(seconds=60) for one in lefts)
    assert await ledger.check(db) == []


async def test_renewal_adds_to_the_end_and_never_loses_a_day(db: Database, settings: Settings) -> None:
    await customer(db)
    for _ in range(2):
        _, uuid = await invoice(db)
        await settle(db, [fact(uuid)], settings)
    first, second = await rows(db, "SELECT * FROM subscription_ledger ORDER BY id")
    assert second["starts_at"] == first["ends_at"]
    assert second["ends_at"] == first["ends_at"] + timedelta(days=30)


async def test_renewal_after_the_end_starts_now(db: Database, settings: Settings) -> None:
    await customer(db)
    _, uuid = await invoice(db)
    await settle(db, [fact(uuid)], settings)
    async with db.begin() as session:
        await session.exec_driver_sql("UPDATE subscriptions SET ends_at = now() - interval '3 days'")
    _, uuid = await invoice(db)

    await settle(db, [fact(uuid)], settings)

    left = await row(db, "SELECT ends_at - now() AS left FROM subscriptions WHERE user_id < 900")
    assert timedelta(days=30) - timedelta(seconds=30) < left["left"] <= timedelta(days=30)


async def test_another_tier_that_was_paid_all_the_same_converts_what_is_left_at_the_price_paid(
    db: Database, settings: Settings
) -> None:
    await customer(db)
    _, pro = await invoice(db, tier="pro", amount="99.00")
    _, business = await invoice(db, tier="business", amount="297.00")
    await settle(db, [fact(pro)], settings)

    await settle(db, [fact(business)], settings)

    now = await row(db, "SELECT tier, ends_at - now() AS left FROM subscriptions WHERE user_id < 900")
    assert now["tier"] == "business"
    # 30 days at 99 are worth a third of 30 days at 297.
    assert timedelta(days=40) - timedelta(seconds=30) < now["left"] <= timedelta(days=40)
    kinds = [one["kind"] for one in await rows(db, "SELECT kind FROM subscription_ledger ORDER BY id")]
    assert kinds == ["payment", "conversion", "payment"]
    assert await ledger.check(db) == []


async def test_two_tiers_paid_in_one_batch_both_count(db: Database, settings: Settings) -> None:
    await customer(db)
    _, pro = await invoice(db, tier="pro", amount="99.00", seconds=MONTH)
    _, business = await invoice(db, tier="business", amount="297.00", seconds=MONTH)
    earlier, later = datetime.now(UTC) - timedelta(minutes=2), datetime.now(UTC) - timedelta(minutes=1)

    await settle(db, [fact(business, finished_at=later), fact(pro, finished_at=earlier)], settings)

    now = await row(db, "SELECT tier, ends_at - now() AS left FROM subscriptions WHERE user_id < 900")
    assert now["tier"] == "business"
    assert timedelta(days=40) - timedelta(seconds=30) < now["left"] <= timedelta(days=40)
    assert await ledger.check(db) == []


async def test_a_paid_answer_without_amount_and_order_is_granted(db: Database, settings: Settings) -> None:
    await customer(db)
    _, uuid = await invoice(db)
    (settled,) = await settle(db, [fact(uuid, order_id=None, amount_in_fiat=None)], settings)
    assert settled.granted


@pytest.mark.parametrize(
    "said",
    [
        {"order_id": "somebody-else"},
        {"amount_in_fiat": Decimal("1.00"), "fiat_currency": "USD"},
        {"amount_in_fiat": Decimal("99.00"), "fiat_currency": "RUB"},
        {"test_mode": True},
    ],
    ids=["order", "amount", "currency", "test mode"],
)
async def test_a_paid_invoice_that_does_not_fit_its_order_waits_for_a_person(
    db: Database, settings: Settings, said: dict[str, Any]
) -> None:
    await customer(db)
    payment_id, uuid = await invoice(db)

    await settle(db, [fact(uuid, **said)], settings)

    stored = await payment(db, payment_id)
    assert (stored["review"], stored["status"]) == (True, "pending")
    assert stored["review_reason"]
    assert await rows(db, "SELECT * FROM subscription_ledger") == []
    assert f"review:{payment_id}:900" in await keys(db, 900)


async def test_accepting_a_review_grants_once(db: Database, settings: Settings) -> None:
    await customer(db)
    payment_id, uuid = await invoice(db)
    await settle(db, [fact(uuid, order_id="else")], settings)

    await settlement.accept(db, payment_id, settings, actor="console", reason="asked the customer")

    assert (await payment(db, payment_id))["status"] == "paid"
    assert len(await rows(db, "SELECT * FROM subscription_ledger")) == 1
    with pytest.raises(NotReviewable):
        await settlement.accept(db, payment_id, settings, actor="console", reason="again")
    audit = await row(db, "SELECT actor, action FROM admin_audit")
    assert audit == {"actor": "console", "action": "payment accepted"}
    assert await ledger.check(db) == []


async def test_a_rejected_review_is_never_granted(db: Database, settings: Settings) -> None:
    await customer(db)
    payment_id, uuid = await invoice(db)
    await settle(db, [fact(uuid, order_id="else")], settings)

    await settlement.reject(db, payment_id, settings, actor="console", reason="not ours")
    await settle(db, [fact(uuid)], settings)

    stored = await payment(db, payment_id)
    assert (stored["status"], stored["review"], stored["verdict"]) == ("canceled", False, "rejected")
    assert await rows(db, "SELECT * FROM subscription_ledger") == []


async def test_one_payment_that_cannot_be_written_does_not_hold_back_the_others(
    db: Database, settings: Settings
) -> None:
    await customer(db)
    broken, broken_uuid = await invoice(db)
    fine, fine_uuid = await invoice(db)
    async with db.begin() as session:
        await session.exec_driver_sql(
            "INSERT INTO subscription_ledger (user_id, payment_id, kind, tier, seconds, starts_at, ends_at,"
            f" idempotency_key) VALUES (1, '{broken}', 'payment', 'pro', 1, now(), now(), 'by hand')"
        )

    await settle(db, [fact(broken_uuid), fact(fine_uuid)], settings)

    assert (await payment(db, fine))["status"] == "paid"
    assert (await payment(db, broken))["status"] == "pending"
    assert [key for key in await keys(db, 900) if key.startswith("unsettled:")]


async def test_a_value_that_does_not_fit_holds_back_only_its_own_payment(
    db: Database, settings: Settings
) -> None:
    await customer(db)
    broken, broken_uuid = await invoice(db)
    fine, fine_uuid = await invoice(db)
    async with db.begin() as session:
        await session.exec_driver_sql(
            "CREATE FUNCTION too_large() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF NEW.payment_id = '{broken}' THEN PERFORM 10000000000::int; END IF; RETURN NEW; END $$"
        )
        await session.exec_driver_sql(
            "CREATE TRIGGER too_large BEFORE INSERT ON subscription_ledger"
            " FOR EACH ROW EXECUTE FUNCTION too_large()"
        )

    await settle(db, [fact(broken_uuid), fact(fine_uuid)], settings)

    assert (await payment(db, fine))["status"] == "paid"
    assert (await payment(db, broken))["status"] == "pending"
    assert f"unsettled:{broken_uuid}:900" in await keys(db, 900)


async def test_an_end_beyond_the_calendar_holds_back_only_its_own_payment(
    db: Database, settings: Settings
) -> None:
    await customer(db)
    endless, endless_uuid = await invoice(db, seconds=2**40)
    fine, fine_uuid = await invoice(db)

    await settle(db, [fact(endless_uuid), fact(fine_uuid)], settings)

    assert (await payment(db, fine))["status"] == "paid"
    assert (await payment(db, endless))["status"] == "pending"
    assert f"unsettled:{endless_uuid}:900" in await keys(db, 900)


async def test_periods_are_fixed_seconds(db: Database, settings: Settings) -> None:
    await customer(db)
    _, uuid = await invoice(db, period="year", seconds=365 * DAY)
    await settle(db, [fact(uuid)], settings)
    entry = await row(db, "SELECT extract(epoch FROM ends_at - starts_at) AS length FROM subscription_ledger")
    assert entry["length"] == 365 * DAY


async def test_a_telegram_id_beyond_32_bits_is_a_customer_like_any_other(
    db: Database, settings: Settings
) -> None:
    big = 2**51 + 7
    await customer(db, big)
    _, uuid = await invoice(db, big)
    (settled,) = await settle(db, [fact(uuid)], settings)
    assert settled.granted
