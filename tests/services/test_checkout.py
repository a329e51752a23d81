"""From a press on Pay to an invoice: one open order each, only what was ordered, and no invoice that nobody knows."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import URL

from services import checkout, events
from services.config import Settings
from services.db import Database
from services.errors import (
    AnotherTierActive,
    CryptoCloudRefused,
    CryptoCloudUnavailable,
    InvoiceInProgress,
    SalesClosed,
    ShopError,
    TooManyInvoices,
    UnknownPayment,
    UnknownTier,
)
from services.events import Outcome
from services.payments import Payment, Status
from services.postbacks import Postback
from services.settlement import settle
from services.tiers import PriceList, read_tiers
from services.users import Person
from tests.conftest import ROOT
from tests.shop import (
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
    until,
)

ANNA = Person(1, first_name="Anna", language_code="ru")


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with cryptocloud_world(create_seconds=1) as provider:
        yield provider


@dataclasses.dataclass
class Shop:
    db: Database
    provider: Provider
    settings: Settings
    price_list: PriceList

    async def order(self, person: Person = ANNA, tier: str = "pro", period: str = "month") -> Payment:
        return await checkout.order(
            self.db,
            self.provider.client,
            self.settings,
            self.price_list,
            person,
            tier,
            period,
            message_id=77,
        )

    async def cancel(self, payment_id: UUID, owner: int = 1) -> Payment:
        return await checkout.cancel(self.db, self.provider.client, payment_id, owner=owner)

    def invoices(self) -> list[str]:
        """The provider's own word on every invoice that it made, in order."""
        return [one.status for one in self.provider.world.invoices.values()]


@pytest.fixture
def shop(db: Database, provider: Provider, settings: Settings, price_list: PriceList) -> Shop:
    return Shop(db, provider, settings, price_list)


async def test_an_order_becomes_an_invoice_for_exactly_what_was_ordered(shop: Shop) -> None:
    made = await shop.order(period="quarter")

    (asked,) = [one for one in shop.provider.world.provider_calls if one["method"] == "create"]
    assert (str(asked["body"]["amount"]), asked["body"]["currency"]) == ("282.15", "USD")
    assert asked["body"]["order_id"] == str(made.id)
    (known,) = shop.provider.world.invoices.values()
    assert (made.status, made.invoice_uuid, made.invoice_url) == (Status.PENDING, known.uuid, known.link)
    assert (made.amount, made.period_seconds, made.message_id) == (Decimal("282.15"), 90 * 86_400, 77)
    assert made.expires_at is not None
    assert abs(made.expires_at.timestamp() - known.expires) < 0.001
    watched = await row(
        shop.db, "SELECT extract(epoch FROM next_check_at - updated_at)::int AS pause FROM payments"
    )
    assert watched["pause"] == 2
    assert await keys(shop.db, 1) == [f"order:{made.id}"]


async def test_ten_presses_at_once_make_one_invoice(shop: Shop) -> None:
    results = await asyncio.gather(*(shop.order() for _ in range(10)), return_exceptions=True)

    made = [one for one in results if isinstance(one, Payment)]
    assert made
    assert len({one.id for one in made}) == 1
    assert all(isinstance(one, Payment | InvoiceInProgress) for one in results)
    assert shop.provider.calls("create") == 1
    assert shop.invoices() == ["created"]
    assert len(await rows(shop.db, "SELECT id FROM payments")) == 1


async def test_the_open_invoice_is_offered_again_at_the_new_place(shop: Shop) -> None:
    first = await shop.order()
    await change(shop.db, "UPDATE payments SET expires_at = now() + interval '30 min 2 s', message_id = 1")

    again = await shop.order()

    assert (again.id, again.invoice_url, again.message_id) == (first.id, first.invoice_url, 77)
    assert shop.provider.calls("create") == 1
    shown = await row(shop.db, "SELECT state, version FROM notifications WHERE kind = 'order'")
    assert shown["state"] == "due"
    moved = await row(shop.db, "SELECT payload FROM notifications WHERE kind = 'order_moved'")
    assert moved["payload"] == {"message": 1}


