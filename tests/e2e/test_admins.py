"""What merchants see: their revenue, their sales, and what needs them; and that nobody else sees it."""

from decimal import Decimal
from typing import Any

import pytest

from sandbox import checkout, people
from sandbox.world import Message
from tests.e2e.stage import ADMIN, Customer, Stage, until


@pytest.fixture
def admin(shared: Stage) -> Customer:
    return Customer(shared, ADMIN)


@pytest.fixture(autouse=True)
def _sales_are_open_again(shared: Stage) -> Any:
    yield
    shared.world.faults.clear()
    shared.world.project.test_mode = False


def text(message: Message) -> str:
    return str(message.body["text"])


async def number(customer: Customer, invoice: Any) -> str:
    """The number by which people name the order of an invoice."""
    return str((await customer.payment(invoice))["id"].hex[:10].upper())


async def to_the_summary(customer: Customer) -> None:
    customer.say("/start")
    await customer.press("tier:pro")
    await customer.press("period:pro:month")
    await customer.read("Price: $99")


async def test_a_sale_is_told_with_everything_that_one_looks_up(
    shared: Stage, ann: Customer, admin: Customer
) -> None:
    invoice = await ann.order("business", "quarter")
    await ann.pay(invoice)
    sale = text(await admin.read(await number(ann, invoice)))
    assert sale.startswith("💰 $852.15 — Business · 90 days")
    assert str(ann.id) in sale
    await ann.read("subscription is active until")
    assert not any("💰" in one for one in ann.texts())


async def test_revenue_counts_what_was_sold(shared: Stage, ann: Customer, admin: Customer) -> None:
    def sold() -> int:
        lines = text(admin.messages[-1]).splitlines()
        (total,) = [one for one in lines if one.startswith("All time: $")] or ["0 sales"]
        return int(total.split("·")[-1].split()[0].replace(",", ""))

    async def ask() -> int:
        before = len(admin.messages)
        admin.say("/revenue")
        await until(lambda: len(admin.messages) > before and "Revenue (UTC)" in admin.texts()[-1])
        return sold()

    earlier = await ask()
    invoice = await ann.order()
    await ann.pay(invoice)
    await admin.read(await number(ann, invoice))
    assert await ask() == earlier + 1


async def test_revenue_does_not_exist_for_anybody_else(ann: Customer) -> None:
    ann.say("/nonsense")
    unknown = text(await ann.read("no such command"))
    ann.say("/revenue")
    await until(lambda: len(ann.messages) == 2)
    assert ann.texts() == [unknown, unknown]


@pytest.mark.parametrize(
    "more",
    [
        {"forward_origin": {"type": "hidden_user", "date": 0, "sender_user_name": "Merchant"}},
        {"sender_chat": {"id": -1001, "type": "channel", "title": "The merchant's channel"}},
    ],
    ids=["forwarded", "in the name of a chat"],
)
async def test_revenue_is_told_only_to_an_admins_own_words(
    shared: Stage, admin: Customer, more: dict[str, Any]
) -> None:
    person = shared.world.people[ADMIN]
    before = len([one for one in admin.texts() if "Revenue (" in one])
    message = {"message_id": 1, "from": person.as_user(), "chat": person.as_chat(), "date": 0}
    people.inject(shared.world, {"message": message | {"text": "/revenue"} | more})
    await admin.read("There is no such command")
    assert len([one for one in admin.texts() if "Revenue (" in one]) == before


async def test_an_admin_in_a_group_is_not_answered(shared: Stage, ann: Customer, admin: Customer) -> None:
    shared.world.groups[-77] = "Everybody"
    message = {
        "message_id": 1,
        "from": shared.world.people[ADMIN].as_user(),
        "chat": {"id": -77, "type": "group", "title": "Everybody"},
        "date": 0,
        "text": "/revenue",
    }
    people.inject(shared.world, {"message": message})
    ann.say("/help")
    await ann.read("How it works")
    await until(lambda: not shared.world.updates.waiting)
    assert not shared.world.messages(-77)


async def test_only_admins_see_the_command_in_their_menu(shared: Stage, ann: Customer) -> None:
    def menu(person: int) -> set[str]:
        return {one["command"] for one in people.commands_for(shared.world, person)}

    await until(lambda: "revenue" in menu(ADMIN), what="the admin's menu")
    assert menu(ann.id) == menu(ADMIN) - {"revenue"}


async def test_an_overpaid_order_is_granted_once_and_told(ann: Customer, admin: Customer) -> None:
    invoice = await ann.order()
    await ann.pay(invoice, invoice.to_surcharge + Decimal(5))
    receipt = await number(ann, invoice)
    await ann.read("You overpaid by $5.")
    await admin.read(f"Payment {receipt} ($99, customer {ann.id}) was overpaid by $5.")
    await ann.read("subscription is active until")
    assert len(await ann.ledger()) == 1


