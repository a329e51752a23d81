"""The conversation as customers have it, through the real process: every command, every button, odd ones too."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from bot.texts import Texts
from sandbox import people
from sandbox.world import Message
from tests.e2e.stage import Customer, Stage, until
from tests.shop import change, invoice

EN = Texts(ZoneInfo("UTC")).speak("en")
NOBODYS = UUID(int=5).hex


def text(message: Message) -> str:
    return str(message.body["text"])


def labels(customer: Customer, message: Message) -> list[str]:
    return [one["text"] for one in customer.buttons(message)]


def days_ahead(days: int) -> str:
    """The date that many days from now, as the bot writes it."""
    return EN.date(datetime.now(UTC) + timedelta(days=days))


async def gone_through(customer: Customer) -> None:
    """Wait until everything that this customer did so far was handled: one's updates go in order."""
    customer.say("/help")
    await customer.read("How it works")


async def alert(customer: Customer, press: str) -> str:
    """What an alert window says; fails where it was a mere toast."""
    words = await customer.toast(press)
    assert customer.stage.world.presses[press].show_alert, words
    return words


async def has_bought(
    customer: Customer, tier: str = "pro", *, ends_in: timedelta = timedelta(days=10)
) -> None:
    """Give a customer a tier as if it had been bought some time ago."""
    customer.say("/start")
    await customer.read("Welcome")
    await change(
        customer.stage.db,
        "UPDATE subscriptions SET tier = :tier, ends_at = now() + :ends_in WHERE user_id = :id",
        tier=tier,
        ends_in=ends_in,
        id=customer.id,
    )


async def payments(customer: Customer) -> list[dict[str, Any]]:
    return await customer.stage.rows(
        "SELECT * FROM payments WHERE user_id = :id ORDER BY created_at", id=customer.id
    )


async def test_a_stranger_is_greeted_by_name_and_sees_what_there_is(shared: Stage, ann: Customer) -> None:
    ann.say("/start")
    greeting = await ann.read("Hello, Ann! Welcome to Subgate")
    assert "Pro — $99 a month" in text(greeting)
    assert labels(ann, greeting) == ["Pro · $99 / month", "Business · $299 / month"]
    (person,) = await shared.rows("SELECT * FROM users WHERE telegram_id = :id", id=ann.id)
    assert (person["first_name"], person["language"]) == ("Ann", "en")
    (subscription,) = await shared.rows("SELECT * FROM subscriptions WHERE user_id = :id", id=ann.id)
    assert (subscription["tier"], subscription["ends_at"]) == ("free", None)


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("tier_pro", "For how long?"),
        ("tier_business", "For teams and heavy load"),
        ("tier_free", "Hello, Ann!"),
        ("tier_gold", "Hello, Ann!"),
        ("tier_", "Hello, Ann!"),
        ("from_a_friend", "Hello, Ann!"),
        ("tier_" + "x" * 59, "Hello, Ann!"),
    ],
)
async def test_a_deep_link_opens_the_tier_it_names_or_the_greeting(
    ann: Customer, link: str, words: str
) -> None:
    ann.say(f"/start {link}")
    await ann.read(words)


async def test_from_the_tiers_to_the_summary_and_back_in_one_message(ann: Customer) -> None:
    ann.say("/plans")
    await ann.press("tier:pro")
    chosen = await ann.read("For how long?")
    assert labels(ann, chosen) == [
        "30 days · $99", "90 days · $282.15 (−5%)", "365 days · $950.40 (−20%)", "‹ All tiers",
    ]  # fmt: skip
    await ann.press("period:pro:year")
    summary = text(await ann.read("Pro · 365 days"))
    assert "Price: $950.40\nYou save $237.60\nActive until " in summary
    assert days_ahead(365) in summary
    await ann.press("tier:pro")
    await ann.read("For how long?")
    await ann.press("plans")
    await ann.read("Which one would you like?")
    assert len(ann.messages) == 1