async def test_an_order_that_is_shown_again_is_asked_about_at_once(shop: Shop) -> None:
    first = await shop.order()
    await shop.order()
    looked_for = await row(shop.db, "SELECT next_check_at <= now() AS due FROM payments")
    assert (looked_for["due"], (await payment(shop.db, first.id))["wake"]) == (True, 1)


async def test_an_order_that_stays_in_its_message_has_not_moved(shop: Shop) -> None:
    await shop.order()
    await shop.order()
    assert await rows(shop.db, "SELECT key FROM notifications WHERE kind = 'order_moved'") == []


async def test_below_half_an_hour_a_new_invoice_takes_its_place_and_both_count(shop: Shop) -> None:
    first = await shop.order()
    await change(shop.db, "UPDATE payments SET expires_at = now() + interval '29 min'")

    second = await shop.order()

    assert second.id != first.id
    assert (await payment(shop.db, first.id))["superseded"]
    both = [fact(str(one.invoice_uuid)) for one in (first, second)]
    assert [one.granted for one in await settle(shop.db, both, shop.settings)] == [True, True]


async def test_a_partly_paid_invoice_is_offered_again_to_its_very_end(shop: Shop) -> None:
    first = await shop.order()
    await change(shop.db, "UPDATE payments SET status = 'partial', expires_at = now() + interval '1 min'")
    assert (await shop.order()).id == first.id


async def test_another_period_or_price_is_another_order(shop: Shop, tmp_path: Path) -> None:
    first = await shop.order()
    quarter = await shop.order(period="quarter")
    shop.price_list = repriced(tmp_path, pro="price = 120 ")
    dearer = await shop.order()
    assert len({first.id, quarter.id, dearer.id}) == 3
    assert dearer.amount == 120


async def test_an_order_whose_maker_died_gives_way_to_a_new_one_with_a_new_id(shop: Shop) -> None:
    await customer(shop.db)
    abandoned, _ = await invoice(shop.db, status="creating", invoice_uuid=None, superseded=False)
    with pytest.raises(InvoiceInProgress):
        await shop.order()
    await change(shop.db, "UPDATE payments SET created_at = now() - interval '3 s'")

    made = await shop.order()

    assert made.id != abandoned
    assert (await payment(shop.db, abandoned))["status"] == "failed"
    assert made.status is Status.PENDING


async def test_abandoned_orders_are_given_up_also_without_a_press(shop: Shop) -> None:
    await customer(shop.db)
    old, _ = await invoice(shop.db, status="creating", invoice_uuid=None)
    young, _ = await invoice(shop.db, status="creating", invoice_uuid=None)
    await change(shop.db, "UPDATE payments SET created_at = now() - interval '3 s' WHERE id = :id", id=old)

    assert await checkout.fail_abandoned(shop.db, shop.settings) == 1
    assert await checkout.fail_abandoned(shop.db, shop.settings) == 0

    assert (await payment(shop.db, old))["status"] == "failed"
    assert (await payment(shop.db, young))["status"] == "creating"
    assert await keys(shop.db, 1) == [f"order:{old}"]


async def test_a_late_answer_that_finds_its_order_given_up_cancels_its_own_invoice(shop: Shop) -> None:
    shop.provider.fail("slow", "create", seconds=0.6)
    slow = asyncio.create_task(shop.order())
    await until(lambda: shop.provider.calls("create"))
    await change(shop.db, "UPDATE payments SET created_at = now() - interval '3 s'")

    made = await shop.order()

    with pytest.raises(InvoiceInProgress):
        await slow
    assert sorted(shop.invoices()) == ["canceled", "created"]
    assert shop.provider.world.invoices[str(made.invoice_uuid)].status == "created"
    statuses = await rows(shop.db, "SELECT status FROM payments ORDER BY status")
    assert [one["status"] for one in statuses] == ["failed", "pending"]