async def test_money_that_comes_after_the_end_is_told(shared: Stage, ann: Customer, admin: Customer) -> None:
    invoice = await ann.order()
    checkout.expire(shared.world, invoice)
    await ann.read("has expired")
    await ann.pay(invoice)
    await ann.read("subscription is active until")
    await admin.read(f"Payment {await number(ann, invoice)} ($99, customer {ann.id}) was paid after")


async def test_an_invoice_that_ends_partly_paid_is_told_to_both(
    shared: Stage, ann: Customer, admin: Customer
) -> None:
    invoice = await ann.order()
    await ann.pay(invoice, Decimal(40))
    await ann.read("Still missing")
    checkout.expire(shared.world, invoice)
    receipt = await number(ann, invoice)
    await admin.read(f"Payment {receipt} ($99, customer {ann.id}) ended before it was paid in full.")
    told = text(await ann.read(f"name {receipt}"))
    assert "ended before it was paid in full. What arrived: 40 USDT (TRC20)." in told


async def test_a_payment_that_does_not_fit_its_order_waits_for_the_merchant(
    shared: Stage, ann: Customer, admin: Customer
) -> None:
    invoice = await ann.order()
    shared.world.faults.add("cryptocloud", "other_amount", method="info", times=None, amount="1")
    await ann.pay(invoice)
    receipt = await number(ann, invoice)
    alert = text(await admin.read(f"payment accept {receipt}"))
    assert "$99" in alert
    assert str(ann.id) in alert
    assert receipt in text(await ann.read("A person has to look at it first"))
    order = await ann.read("a person is looking at it")
    assert ann.buttons(order) == []
    assert await ann.ledger() == []


async def test_a_project_in_test_mode_sells_nothing_and_says_which_switch(
    shared: Stage, ann: Customer, admin: Customer
) -> None:
    await to_the_summary(ann)
    shared.world.project.test_mode = True
    await ann.press("pay:")
    await ann.read("Sales are closed for the moment. Nothing was charged")
    order = await ann.read("could not be made")
    assert not any("url" in one for one in ann.buttons(order))
    await admin.read("the CryptoCloud project is in test mode")
    (payment,) = await shared.rows("SELECT * FROM payments WHERE user_id = :id", id=ann.id)
    assert (payment["status"], payment["invoice_url"]) == ("failed", None)
    (made,) = [one for one in shared.world.invoices.values() if one.order_id == str(payment["id"])]
    assert made.status == "canceled"


@pytest.mark.parametrize(
    ("fault", "words"),
    [("other_amount", "made an invoice for $1 instead of $99"), ("other_currency", "in EUR instead of USD")],
)
async def test_an_invoice_for_something_else_is_never_shown(
    shared: Stage, ann: Customer, admin: Customer, fault: str, words: str
) -> None:
    await to_the_summary(ann)
    shared.world.faults.add("cryptocloud", fault, method="create")
    await ann.press("pay:")
    await ann.read("Sales are closed for the moment. Nothing was charged")
    await admin.read(words)


async def test_a_refused_key_is_told_to_the_merchant_and_not_blamed_on_the_customer(
    shared: Stage, ann: Customer, admin: Customer
) -> None:
    await to_the_summary(ann)
    shared.world.faults.add("cryptocloud", "unauthorized", times=None)
    await ann.press("pay:")
    await ann.read("Sales are closed for the moment. Nothing was charged")
    shared.world.faults.clear()
    await ann.press("pay:")
    await ann.invoice()


async def test_a_status_that_we_do_not_know_is_told_once_and_changes_nothing(
    shared: Stage, ann: Customer, admin: Customer
) -> None:
    invoice = await ann.order()
    shared.world.faults.add("cryptocloud", "unknown_status", method="info", times=None, word="defrosted")
    await ann.press("check:")
    await ann.read("Not seen yet")
    await admin.read("a status that we do not know: defrosted")
    assert (await ann.payment(invoice))["status"] == "pending"
    shared.world.faults.clear()
    await ann.pay(invoice)
    await ann.read("subscription is active until")
    assert len([one for one in admin.texts() if "defrosted" in one]) == 1


async def test_a_merchant_buys_like_everybody_else(shared: Stage, admin: Customer) -> None:
    invoice = await admin.order("pro", "month")
    await admin.pay(invoice)
    await admin.read("subscription is active until")
    await admin.read(f"Customer {ADMIN}, receipt {await number(admin, invoice)}")