async def test_an_order_is_one_message_from_the_invoice_to_paid_with_one_receipt(ann: Customer) -> None:
    invoice = await ann.order("pro", "month")
    order = await ann.read("Your invoice is ready")
    number = order.body["message_id"]
    assert ann.buttons(order)[0] == {"text": "Pay $99", "url": invoice.link}
    assert labels(ann, order)[1:] == ["I have paid", "Cancel"]
    assert EN.moment(datetime.fromtimestamp(invoice.expires, UTC)) in text(order)

    await ann.pay(invoice, Decimal(40))
    partly = await ann.read("40 USDT (TRC20) has arrived. Still missing: 60.4 USDT (TRC20)")
    assert partly.body["message_id"] == number
    assert ann.buttons(partly)[0] == {"text": "Pay the rest", "url": invoice.link}
    await ann.read("for Pro · 30 days")

    await ann.pay(invoice)
    paid = await ann.read("Paid. Thank you!")
    assert paid.body["message_id"] == number
    assert ann.buttons(paid) == []
    receipt = await ann.read("subscription is active until")
    payment = await ann.payment(invoice)
    assert payment["id"].hex[:10].upper() in text(receipt)
    assert days_ahead(30) in text(receipt)
    await gone_through(ann)
    assert len(ann.receipts(payment["id"])) == 1


async def test_a_russian_buys_in_russian(shared: Stage, ann: Customer) -> None:
    shared.person(ann.id, language="ru", name="Аня")
    ann.say("/start")
    await ann.read("Здравствуйте, Аня!")
    await ann.press("tier:pro")
    await ann.read("На какой срок?")
    await ann.press("period:pro:year")
    await ann.read("Цена: 950,40\u00a0$\nВы экономите 237,60\u00a0$\nПодписка будет активна до")
    await ann.press("pay:pro:year")
    invoice = await ann.invoice()
    await ann.read("Счёт готов")
    await ann.pay(invoice)
    receipt = await ann.read("Ваша подписка Про активна до")
    assert (await ann.payment(invoice))["id"].hex[:10].upper() in text(receipt)
    await ann.read("Оплачено. Спасибо!")


async def test_a_chosen_language_is_spoken_from_then_on_whatever_telegram_says(
    shared: Stage, ann: Customer
) -> None:
    ann.say("/language")
    offer = await ann.read("Which language do you prefer?")
    assert labels(ann, offer) == ["English", "Русский"]
    press = await ann.press("language:ru")
    assert await ann.toast(press) == "Теперь мы говорим по-русски."
    invoice = await ann.order()
    await ann.pay(invoice)
    await ann.read("Ваша подписка Про активна до")
    menu = people.commands_for(shared.world, ann.id)
    assert {"command": "plans", "description": "Тарифы и цены"} in menu
    assert "revenue" not in {one["command"] for one in menu}


async def test_a_language_that_does_not_exist_is_not_chosen(shared: Stage, ann: Customer) -> None:
    ann.say("/language")
    await ann.read("Which language")
    assert "out of date" in await alert(ann, ann.forge("language:xx"))
    (person,) = await shared.rows("SELECT * FROM users WHERE telegram_id = :id", id=ann.id)
    assert (person["language"], person["language_chosen"]) == ("en", False)


async def test_status_without_anything(ann: Customer) -> None:
    ann.say("/status")
    shown = await ann.read("Your tier: Free.")
    assert "100 requests a month" in text(shown)
    assert labels(ann, shown) == ["See tiers"]
    await ann.press("plans")
    await ann.read("Which one would you like?")


async def test_status_with_a_running_subscription_leads_to_its_extension(ann: Customer) -> None:
    await has_bought(ann, ends_in=timedelta(days=10, minutes=5))
    ann.say("/status")
    shown = await ann.read("active until")
    assert "10 days left" in text(shown)
    assert "100,000 requests a month" in text(shown)
    assert labels(ann, shown) == ["Extend Pro"]
    await ann.press("tier:pro")
    await ann.press("period:pro:month")
    assert days_ahead(40) in text(await ann.read("Extends your subscription until"))


async def test_status_after_the_end(ann: Customer) -> None:
    await has_bought(ann, ends_in=-timedelta(days=1))
    ann.say("/status")
    shown = await ann.read("subscription ended on")
    assert "You now have Free." in text(shown)
    assert labels(ann, shown) == ["Pro again", "See tiers"]


