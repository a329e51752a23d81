"""Messages by themselves: every state of an order, every kind of word to people, in both languages."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from bot.notices import notice, order_message
from bot.screens import Screen
from bot.texts import LANGUAGES, Texts
from sandbox.telegram_rules import TEXT_LIMIT, check_markup, formatted
from services.notifications import Alert, Claimed, Kind
from services.payments import Status
from services.tiers import PriceList
from tests.shop import ordered

TEXTS = Texts(ZoneInfo("UTC"))
UNTIL = datetime(2026, 12, 24, 18, 0, tzinfo=UTC)
ABOUT = {
    "payment": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "number": "0F8FAD5BD9",
    "user": 42,
    "tier": "pro",
    "period": "month",
    "days": 30,
    "amount": "99.00",
    "currency": "USD",
    "ends_at": UNTIL.isoformat(),
}
PARTLY = {"amount_paid": "40", "to_surcharge": "60.4", "coin": "USDT_TRC20", "status": "partial"}


def read(screen: Screen) -> str:
    """What a person reads; fails where Telegram would refuse the screen."""
    if screen.keyboard is not None:
        check_markup(screen.keyboard.model_dump(exclude_none=True))
    text, _ = formatted(screen.text, "HTML", [], limit=TEXT_LIMIT, what="message")
    assert text.strip()
    return text


def claimed(kind: Kind, **payload: Any) -> Claimed:
    return Claimed(1, 42, kind, f"{kind}:1", payload, 1, 0, "en", uuid4())


def buttons(screen: Screen) -> list[str]:
    return [one.text for row in (screen.keyboard.inline_keyboard if screen.keyboard else ()) for one in row]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("provider", [None, PARTLY, {"status": "partial"}])
@pytest.mark.parametrize("review", [False, True])
def test_an_order_is_told_in_every_state(
    price_list: PriceList, language: str, status: Status, provider: dict[str, Any] | None, review: bool
) -> None:
    payment = ordered(
        status=status, provider=provider, review=review, expires_at=UNTIL, invoice_url="https://pay.example/1"
    )
    text = read(order_message(TEXTS.speak(language), price_list, payment))
    assert "99" in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("status", "provider", "words", "shown"),
    [
        (Status.PENDING, None, "Please pay it before 24 Dec 2026", ["Pay $99", "I have paid", "Cancel"]),
        (Status.PARTIAL, PARTLY, "Still missing: 60.4 USDT (TRC20)", ["Pay the rest", "I have paid"]),
        (Status.PARTIAL, None, "The page shows what is still missing", ["Pay the rest", "I have paid"]),
        (Status.PAID, None, "Paid. Thank you!", []),
        (Status.EXPIRED, None, "has expired", ["Order again"]),
        (Status.EXPIRED, PARTLY, "What arrived: 40 USDT (TRC20)", []),
        (Status.CANCELED, None, "You owe nothing", ["Order again"]),
        (Status.CANCELED, PARTLY, "What arrived: 40 USDT (TRC20)", []),
        (Status.FAILED, None, "Nothing was charged", ["Try again"]),
        (Status.REFUNDED, None, "refunded", []),
    ],
)
def test_an_order_offers_what_can_be_done_about_it(
    price_list: PriceList, status: Status, provider: dict[str, Any] | None, words: str, shown: list[str]
) -> None:
    payment = ordered(status=status, provider=provider, expires_at=UNTIL, invoice_url="https://pay.example/1")
    screen = order_message(TEXTS.speak("en"), price_list, payment)
    assert words in read(screen)
    assert buttons(screen) == shown


def test_an_order_under_review_offers_no_second_payment(price_list: PriceList) -> None:
    payment = ordered(review=True, expires_at=UNTIL, invoice_url="https://pay.example/1")
    assert buttons(order_message(TEXTS.speak("en"), price_list, payment)) == []


@pytest.mark.parametrize("status", [Status.EXPIRED, Status.CANCELED, Status.FAILED])
def test_what_is_no_longer_on_sale_is_not_offered_again(price_list: PriceList, status: Status) -> None:
    for gone in (ordered(status=status, tier="gold"), ordered(status=status, period="decade")):
        screen = order_message(TEXTS.speak("en"), price_list, gone)
        assert buttons(screen) == ["See tiers"]


@pytest.mark.parametrize(("language", "word"), [("en", " active"), ("ru", "активна")])
def test_a_receipt_says_active_until_when_and_its_number(
    price_list: PriceList, language: str, word: str
) -> None:
    text = read(notice(TEXTS.speak(language), price_list, claimed(Kind.RECEIPT, **ABOUT)))
    assert word in text
    assert "18:00 UTC" in text
    assert "0F8FAD5BD9" in text


def test_a_receipt_for_a_tier_that_is_gone_names_it_by_its_code(price_list: PriceList) -> None:
    text = read(notice(TEXTS.speak("en"), price_list, claimed(Kind.RECEIPT, **ABOUT | {"tier": "gold"})))
    assert "Your gold subscription is active" in text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in {Kind.ORDER, Kind.ALERT}])
@pytest.mark.parametrize(
    "amounts",
    [{}, {"received": "0", "missing": "", "coin": ""}, {"received": "40", "missing": "60.4", "coin": "BTC"}],
)
def test_every_kind_of_word_is_told(
    price_list: PriceList, language: str, kind: Kind, amounts: dict[str, str]
) -> None:
    text = read(notice(TEXTS.speak(language), price_list, claimed(kind, **ABOUT, **amounts)))
    assert "None" not in text
    assert "  " not in text


def test_an_invoice_that_ended_partly_paid_names_no_amount_that_nobody_told(price_list: PriceList) -> None:
    unknown = claimed(Kind.PARTIAL_ENDED, **ABOUT, received="0", coin="")
    assert "What arrived: a part of the price." in read(notice(TEXTS.speak("en"), price_list, unknown))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("what", Alert)
@pytest.mark.parametrize("surplus", ["", "5.03"])
def test_every_alert_is_told(price_list: PriceList, language: str, what: Alert, surplus: str) -> None:
    said = ABOUT | {
        "what": what.value,
        "reason": "the invoice is for <b>another</b> order",
        "surplus": surplus,
        "received": "0",
        "coin": "",
        "status": "frozen",
        "invoice": "ABCD1234",
        "error": "ValueError: <html>&",
        "got_amount": "1",
        "got_currency": "EUR",
        "update": "77",
        "about": "receipt:1",
    }
    text = read(notice(TEXTS.speak(language), price_list, claimed(Kind.ALERT, **said)))
    assert "None" not in text
    assert "  " not in text


def test_an_order_message_is_never_told_from_a_payload(price_list: PriceList) -> None:
    with pytest.raises(LookupError):
        notice(TEXTS.speak("en"), price_list, claimed(Kind.ORDER, **ABOUT))


def test_a_price_list_in_another_currency_tells_prices_in_it(price_list: PriceList) -> None:
    euros = replace(price_list, currency="EUR")
    text = read(order_message(TEXTS.speak("en"), euros, ordered(currency="EUR", status=Status.PAID)))
    assert "€99" in text


def test_whoever_overpaid_reads_it_in_the_receipt(price_list: PriceList) -> None:
    say = TEXTS.speak("en")
    plain = read(notice(say, price_list, claimed(Kind.RECEIPT, **ABOUT, overpaid="", surplus="")))
    assert "overpaid" not in plain
    unknown = read(notice(say, price_list, claimed(Kind.RECEIPT, **ABOUT, overpaid="yes", surplus="")))
    assert "You overpaid." in unknown
    known = read(notice(say, price_list, claimed(Kind.RECEIPT, **ABOUT, overpaid="yes", surplus="5.03")))
    assert "You overpaid by $5.03. It is not lost: please write to support" in known


def test_whoever_pays_more_after_the_receipt_is_told_by_a_message_of_its_own(price_list: PriceList) -> None:
    later = notice(TEXTS.speak("en"), price_list, claimed(Kind.OVERPAID, **ABOUT, surplus="30"))
    words = (
        "More money has arrived for Pro · 30 days, receipt 0F8FAD5BD9.\nYou overpaid by $30. It is not lost"
    )
    assert read(later).startswith(words)
