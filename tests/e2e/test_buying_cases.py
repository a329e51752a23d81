"""Cases of buying that are neither everyday nor rare: they are played from the button to the receipt."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from sandbox import checkout
from sandbox.invoices import Invoice
from sandbox.world import Message
from tests.e2e.stage import Customer, Stage, until
from tests.shop import change

DAYS_LEFT = (
    "SELECT extract(epoch FROM ends_at - now()) / 86400 AS days FROM subscriptions WHERE user_id = :id"
)


@pytest.fixture(autouse=True)
def _the_provider_is_well_again(shared: Stage) -> Any:
    yield
    shared.world.faults.clear()
    shared.world.project.sparse_info = False


def text(message: Message) -> str:
    return str(message.body["text"])


async def days_left(customer: Customer) -> float:
    (row,) = await customer.stage.rows(DAYS_LEFT, id=customer.id)
    return float(row["days"])


async def bought(customer: Customer, tier: str = "pro", period: str = "month") -> Invoice:
    """Order, pay and wait for the receipt."""
    before = len(customer.receipts())
    invoice = await ordered(customer, tier, period)
    await customer.pay(invoice)
    await until(lambda: len(customer.receipts()) > before, what="a receipt")
    return invoice


async def ordered(customer: Customer, tier: str = "pro", period: str = "month") -> Invoice:
    """Order in a new message and wait for its link, whatever other links stand in the chat."""
    known = {one.body["message_id"] for one in customer.messages}

    def fresh(words: str) -> Message | None:
        found = [one for one in customer.messages if one.body["message_id"] not in known]
        return found[-1] if found and words in text(found[-1]) else None

    customer.say("/plans")
    shown: Message = await until(lambda: fresh("Tiers"), what="the tiers")
    customer.forge(f"pay:{tier}:{period}", shown)
    ready: Message = await until(lambda: fresh("invoice is ready"), what="the invoice")
    return customer.stage.world.invoices[str(customer.buttons(ready)[0]["url"]).rsplit("/", 1)[1]]


async def test_a_renewal_adds_to_the_end(ann: Customer) -> None:
    await bought(ann)
    await bought(ann)
    await bought(ann, "pro", "quarter")
    assert 149.9 < await days_left(ann) <= 150
    assert len(await ann.ledger()) == 3


async def test_whoever_comes_back_after_the_end_starts_anew(shared: Stage, ann: Customer) -> None:
    await bought(ann)
    await change(
        shared.db,
        "UPDATE subscriptions SET ends_at = now() - interval '5 days' WHERE user_id = :id",
        id=ann.id,
    )
    ann.say("/status")
    await ann.read("ended on")
    await ann.press("tier:pro")
    await ann.press("period:pro:month")
    await ann.read("Price: $99\nActive until")


async def test_part_then_the_rest_then_too_much_is_one_grant(ann: Customer) -> None:
    invoice = await ann.order()
    await ann.pay(invoice, Decimal(40))
    await ann.read("Still missing: 60.4 USDT (TRC20)")
    await ann.pay(invoice, Decimal("20.4"))
    await ann.read("Still missing: 40 USDT (TRC20)")
    await ann.pay(invoice)
    await ann.read("subscription is active until")
    await ann.pay(invoice, Decimal(7))
    paid = await ann.read("Paid. Thank you!")
    ann.forge(f"check:{(await ann.payment(invoice))['id'].hex}", paid)
    await ann.read("This order is paid")
    assert len(await ann.ledger()) == 1
    assert len(ann.receipts()) == 1


async def test_the_documented_answer_without_amounts_serves_as_well(shared: Stage, ann: Customer) -> None:
    shared.world.project.sparse_info = True
    invoice = await ann.order()
    await ann.pay(invoice, Decimal(40))
    await ann.read("A part of the payment has arrived. The page shows what is still missing.")
    await ann.read("A part of your payment for Pro · 30 days has arrived.")
    await ann.pay(invoice)
    await ann.read("subscription is active until")
    await ann.read("Paid. Thank you!")


async def test_an_expired_invoice_leads_to_a_new_one(shared: Stage, ann: Customer) -> None:
    invoice = await ann.order()
    checkout.expire(shared.world, invoice)
    expired = await ann.read("This invoice has expired.")
    assert [one["text"] for one in ann.buttons(expired)] == ["Order again"]
    await ann.press("period:pro:month")
    await ann.press("pay:pro:month")
    await until(lambda: "invoice is ready" in text(expired), what="a new invoice")
    assert (await ann.invoice()).uuid != invoice.uuid


async def test_an_invoice_that_ends_soon_is_not_offered_again_and_still_counts(
    shared: Stage, ann: Customer
) -> None:
    first = await ann.order()
    await change(
        shared.db,
        "UPDATE payments SET expires_at = now() + interval '29 minutes' WHERE user_id = :id",
        id=ann.id,
    )
    second = await ordered(ann)
    assert second.uuid != first.uuid
    await ann.pay(first)
    await ann.pay(second)
    await until(lambda: len(ann.receipts()) == 2, what="two receipts")
    assert 59.9 < await days_left(ann) <= 60


async def test_an_order_keeps_the_price_it_was_made_with(shared: Stage, ann: Customer) -> None:
    invoice = await ann.order()
    await change(
        shared.db,
        "UPDATE payments SET amount = 49, tier = 'gold', period = 'decade' WHERE user_id = :id",
        id=ann.id,
    )
    invoice.amount_in_fiat = Decimal(49)
    again = await ordered(ann)
    assert again.amount_in_fiat == Decimal(99)
    await ann.pay(invoice)
    receipt = text(await ann.read("subscription is active until"))
    assert "Your gold subscription is active" in receipt
    assert "30 days · $49" in receipt


async def test_another_tier_paid_all_the_same_is_converted_not_lost(ann: Customer) -> None:
    pro, business = await ordered(ann, "pro"), await ordered(ann, "business")
    await ann.pay(pro)
    await until(lambda: len(ann.receipts()) == 1, what="the first receipt")
    await ann.pay(business)
    await until(lambda: len(ann.receipts()) == 2, what="the second receipt")
    assert "Your Business subscription is active" in ann.receipts()[-1]
    # 30 days of Pro at $99 are worth 9.93 days of Business at $299.
    assert 39.8 < await days_left(ann) < 40
    assert [one["kind"] for one in await ann.ledger()].count("payment") == 2


async def test_a_paid_invoice_whose_postback_is_lost_is_found(ann: Customer) -> None:
    invoice = await ann.order()
    await ann.pay(invoice, mode="none")
    await ann.read("subscription is active until", within=9)


@pytest.mark.parametrize("mode", ["twice", "burst"])
async def test_repeated_postbacks_give_one_receipt(ann: Customer, mode: str) -> None:
    invoice = await ann.order()
    await ann.pay(invoice, mode=mode)
    await ann.read("subscription is active until")
    await ann.read("Paid. Thank you!")
    assert len(await ann.ledger()) == 1
    assert len(ann.receipts()) == 1


@pytest.mark.parametrize("mode", ["forged", "other_token", "no_token", "garbage"])
async def test_a_postback_that_nobody_can_trust_gives_nothing(
    shared: Stage, ann: Customer, mode: str
) -> None:
    invoice = await ann.order()
    shared.world.faults.add("cryptocloud", "server_error", method="info", times=None)
    (answer,) = await ann.pay(invoice, mode=mode)
    assert answer["status"] in {400, 401}
    assert await ann.ledger() == []
    shared.world.faults.clear()
    await ann.read("subscription is active until", within=15)


async def test_an_answer_that_never_comes_costs_another_press_and_no_money(
    shared: Stage, ann: Customer
) -> None:
    ann.say("/start")
    await ann.press("tier:pro")
    await ann.press("period:pro:month")
    shared.world.faults.add("cryptocloud", "hang", method="create")
    await ann.press("pay:")
    await ann.read("Nothing was charged")
    await ann.read("could not be made")
    await ann.press("pay:")
    invoice = await ann.invoice()
    made = [one for one in shared.world.invoices.values() if one.order_id is not None]
    payments = await shared.rows("SELECT id::text, status FROM payments WHERE user_id = :id", id=ann.id)
    orders = {row["id"] for row in payments}
    assert {row["status"] for row in payments} == {"failed", "pending"}
    assert len([one for one in made if one.order_id in orders]) == 2
    await ann.pay(invoice)
    await ann.read("subscription is active until")


async def test_the_receipt_and_the_ledger_name_the_same_end(ann: Customer) -> None:
    await bought(ann, "business", "year")
    (entry,) = await ann.ledger()
    end = entry["ends_at"].astimezone(UTC)
    assert abs(end - datetime.now(UTC) - timedelta(days=365)) < timedelta(minutes=1)
    (receipt,) = ann.receipts()
    assert f"{end.day} {end:%b} {end.year}, {end:%H:%M} UTC" in receipt


async def test_an_order_that_is_shown_again_leaves_no_buttons_behind(ann: Customer) -> None:
    first = await ordered(ann)
    stood_in = next(one for one in ann.messages if "invoice is ready" in text(one)).body["message_id"]
    assert await ordered(ann) is first

    def left_behind() -> Message:
        return next(one for one in ann.messages if one.body["message_id"] == stood_in)

    await until(lambda: text(left_behind()) == "This order goes on further below.", what="the old message")
    assert ann.buttons(left_behind()) == []


async def test_a_link_to_another_tier_offers_to_extend_the_running_one(ann: Customer) -> None:
    await bought(ann)
    ann.say("/start tier_business")
    shown = await ann.read("Another tier can be bought once it has ended.")
    assert [one["text"] for one in ann.buttons(shown)] == ["Extend Pro"]