async def test_status_with_a_tier_that_is_no_longer_on_sale(ann: Customer) -> None:
    await has_bought(ann, "gold")
    ann.say("/status")
    shown = await ann.read("gold — active until")
    assert labels(ann, shown) == ["See tiers"]


async def test_status_shows_the_open_invoice_and_what_became_of_it(ann: Customer) -> None:
    invoice = await ann.order()
    ann.say("/status")
    shown = await ann.read("Open invoice: Pro · 30 days")
    assert ann.buttons(shown)[0] == {"text": "Pay $99", "url": invoice.link}
    await ann.pay(invoice, Decimal(1))
    await ann.read("Still missing")
    ann.say("/status")
    shown = await ann.read("Partly paid invoice: Pro · 30 days")
    assert ann.buttons(shown)[0] == {"text": "Pay the rest", "url": invoice.link}
    await ann.pay(invoice)
    await ann.read("subscription is active until")
    ann.say("/status")
    shown = await ann.read("Pro — active until")
    assert "nvoice" not in text(shown)


async def test_the_history_turns_its_pages_both_ways(shared: Stage, ann: Customer) -> None:
    ann.say("/history")
    assert labels(ann, await ann.read("No payments yet.")) == ["See tiers"]
    states = ("paid", "expired", "canceled", "failed", "refunded", "paid")
    numbers = []
    for age in range(12):
        status = states[age % 6]
        paid: dict[str, Any] = (
            {"paid_at": datetime.now(UTC) - timedelta(days=age)} if status in {"paid", "refunded"} else {}
        )
        payment, _ = await invoice(
            shared.db, ann.id, status=status, age=timedelta(days=age), next_check_at=None, **paid
        )
        numbers.append(payment.hex[:10].upper())

    def on_page(message: Message) -> list[int]:
        return [at for at, number in enumerate(numbers) if number in text(message)]

    ann.say("/history")
    first = await ann.read("Your payments")
    assert on_page(first) == [0, 1, 2, 3, 4]
    assert all(word in text(first) for word in ("paid", "expired", "canceled", "not made", "refunded"))
    assert labels(ann, first) == ["▶"]
    await ann.press("history:o:")
    await until(lambda: on_page(first) == [5, 6, 7, 8, 9], what="the second page")
    assert labels(ann, first) == ["◀", "▶"]
    await ann.press("history:o:")
    await until(lambda: on_page(first) == [10, 11], what="the third page")
    assert labels(ann, first) == ["◀"]
    await ann.press("history:n:")
    await until(lambda: on_page(first) == [5, 6, 7, 8, 9], what="the second page again")
    await ann.press("history:n:")
    await until(lambda: on_page(first) == [0, 1, 2, 3, 4], what="the first page again")


async def test_pages_of_somebody_elses_history_stay_shut(shared: Stage, ann: Customer) -> None:
    bob = shared.person(ann.id + 5_000_000, name="Bob")
    bob.say("/start")
    await bob.read("Hello, Bob!")
    payment, _ = await invoice(
        shared.db, bob.id, status="paid", paid_at=datetime.now(UTC), next_check_at=None
    )
    ann.say("/history")
    await ann.read("No payments yet.")
    for direction in "on":
        ann.forge(f"history:{direction}:{payment.hex}")
    await gone_through(ann)
    await ann.read("Nothing further here.")
    assert not any(payment.hex[:10].upper() in one for one in ann.texts())


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/help", "How it works"),
        ("/support", "Support is not set up here yet"),
        ("/paysupport", "whoever gave you this bot"),
        ("/terms", "Terms in short"),
        ("/revenue", "There is no such command"),
        ("/nonsense", "There is no such command"),
        ("/", "There is no such command"),
        ("hello?", "I understand buttons and commands"),
        ("💸" * 2000, "I understand buttons and commands"),
    ],
)
async def test_whatever_is_written_is_answered(ann: Customer, command: str, words: str) -> None:
    ann.say(command)
    await ann.read(words)
    assert len(ann.messages) == 1