@pytest.mark.parametrize(
    ("kind", "options", "difference"),
    [
        ("other_amount", {"amount": 9.9}, "amount"),
        ("other_currency", {"currency": "EUR"}, "currency"),
        ("test_mode", {}, "test-mode"),
    ],
)
async def test_an_invoice_that_is_not_the_order_is_canceled_never_shown_and_told_to_the_admins(
    shop: Shop, kind: str, options: dict[str, Any], difference: str
) -> None:
    shop.provider.fail(kind, "create", times=None, **options)

    for _ in range(2):
        with pytest.raises(SalesClosed):
            await shop.order()

    assert shop.invoices() == ["canceled", "canceled"]
    stored = await rows(shop.db, "SELECT status, invoice_uuid, invoice_url FROM payments")
    assert stored == [{"status": "failed", "invoice_uuid": None, "invoice_url": None}] * 2
    alerts = await rows(shop.db, "SELECT key, payload FROM notifications WHERE user_id = 900")
    assert len(alerts) in {1, 2}  # two where the hour has just turned
    assert alerts[0]["key"].startswith(f"sales-closed:{difference}:")
    assert alerts[0]["payload"]["what"] == f"sales-closed-{difference}"
    assert (alerts[0]["payload"]["amount"], alerts[0]["payload"]["currency"]) == ("99.00", "USD")


async def test_test_mode_is_sold_where_the_settings_allow_it(
    shop: Shop, make_settings: Callable[..., Settings]
) -> None:
    shop.settings = make_settings(cryptocloud_allow_test_mode=True)
    shop.provider.fail("test_mode", "create")
    assert (await shop.order()).status is Status.PENDING


async def test_sales_close_also_where_the_wrong_invoice_cannot_be_canceled(shop: Shop) -> None:
    shop.provider.fail("test_mode", "create")
    shop.provider.fail("down", "canceled", times=None)
    with pytest.raises(SalesClosed):
        await shop.order()
    assert (await row(shop.db, "SELECT status FROM payments"))["status"] == "failed"


async def test_a_provider_that_is_away_costs_a_failed_row_and_the_next_press_works(shop: Shop) -> None:
    trouble: dict[str, type[ShopError]] = {
        "down": CryptoCloudUnavailable,
        "server_error": CryptoCloudUnavailable,
        "html_502": CryptoCloudUnavailable,
        "unauthorized": CryptoCloudRefused,
    }
    for kind, error in trouble.items():
        shop.provider.fail(kind, "create")
        with pytest.raises(error):
            await shop.order()

    stored = await rows(shop.db, "SELECT status, next_check_at FROM payments")
    assert stored == [{"status": "failed", "next_check_at": None}] * len(trouble)
    assert (await shop.order()).status is Status.PENDING


async def test_an_answer_lost_after_the_invoice_was_made_costs_another_press(shop: Shop) -> None:
    shop.provider.fail("hang", "create")

    with pytest.raises(CryptoCloudUnavailable):
        await shop.order()
    made = await shop.order()

    assert len(shop.invoices()) == 2
    (orphan,) = [one for one in shop.provider.world.invoices.values() if one.uuid != made.invoice_uuid]
    # Its link was never shown to anybody, and it belongs to the order that was given up.
    assert orphan.order_id != str(made.id)
    assert (await payment(shop.db, UUID(orphan.order_id)))["status"] == "failed"


