"""Money for orders that we do not know is found, told once, and given to whom it belongs."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from services import ledger, settlement
from services.checks import check_due
from services.config import Settings
from services.db import Database
from services.errors import CryptoCloudUnavailable, UnknownPayment, UnknownTier
from services.payments import Payment, Status
from services.reconcile import Reconciled, adopt, open_cases, reconcile
from services.settlement import settle
from services.tiers import PriceList
from tests.shop import (
    MONTH,
    Provider,
    change,
    cryptocloud_world,
    customer,
    fact,
    invoice,
    keys,
    payment,
    row,
    rows,
)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with cryptocloud_world() as provider:
        yield provider


async def give(
    db: Database,
    provider: Provider,
    price_list: PriceList,
    name: str,
    user_id: int = 1,
    tier: str = "pro",
    period: str = "month",
) -> Payment:
    return await adopt(
        db,
        provider.client,
        price_list,
        invoice=name,
        user_id=user_id,
        tier_code=tier,
        period_code=period,
        actor="console",
    )


async def test_where_everything_is_known_nothing_is_found(
    db: Database, provider: Provider, settings: Settings
) -> None:
    await customer(db)
    known, unpaid = provider.issue(), provider.issue()
    provider.pay(known.uuid)
    _, uuid = await invoice(db, uuid=known.uuid)
    await settle(db, [fact(uuid)], settings)

    assert await reconcile(db, provider.client, settings) == Reconciled(1, (), 0)

    assert unpaid.status == "created"
    assert await keys(db, 900) == [key for key in await keys(db, 900) if not key.startswith("unclaimed")]


@pytest.mark.parametrize("amount", [None, Decimal(10)], ids=["paid", "partly paid"])
async def test_money_without_an_order_becomes_one_case_and_one_alert_however_often_it_is_seen(
    db: Database, provider: Provider, settings: Settings, amount: Decimal | None
) -> None:
    stray = provider.issue(order_id="a1b2", amount="42.00", currency="EUR")
    provider.pay(stray.uuid, amount)

    first = await reconcile(db, provider.client, settings)
    second = await reconcile(db, provider.client, settings)

    assert (first.unclaimed, second.unclaimed) == ((stray.uuid,), ())
    async with db.begin() as session:
        (case,) = await open_cases(session)
    assert (case.invoice_uuid, case.order_id) == (stray.uuid, "a1b2")
    assert (case.provider["amount_in_fiat"], case.provider["fiat_currency"]) == ("42.0", "EUR")
    assert await keys(db, 900) == [f"unclaimed:{stray.uuid}:900"]
    assert await rows(db, "SELECT id FROM payments") == []


async def test_a_payment_that_is_behind_the_list_is_woken_and_granted_by_the_usual_check(
    db: Database, provider: Provider, settings: Settings
) -> None:
    await customer(db)
    known = provider.issue()
    provider.pay(known.uuid)
    payment_id, _ = await invoice(db, uuid=known.uuid, status="expired", next_check_at=None)

    assert await reconcile(db, provider.client, settings) == Reconciled(1, (), 1)

    stored = await payment(db, payment_id)
    assert (stored["status"], stored["wake"]) == ("expired", 1)
    await check_due(db, provider.client, settings)
    stored = await payment(db, payment_id)
    assert (stored["status"], stored["late"]) == ("paid", True)


async def test_what_a_person_has_to_decide_or_has_decided_is_not_woken(
    db: Database, provider: Provider, settings: Settings
) -> None:
    await customer(db)
    for columns in ({"review": True}, {"verdict": "rejected", "status": "canceled"}):
        known = provider.issue()
        provider.pay(known.uuid)
        await invoice(db, uuid=known.uuid, **columns)
    assert (await reconcile(db, provider.client, settings)).woken == 0


async def test_an_order_whose_invoice_is_being_made_is_not_reported(
    db: Database, provider: Provider, settings: Settings
) -> None:
    await customer(db)
    payment_id, _ = await invoice(db, status="creating", invoice_uuid=None)
    quick = provider.issue(order_id=str(payment_id))
    provider.pay(quick.uuid)

    assert (await reconcile(db, provider.client, settings)).unclaimed == ()

    await change(db, "UPDATE payments SET status = 'failed'")
    assert (await reconcile(db, provider.client, settings)).unclaimed == (quick.uuid,)


async def test_the_whole_list_is_read_page_by_page_and_old_invoices_are_left(
    db: Database, provider: Provider, settings: Settings
) -> None:
    paid = [provider.issue() for _ in range(120)]
    for one in paid:
        provider.pay(one.uuid)
    paid[0].created -= timedelta(days=12).total_seconds()
    found = await reconcile(db, provider.client, settings)
    assert set(found.unclaimed) == {one.uuid for one in paid[1:]}
    assert (found.seen, len(found.unclaimed)) == (119, 119)


async def test_a_provider_that_is_away_is_said_and_nothing_is_written(
    db: Database, provider: Provider, settings: Settings
) -> None:
    provider.pay(provider.issue().uuid)
    provider.fail("down", "list", times=None)
    with pytest.raises(CryptoCloudUnavailable):
        await reconcile(db, provider.client, settings)
    assert await keys(db, 900) == []


async def test_a_paid_order_that_a_restored_backup_does_not_know_is_given_back_and_granted_once(
    db: Database, provider: Provider, settings: Settings, price_list: PriceList
) -> None:
    await customer(db)
    order_id = uuid4()
    known = provider.issue(order_id=str(order_id))
    await invoice(db, id=order_id, uuid=known.uuid)
    provider.pay(known.uuid)
    await check_due(db, provider.client, settings)
    assert (await payment(db, order_id))["status"] == "paid"
    async with db.begin() as session:  # the backup is older than the order
        await session.exec_driver_sql("SET LOCAL session_replication_role = replica")
        for table in ("subscription_ledger", "payment_history", "payments", "notifications"):
            await session.exec_driver_sql(f"DELETE FROM {table}")
        await session.exec_driver_sql("UPDATE subscriptions SET tier = 'free', ends_at = NULL")
    assert await ledger.check(db) == []

    assert (await reconcile(db, provider.client, settings)).unclaimed == (known.uuid,)
    adopted = await give(db, provider, price_list, f"INV-{known.uuid}")
    await check_due(db, provider.client, settings)
    await check_due(db, provider.client, settings)

    assert adopted.id == order_id
    stored = await payment(db, order_id)
    assert (stored["status"], stored["review"], stored["amount"]) == ("paid", False, Decimal(99))
    booked = await row(db, "SELECT user_id, payment_id, seconds, amount FROM subscription_ledger")
    assert booked == {"user_id": 1, "payment_id": order_id, "seconds": MONTH, "amount": Decimal(99)}
    assert f"receipt:{order_id}" in await keys(db, 1)
    assert await ledger.check(db) == []
    async with db.begin() as session:
        assert await open_cases(session) == []
    deed = await row(db, "SELECT actor, action, subject FROM admin_audit")
    assert deed == {"actor": "console", "action": "payment adopt", "subject": str(order_id)}
    assert (await reconcile(db, provider.client, settings)) == Reconciled(1, (), 0)


async def test_an_invoice_is_given_away_once(
    db: Database, provider: Provider, settings: Settings, price_list: PriceList
) -> None:
    await customer(db)
    await customer(db, 2)
    stray = provider.issue(order_id="made by hand")
    provider.pay(stray.uuid)
    await give(db, provider, price_list, stray.uuid)
    for user_id in (1, 2):
        with pytest.raises(UnknownPayment, match="belongs to a payment already"):
            await give(db, provider, price_list, stray.uuid, user_id)
    assert [one["user_id"] for one in await rows(db, "SELECT user_id FROM payments")] == [1]
    assert len(await rows(db, "SELECT id FROM admin_audit")) == 1


async def test_an_invoice_of_another_order_id_waits_for_a_person_after_it_was_given(
    db: Database, provider: Provider, settings: Settings, price_list: PriceList
) -> None:
    await customer(db)
    stray = provider.issue(order_id="made by hand")
    provider.pay(stray.uuid)
    adopted = await give(db, provider, price_list, stray.uuid.lower())
    await check_due(db, provider.client, settings)
    stored = await payment(db, adopted.id)
    assert (stored["status"], stored["review"]) == ("pending", True)


async def test_an_invoice_without_an_order_id_is_granted_as_it_was_given(
    db: Database, provider: Provider, settings: Settings, price_list: PriceList
) -> None:
    await customer(db)
    stray = provider.issue(order_id=None, amount="250", currency="EUR")
    provider.pay(stray.uuid)
    adopted = await give(db, provider, price_list, stray.uuid, tier="business", period="quarter")
    assert (adopted.amount, adopted.currency, adopted.status) == (
        Decimal(250),
        "EUR",
        Status.PENDING,
    )
    await check_due(db, provider.client, settings)
    stored = await row(
        db,
        "SELECT tier, ends_at > now() + interval '89 days' AS quarter FROM subscriptions WHERE user_id = 1",
    )
    assert stored == {"tier": "business", "quarter": True}


async def test_what_cannot_be_given_is_refused_and_nothing_is_written(
    db: Database, provider: Provider, price_list: PriceList
) -> None:
    await customer(db)
    stray = provider.issue()
    provider.pay(stray.uuid)
    with pytest.raises(UnknownPayment, match="knows no invoice"):
        await give(db, provider, price_list, "INV-NOSUCH00")
    with pytest.raises(UnknownPayment, match="has ever spoken"):
        await give(db, provider, price_list, stray.uuid, user_id=555)
    with pytest.raises(UnknownTier):
        await give(db, provider, price_list, stray.uuid, tier="free")
    for table in ("payments", "unclaimed_invoices", "admin_audit"):
        assert await rows(db, f"SELECT * FROM {table}") == []


async def test_money_for_an_order_that_was_given_up_can_be_adopted_and_accepted(
    db: Database, provider: Provider, settings: Settings, price_list: PriceList
) -> None:
    await customer(db)
    given_up, _ = await invoice(db, status="failed", invoice_uuid=None, next_check_at=None)
    orphan = provider.issue(order_id=str(given_up))
    provider.pay(orphan.uuid)
    await reconcile(db, provider.client, settings)

    adopted = await give(db, provider, price_list, orphan.uuid)
    await check_due(db, provider.client, settings)

    assert (adopted.id != given_up, adopted.invoice_uuid) == (True, orphan.uuid)
    assert (await payment(db, adopted.id))["review"]
    await settlement.accept(db, adopted.id, settings, actor="console", reason="the customer's own order")
    assert (await payment(db, adopted.id))["status"] == "paid"
    assert await ledger.check(db) == []
    async with db.begin() as session:
        assert await open_cases(session) == []
    with pytest.raises(UnknownPayment):
        await give(db, provider, price_list, orphan.uuid)