async def test_messages_without_text_are_answered_and_edited_ones_are_not(
    shared: Stage, ann: Customer
) -> None:
    person = shared.world.people[ann.id]
    person.started = True
    message = {"message_id": 1, "from": person.as_user(), "chat": person.as_chat(), "date": 0}
    odd: list[dict[str, Any]] = [
        {"sticker": {"file_id": "1", "file_unique_id": "1", "type": "regular", "width": 1, "height": 1,
                     "is_animated": False, "is_video": False}},
        {"contact": {"phone_number": "1", "first_name": "Ann"}},
        {"location": {"latitude": 1.0, "longitude": 1.0}},
        {"text": "ends \u0000 oddly"},
        {"photo": [], "caption": "look at this"},
    ]  # fmt: skip
    for one in odd:
        people.inject(shared.world, {"message": message | one})
    people.inject(shared.world, {"edited_message": message | {"text": "/start", "edit_date": 1}})
    await gone_through(ann)
    answers = [one for one in ann.texts() if "I understand buttons" in one]
    assert len(answers) == len(odd)
    assert len(ann.messages) == len(odd) + 1
    assert not await shared.rows("SELECT * FROM failed_updates WHERE dead_at IS NOT NULL")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("garbage", "out of date"),
        ("tier", "out of date"),
        ("tier:pro:month", "out of date"),
        ("check:not-a-payment", "out of date"),
        ("history:x:" + NOBODYS, "out of date"),
        ("x" * 250, "out of date"),
        ("tier:" + "x" * 200, "not on sale any more"),
        ("tier:gold", "not on sale any more"),
        ("tier:free", "not on sale any more"),
        ("period:gold:month", "not on sale any more"),
        ("period:pro:decade", "not on sale any more"),
        ("period:free:month", "not on sale any more"),
        (f"check:{NOBODYS}", "not known here"),
        (f"cancel:{NOBODYS}", "not known here"),
    ],
)
async def test_a_button_that_means_nothing_any_more_says_so(ann: Customer, data: str, words: str) -> None:
    ann.say("/plans")
    shown = await ann.read("Which one would you like?")
    assert words in await alert(ann, ann.forge(data))
    assert len(ann.messages) == 1
    assert shown.edits == 0


async def test_an_order_of_what_is_not_on_sale_is_refused(ann: Customer) -> None:
    ann.say("/plans")
    await ann.read("Which one would you like?")
    for data in ("pay:free:month", "pay:gold:month", "pay:pro:decade"):
        ann.forge(data)
    await until(lambda: len([one for one in ann.texts() if "not on sale any more" in one]) == 3)
    assert await payments(ann) == []


async def test_somebody_elses_order_can_neither_be_seen_nor_touched(shared: Stage, ann: Customer) -> None:
    invoice = await ann.order("business", "year")
    payment = await ann.payment(invoice)
    bob = shared.person(ann.id + 5_000_000, name="Bob")
    bob.say("/plans")
    await bob.read("Which one would you like?")
    for data in (f"check:{payment['id'].hex}", f"cancel:{payment['id'].hex}"):
        words = await alert(bob, bob.forge(data))
        assert words == "This order is not known here. /history shows yours."
    assert len(bob.messages) == 1
    assert (await ann.payment(invoice))["wake"] == payment["wake"]
    assert invoice.status == "created"


async def test_ten_presses_on_pay_are_one_invoice(shared: Stage, ann: Customer) -> None:
    ann.say("/start")
    await ann.press("tier:pro")
    await ann.press("period:pro:month")
    summary = await ann.read("Pro · 30 days")
    presses = [ann.forge("pay:pro:month", summary) for _ in range(10)]
    for press in presses:
        assert await ann.toast(press) == "Making your invoice…"
    invoice = await ann.invoice()
    await gone_through(ann)
    (payment,) = await payments(ann)
    made = [one for one in shared.world.invoices.values() if one.order_id == str(payment["id"])]
    assert [one.uuid for one in made] == [invoice.uuid]
    assert len([one for one in ann.texts() if "Your invoice is ready" in one]) == 1