async def test_another_tier_is_refused_with_the_end_of_the_running_one_before_the_provider_is_asked(
    shop: Shop,
) -> None:
    await customer(shop.db)
    _, uuid = await invoice(shop.db)
    await settle(shop.db, [fact(uuid)], shop.settings)
    stored = await row(shop.db, "SELECT ends_at FROM subscriptions WHERE user_id = 1")

    with pytest.raises(AnotherTierActive) as refused:
        await shop.order(tier="business")

    assert (refused.value.tier, refused.value.ends_at) == ("pro", stored["ends_at"])
    assert not shop.provider.world.provider_calls
    assert len(await rows(shop.db, "SELECT id FROM payments")) == 1
    assert (await shop.order(tier="pro")).status is Status.PENDING
    await change(shop.db, "UPDATE subscriptions SET ends_at = now()")
    assert (await shop.order(tier="business")).status is Status.PENDING


async def test_what_is_not_on_sale_is_refused_before_anything_is_written(shop: Shop) -> None:
    for tier, period in (("free", "month"), ("gold", "month"), ("pro", "eternity"), ("", "")):
        with pytest.raises(UnknownTier):
            await shop.order(tier=tier, period=period)
    assert not shop.provider.world.provider_calls
    assert await rows(shop.db, "SELECT 1 FROM users WHERE telegram_id = 1") == []


async def test_more_than_ten_orders_an_hour_are_refused(shop: Shop) -> None:
    await customer(shop.db)
    await customer(shop.db, 2)
    for _ in range(10):
        await invoice(shop.db, status="expired")

    with pytest.raises(TooManyInvoices):
        await shop.order()
    assert not shop.provider.world.provider_calls

    assert (await shop.order(Person(2))).status is Status.PENDING
    await change(shop.db, "UPDATE payments SET created_at = now() - interval '61 min' WHERE user_id = 1")
    assert (await shop.order()).status is Status.PENDING


async def test_what_was_paid_does_not_count_as_a_flood(shop: Shop) -> None:
    await customer(shop.db)
    for _ in range(10):
        _, uuid = await invoice(shop.db)
        await settle(shop.db, [fact(uuid)], shop.settings)
    assert (await shop.order()).status is Status.PENDING


async def test_presses_while_cryptocloud_is_away_do_not_count_as_a_flood(shop: Shop) -> None:
    await customer(shop.db)
    for _ in range(10):
        await invoice(shop.db, status="failed")
    assert (await shop.order()).status is Status.PENDING


def repriced(folder: Path, **lines: str) -> PriceList:
    """The shipped price list with other prices a month."""
    words = (ROOT / "tiers.toml").read_text()
    for tier, line in lines.items():
        start = words.index("price", words.index(f"[tiers.{tier}]"))
        words = words[:start] + line + words[words.index("\n", start) :]
    (folder / "tiers.toml").write_text(words)
    return read_tiers(folder / "tiers.toml")


async def test_what_was_ordered_counts_whatever_the_price_list_says_later(shop: Shop, tmp_path: Path) -> None:
    made = await shop.order(period="quarter")
    shop.price_list = repriced(tmp_path, pro="price = 1000")
    await shop.order(period="quarter")

    known = fact(str(made.invoice_uuid), amount_in_fiat=Decimal("282.15"), fiat_currency="USD")
    (settled,) = await settle(shop.db, [known], shop.settings)

    assert settled.granted
    booked = await row(shop.db, "SELECT amount, currency, seconds, tier FROM subscription_ledger")
    assert booked == {
        "amount": Decimal("282.15"),
        "currency": "USD",
        "seconds": 90 * 86_400,
        "tier": "pro",
    }


async def test_a_postback_that_was_quicker_than_our_row_makes_the_check_due_at_once(
    shop: Shop, database: URL
) -> None:
    narrow = Database(database, pool_size=1)  # and one more: two connections, then the next one waits
    quiet, shop.db = shop.db, narrow
    shop.provider.fail("slow", "create", seconds=0.3)
    ordering = asyncio.create_task(shop.order())
    await until(lambda: shop.provider.calls("create"))
    async with narrow.begin(), narrow.begin():
        await until(lambda: shop.provider.world.invoices)
        (known,) = shop.provider.world.invoices.values()
        early = Postback(known.uuid, known.order_id, "success", {"status": "success"}, expired=False)
        recorded = await events.record_postback(quiet, early)

    made = await ordering
    await narrow.dispose()

    assert recorded.outcome is Outcome.UNKNOWN
    assert made.invoice_uuid == known.uuid
    due = await row(quiet, "SELECT next_check_at <= now() AS due FROM payments")
    assert due["due"]


