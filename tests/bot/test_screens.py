"""Screens that people ask for: their tiers, their standing, their payments, the shop's revenue."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest

from bot import screens
from bot.texts import LANGUAGES, Texts
from sandbox.telegram_rules import TEXT_LIMIT, formatted
from services.payments import HistoryPage, Status
from services.reports import Earned
from services.subscriptions import StatusView
from services.tiers import PriceList
from tests.shop import MONTH, ordered

TEXTS = Texts(ZoneInfo("UTC"))
EN, RU = TEXTS.speak("en"), TEXTS.speak("ru")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def read(screen: screens.Screen) -> str:
    text, _ = formatted(screen.text, "HTML", [], limit=TEXT_LIMIT, what="message")
    return text


def buttons(screen: screens.Screen) -> list[str]:
    return [one.text for row in (screen.keyboard.inline_keyboard if screen.keyboard else ()) for one in row]


def standing(tier: str = "free", ends_in: timedelta | None = None, **order: Any) -> StatusView:
    nothing: dict[str, Any] = dict.fromkeys(name for name in StatusView.__slots__ if name.startswith("order"))
    ends_at = NOW + ends_in if ends_in is not None else None
    return StatusView(tier=tier, ends_at=ends_at, now=NOW, **(nothing | order))


OPEN_ORDER: dict[str, Any] = {
    "order": UUID(int=7),
    "order_url": "https://pay.example/ABCD1234",
    "order_expires_at": NOW + timedelta(hours=3),
    "order_status": "pending",
    "order_tier": "pro",
    "order_seconds": MONTH,
    "order_amount": Decimal("99.00"),
    "order_currency": "USD",
}


def test_the_tiers_show_price_quota_and_what_one_has(price_list: PriceList) -> None:
    text = read(screens.plans(EN, price_list, standing("pro", timedelta(days=9))))
    assert "Pro — $99 a month, 100,000 requests a month" in text
    assert "• Free, 100 requests a month" in text
    assert "You have Pro until 2 Dec 2026, 12:00 UTC." in text


def test_while_a_tier_runs_only_that_one_is_offered(price_list: PriceList) -> None:
    running = screens.plans(EN, price_list, standing("pro", timedelta(days=9)))
    assert buttons(running) == ["Extend Pro"]
    assert "Another tier can be bought once it has ended." in read(running)
    ended = screens.plans(EN, price_list, standing("pro", -timedelta(days=9)))
    assert buttons(ended) == ["Pro · $99 / month", "Business · $299 / month"]


def test_a_running_tier_that_is_no_longer_sold_offers_nothing(price_list: PriceList) -> None:
    assert screens.plans(EN, price_list, standing("gold", timedelta(days=9))).keyboard is None


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "ends_in", [None, timedelta(days=9), timedelta(seconds=1), timedelta(0), -timedelta(1)]
)
@pytest.mark.parametrize("tier", ["free", "pro", "gold"])
@pytest.mark.parametrize("order", [{}, OPEN_ORDER, OPEN_ORDER | {"order_status": "partial"}])
def test_every_standing_can_be_told(
    price_list: PriceList, language: str, ends_in: timedelta | None, tier: str, order: dict[str, Any]
) -> None:
    screen = screens.status(TEXTS.speak(language), price_list, standing(tier, ends_in, **order))
    assert "None" not in read(screen)
    assert buttons(screen)


@pytest.mark.parametrize(
    ("now", "words", "shown"),
    [
        (standing(), "Your tier: Free.\n\n100 requests a month", ["See tiers"]),
        (
            standing("pro", timedelta(days=9, hours=1)),
            "Pro — active until 2 Dec 2026, 13:00 UTC.\n9 days left\n\n100,000 requests a month",
            ["Extend Pro"],
        ),
        (
            standing("pro", -timedelta(days=1)),
            "Your Pro subscription ended on 22 Nov 2026, 12:00 UTC. You now have Free.\n\n100 requests",
            ["Pro again", "See tiers"],
        ),
        (standing("gold", timedelta(days=9)), "gold — active until 2 Dec 2026", ["See tiers"]),
        (standing("gold", -timedelta(days=9)), "Your tier: Free.", ["See tiers"]),
        (
            standing(**OPEN_ORDER),
            "Open invoice: Pro · 30 days, to be paid before 23 Nov 2026, 15:00 UTC.",
            ["Pay $99", "I have paid", "See tiers"],
        ),
        (
            standing(**OPEN_ORDER | {"order_status": "partial"}),
            "Partly paid invoice: Pro · 30 days, the rest is due before 23 Nov 2026, 15:00 UTC.",
            ["Pay the rest", "I have paid", "See tiers"],
        ),
    ],
)
def test_a_standing_is_told_exactly(
    price_list: PriceList, now: StatusView, words: str, shown: list[str]
) -> None:
    screen = screens.status(EN, price_list, now)
    assert words in read(screen)
    assert buttons(screen) == shown


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_history_names_every_state_in_words_and_every_number(
    price_list: PriceList, language: str
) -> None:
    payments = [ordered(id=uuid4(), status=status) for status in Status]
    payments.append(ordered(id=uuid4(), review=True))
    say = TEXTS.speak(language)
    text = read(screens.history(say, price_list, HistoryPage(payments, newer=False, older=False)))
    assert {screens.state_words(say, one) for one in payments} <= set(text.replace("\n", " · ").split(" · "))
    assert all(one.receipt_number in text for one in payments)
    assert len({screens.state_words(say, one) for one in payments}) == len(payments)


def test_a_history_without_payments_shows_the_way_to_the_tiers(price_list: PriceList) -> None:
    for page in (HistoryPage([], newer=False, older=False), HistoryPage([], newer=True, older=False)):
        assert buttons(screens.history(EN, price_list, page)) == ["See tiers"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("review", [False, True])
def test_i_have_paid_is_answered_in_every_state(
    language: str, status: Status, answered: bool, review: bool
) -> None:
    words = screens.after_check(
        TEXTS.speak(language), ordered(status=status, review=review), answered=answered
    )
    formatted(words, "HTML", [], limit=TEXT_LIMIT, what="message")


@pytest.mark.parametrize(
    ("status", "answered", "words"),
    [
        (Status.PENDING, True, "Not seen yet"),
        (Status.PENDING, False, "does not answer"),
        (Status.PARTIAL, True, "a part of the payment has arrived"),
        (Status.PAID, True, "receipt 0F8FAD5BD9"),
        (Status.REFUNDED, True, "refunded"),
        (Status.EXPIRED, True, "closed"),
        (Status.CANCELED, True, "closed"),
    ],
)
def test_i_have_paid_tells_what_is_so(status: Status, answered: bool, words: str) -> None:
    assert words.lower() in screens.after_check(EN, ordered(status=status), answered=answered).lower()


@pytest.mark.parametrize(
    ("amount", "coin", "written"),
    [
        ("49.50", "USDT_TRC20", "49.5 USDT (TRC20)"),
        ("100", "ETH", "100 ETH"),
        ("0.00001000", "BTC", "0.00001 BTC"),
        ("5", "", "5"),
    ],
)
def test_amounts_of_coins_are_exact_and_readable(amount: str, coin: str, written: str) -> None:
    assert EN.coins(Decimal(amount), coin) == written


def test_russian_amounts_of_coins_have_a_comma() -> None:
    assert RU.coins(Decimal("49.50"), "USDT_TRC20") == "49,5 USDT (TRC20)"


@pytest.mark.parametrize("status", [Status.EXPIRED, Status.CANCELED])
def test_an_order_that_ended_in_part_says_so(status: Status) -> None:
    ended = ordered(status=status, provider={"amount_paid": "40", "coin": "USDT_TRC20"})
    assert screens.state_words(EN, ended) == "ended, paid in part"


def test_revenue_never_adds_up_currencies(price_list: PriceList) -> None:
    earned = [
        Earned("today", "EUR", "pro", 1, Decimal("99.00")),
        Earned("all", "EUR", "pro", 1, Decimal("99.00")),
        Earned("all", "USD", "business", 2, Decimal("598.00")),
        Earned("all", "USD", "gold", 1, Decimal("10.50")),
    ]
    text = read(screens.revenue(EN, price_list, "Europe/Berlin", earned))
    assert text.startswith("Revenue (Europe/Berlin)")
    assert "Today: €99 · 1 sale\n• Pro: €99 · 1 sale" in text
    assert "7 days: nothing yet" in text
    assert "All time: €99 · 1 sale" in text
    assert "All time: $608.50 · 3 sales\n• Business: $598 · 2 sales\n• gold: $10.50 · 1 sale" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_that_look_like_markup_are_only_names(price_list: PriceList, language: str) -> None:
    say = TEXTS.speak(language)
    now = standing("<i>gold & co", timedelta(days=9))
    assert "<i>gold & co" in read(screens.status(say, price_list, now))
    greeting = say("welcome", shop="<Shop & Co>", name=", <b>Ann")
    assert ", <b>Ann" in read(screens.plans(say, price_list, now, above=greeting))