async def test_pay_in_another_message_shows_the_open_invoice_there(shared: Stage, ann: Customer) -> None:
    summaries = []
    for _ in range(2):
        ann.say("/plans")
        await until(lambda: ann.messages and "Which one" in ann.texts()[-1])
        await ann.press("tier:pro")
        await ann.press("period:pro:month")
        await until(lambda: "Pro · 30 days" in ann.texts()[-1], what="the summary in the newest message")
        summaries.append(ann.messages[-1])
    ann.forge("pay:pro:month", summaries[0])
    invoice = await ann.invoice()
    await until(lambda: "invoice is ready" in text(summaries[0]))
    ann.forge("pay:pro:month", summaries[1])
    await until(
        lambda: "invoice is ready" in text(summaries[1]), what="the same invoice in the second message"
    )
    assert ann.buttons(summaries[1])[0]["url"] == invoice.link
    assert len(await payments(ann)) == 1
    await ann.pay(invoice)
    await until(lambda: "Paid. Thank you!" in text(summaries[1]))
    await ann.read("subscription is active until")
    assert len(ann.receipts()) == 1


async def test_pay_once_more_after_paying_is_a_new_order(ann: Customer) -> None:
    first = await ann.order()
    await ann.pay(first)
    paid = await ann.read("Paid. Thank you!")
    await ann.read("subscription is active until")
    ann.forge("pay:pro:month", paid)
    await ann.read("Your invoice is ready")
    second = await ann.invoice()
    assert second.uuid != first.uuid
    assert [one["status"] for one in await payments(ann)] == ["paid", "pending"]


async def test_an_order_can_be_canceled_and_made_again(ann: Customer) -> None:
    invoice = await ann.order()
    press = await ann.press("cancel:")
    assert await ann.toast(press) == "Canceling…"
    canceled = await ann.read("Canceled. You owe nothing.")
    assert invoice.status == "canceled"
    assert labels(ann, canceled) == ["Order again"]
    await ann.press("period:pro:month")
    await ann.press("pay:pro:month")
    await until(lambda: "invoice is ready" in text(canceled), what="the new invoice")
    again = await ann.invoice()
    assert again.uuid != invoice.uuid
    assert [one["status"] for one in await payments(ann)] == ["canceled", "pending"]


async def test_money_for_a_canceled_order_counts_and_leaves_the_new_order_readable(ann: Customer) -> None:
    old = await ann.order()
    await ann.press("cancel:")
    shown = await ann.read("Canceled.")
    await ann.press("period:pro:month")
    await ann.press("pay:pro:month")
    await until(lambda: "invoice is ready" in text(shown), what="the new invoice")
    new = await ann.invoice()
    await ann.pay(old)
    await ann.read("subscription is active until")
    await ann.read("Paid. Thank you!")
    assert "invoice is ready" in text(shown)
    assert ann.buttons(shown)[0]["url"] == new.link
    assert (await ann.payment(old))["late"]


async def test_cancel_after_paying_pays_nobody_back_silently(ann: Customer) -> None:
    invoice = await ann.order()
    await ann.pay(invoice, mode="none")
    await ann.press("cancel:")
    await ann.read("subscription is active until")
    paid = await ann.read("Paid. Thank you!")
    ann.forge(f"cancel:{(await ann.payment(invoice))['id'].hex}", paid)
    await ann.read("This order is paid: receipt")
    assert len(ann.receipts()) == 1


async def test_cancel_of_a_partly_paid_order_is_refused(ann: Customer) -> None:
    invoice = await ann.order()
    await ann.pay(invoice, Decimal(40))
    partly = await ann.read("Still missing")
    ann.forge(f"cancel:{(await ann.payment(invoice))['id'].hex}", partly)
    await ann.read("can no longer be canceled")
    assert (await ann.payment(invoice))["status"] == "partial"