async def test_the_owner_cancels_an_order(shop: Shop) -> None:
    made = await shop.order()

    canceled = await shop.cancel(made.id)

    assert (canceled.status, canceled.cancel_requested) == (Status.CANCELED, True)
    assert shop.invoices() == ["canceled"]
    again = await shop.cancel(made.id)
    assert again.status is Status.CANCELED
    assert shop.provider.calls("canceled") == 1
    (settled,) = await settle(shop.db, [fact(str(made.invoice_uuid), "canceled")], shop.settings)
    assert settled.after.status is Status.CANCELED


async def test_nobody_cancels_somebody_elses_order(shop: Shop) -> None:
    made = await shop.order()
    with pytest.raises(UnknownPayment):
        await shop.cancel(made.id, owner=2)
    with pytest.raises(UnknownPayment):
        await shop.cancel(uuid4())
    assert shop.invoices() == ["created"]
    assert (await payment(shop.db, made.id))["status"] == "pending"


@pytest.mark.parametrize("amount", [None, Decimal(10)], ids=["paid", "partly paid"])
async def test_an_order_that_has_money_in_it_is_not_canceled_but_checked(
    shop: Shop, amount: Decimal | None
) -> None:
    made = await shop.order()
    await change(shop.db, "UPDATE payments SET next_check_at = now() + interval '1 hour'")
    shop.provider.pay(str(made.invoice_uuid), amount)

    assert (await shop.cancel(made.id)).status is Status.PENDING

    assert shop.invoices() == ["paid" if amount is None else "partial"]
    stored = await row(shop.db, "SELECT wake, next_check_at <= now() AS due, cancel_requested FROM payments")
    assert stored == {"wake": 1, "due": True, "cancel_requested": False}


async def test_an_order_stays_open_where_the_provider_cannot_be_asked_to_cancel_it(shop: Shop) -> None:
    made = await shop.order()
    shop.provider.fail("down", "canceled")
    with pytest.raises(CryptoCloudUnavailable):
        await shop.cancel(made.id)
    assert (await payment(shop.db, made.id))["status"] == "pending"


async def test_money_that_comes_after_the_cancel_is_honoured_as_late(shop: Shop) -> None:
    made = await shop.order()
    await shop.cancel(made.id)
    (settled,) = await settle(shop.db, [fact(str(made.invoice_uuid))], shop.settings)
    assert (settled.granted, settled.after.late) == (True, True)


async def test_a_quote_names_price_saving_and_the_end_that_it_would_have(shop: Shop) -> None:
    await customer(shop.db)
    _, uuid = await invoice(shop.db)
    await settle(shop.db, [fact(uuid)], shop.settings)
    stored = await row(
        shop.db, "SELECT ends_at + interval '90 days' AS end FROM subscriptions WHERE user_id = 1"
    )
    async with shop.db.begin() as session:
        offer = await checkout.quote(session, shop.price_list, 1, "pro", "quarter")
        with pytest.raises(AnotherTierActive):
            await checkout.quote(session, shop.price_list, 1, "business", "quarter")
    assert (offer.amount, offer.saving, offer.currency) == (Decimal("282.15"), Decimal("14.85"), "USD")
    assert offer.ends_at == stored["end"]


async def test_a_stranger_gets_a_quote_too(shop: Shop) -> None:
    async with shop.db.begin() as session:
        offer = await checkout.quote(session, shop.price_list, 5, "pro", "month")
    left = await row(shop.db, "SELECT :end - now() AS left", end=offer.ends_at)
    assert 29.9 < left["left"].total_seconds() / 86_400 <= 30