async def test_i_have_paid_looks_at_once(ann: Customer) -> None:
    invoice = await ann.order()
    press = await ann.press("check:")
    assert await ann.toast(press) == "Looking…"
    await ann.read("Not seen yet")
    await ann.pay(invoice, Decimal(40))
    await ann.press("check:")
    await ann.read("40 USDT (TRC20) has arrived for Pro · 30 days. Still missing: 60.4 USDT (TRC20)")
    await ann.press("check:")
    await ann.read("40 USDT (TRC20) has arrived, still missing: 60.4 USDT (TRC20)")
    await ann.pay(invoice, mode="none")
    await ann.press("check:")
    await ann.read("subscription is active until")
    paid = await ann.read("Paid. Thank you!")
    payment = await ann.payment(invoice)
    ann.forge(f"check:{payment['id'].hex}", paid)
    await ann.read(f"This order is paid: receipt {payment['id'].hex[:10].upper()}")
    assert len(ann.receipts()) == 1


async def test_i_have_paid_while_cryptocloud_is_away(shared: Stage, ann: Customer) -> None:
    await ann.order()
    shared.world.faults.add("cryptocloud", "html_502", method="info", times=None)
    await ann.press("check:")
    await ann.read("The payment service does not answer right now. Your payment is safe")
    shared.world.faults.clear()


async def test_i_have_paid_about_a_canceled_order(ann: Customer) -> None:
    invoice = await ann.order()
    await ann.press("cancel:")
    canceled = await ann.read("Canceled.")
    ann.forge(f"check:{(await ann.payment(invoice))['id'].hex}", canceled)
    await ann.read("This order is closed.")


@pytest.mark.parametrize(
    ("method", "press"), [("create", "pay:pro:month"), ("canceled", "cancel:")], ids=["pay", "cancel"]
)
async def test_cryptocloud_being_away_is_said_and_can_be_tried_again(
    shared: Stage, ann: Customer, method: str, press: str
) -> None:
    ann.say("/start")
    await ann.press("tier:pro")
    await ann.press("period:pro:month")
    if method == "canceled":
        await ann.press("pay:pro:month")
        await ann.invoice()
    shared.world.faults.add("cryptocloud", "html_502", method=method, times=None)
    await ann.press(press)
    await ann.read("The payment service does not answer.")
    shared.world.faults.clear()
    if method == "create":
        await ann.read("The invoice could not be made. Nothing was charged.")
        await ann.press("pay:pro:month")
        await ann.invoice()
    else:
        await ann.press(press)
        await ann.read("Canceled.")


async def test_another_tier_is_refused_before_anybody_pays(ann: Customer) -> None:
    await has_bought(ann, ends_in=timedelta(days=10, minutes=5))
    ann.say("/plans")
    shown = await ann.read("You have Pro until")
    refusal = await alert(ann, await ann.press("tier:business"))
    assert refusal.startswith(f"You have Pro until {days_ahead(10)}")
    assert "can be extended" in refusal
    assert shown.edits == 0
    ann.say("/start tier_business")
    await ann.read("You have Pro until")
    for data in ("period:business:month", "pay:business:month"):
        ann.forge(data)
    await gone_through(ann)
    assert await payments(ann) == []


async def test_a_deep_link_to_the_running_tier_leads_to_its_extension(ann: Customer) -> None:
    await has_bought(ann)
    ann.say("/start tier_pro")
    await ann.read("For how long?")


async def test_two_different_open_orders_paid_together_add_up(ann: Customer) -> None:
    month = await ann.order("pro", "month")
    await ann.order("pro", "year")
    await until(lambda: len([one for one in ann.texts() if "invoice is ready" in one]) == 2)
    year = await ann.invoice()
    assert month.uuid != year.uuid
    await ann.pay(month)
    await ann.pay(year)
    await until(lambda: len(ann.receipts()) == 2, what="two receipts")
    assert days_ahead(395) in "".join(ann.receipts())
    assert len(await ann.ledger()) == 2


async def test_a_flood_of_orders_is_refused_with_words(shared: Stage, ann: Customer) -> None:
    ann.say("/start")
    await ann.read("Hello")
    for _ in range(10):
        await invoice(shared.db, ann.id, status="expired", next_check_at=None)
    await ann.press("tier:pro")
    await ann.press("period:pro:month")
    await ann.press("pay:pro:month")
    await ann.read("That is a lot of invoices for one hour.")
