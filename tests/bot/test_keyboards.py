"""Buttons: what they carry fits into Telegram's 64 bytes, what they say fits on a phone."""

from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from aiogram.filters.callback_data import CallbackData
from aiogram.types import InlineKeyboardMarkup

from bot import keyboards
from bot.keyboards import Cancel, Check, ChooseLanguage, ChoosePeriod, ChooseTier, Pay, ShowPlans, TurnPage
from bot.screens import periods, plans
from bot.texts import LANGUAGES, Texts
from sandbox.telegram_rules import check_markup
from services.payments import HistoryPage
from services.tiers import PriceList
from tests.shop import ordered

LONGEST_CODE = "a" * 20  # as long as the tiers file allows
SOMEBODYS = UUID(int=2**128 - 1)
FITS_A_PHONE = 40
TEXTS = Texts(ZoneInfo("UTC"))


def buttons(keyboard: InlineKeyboardMarkup | None) -> list[tuple[str, str]]:
    assert keyboard is not None
    check_markup(keyboard.model_dump(exclude_none=True))
    return [
        (button.text, button.callback_data or button.url or "")
        for row in keyboard.inline_keyboard
        for button in row
    ]


@pytest.mark.parametrize(
    ("data", "packed"),
    [
        (ShowPlans(), "plans"),
        (ChooseTier(tier="pro"), "tier:pro"),
        (ChoosePeriod(tier="pro", period="year"), "period:pro:year"),
        (Pay(tier="pro", period="year"), "pay:pro:year"),
        (Check(payment=SOMEBODYS), f"check:{'f' * 32}"),
        (Cancel(payment=SOMEBODYS), f"cancel:{'f' * 32}"),
        (TurnPage(direction="o", payment=SOMEBODYS), f"history:o:{'f' * 32}"),
        (ChooseLanguage(language="ru"), "language:ru"),
    ],
)
def test_data_is_what_other_versions_and_replicas_read(data: CallbackData, packed: str) -> None:
    assert data.pack() == packed
    assert type(data).unpack(packed) == data


@pytest.mark.parametrize("kind", [ChoosePeriod, Pay])
def test_data_fits_with_the_longest_codes(kind: type[ChoosePeriod] | type[Pay]) -> None:
    assert len(kind(tier=LONGEST_CODE, period=LONGEST_CODE).pack().encode()) <= 64


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_button_of_the_price_list_fits_a_phone(language: str, price_list: PriceList) -> None:
    say = TEXTS.speak(language)
    seen = buttons(plans(say, price_list, None).keyboard)
    for tier in price_list.paid_tiers:
        seen += buttons(periods(say, price_list, tier).keyboard)
        seen.append((say.plain("button-renew", tier=tier.title(language)), ""))
    seen += buttons(keyboards.invoice_keyboard(say, ordered(), "https://pay.example/1", rest=False))
    seen += buttons(keyboards.invoice_keyboard(say, ordered(), "https://pay.example/1", rest=True))
    seen += buttons(keyboards.languages_keyboard(say))
    assert [text for text, _ in seen if not 0 < len(text) <= FITS_A_PHONE] == []


def test_a_longer_period_tells_its_price_and_what_it_saves(price_list: PriceList) -> None:
    screen = periods(TEXTS.speak("en"), price_list, price_list.tiers["pro"])
    assert buttons(screen.keyboard) == [
        ("30 days · $99", "period:pro:month"),
        ("90 days · $282.15 (−5%)", "period:pro:quarter"),
        ("365 days · $950.40 (−20%)", "period:pro:year"),
        ("‹ All tiers", "plans"),
    ]


def test_the_link_is_cryptoclouds_own_and_a_partly_paid_order_is_not_canceled_by_a_slip() -> None:
    url = "https://pay.example/ABCD1234?a=1&b=%2F"
    payment = ordered(amount=Decimal("950.40"))
    say = TEXTS.speak("en")
    assert buttons(keyboards.invoice_keyboard(say, payment, url, rest=False)) == [
        ("Pay $950.40", url),
        ("I have paid", f"check:{payment.id.hex}"),
        ("Cancel", f"cancel:{payment.id.hex}"),
    ]
    assert buttons(keyboards.invoice_keyboard(say, payment, url, rest=True)) == [
        ("Pay the rest", url),
        ("I have paid", f"check:{payment.id.hex}"),
    ]


@pytest.mark.parametrize(
    ("newer", "older", "arrows"),
    [(False, False, []), (False, True, ["▶"]), (True, True, ["◀", "▶"]), (True, False, ["◀"])],
)
def test_pages_turn_only_to_where_there_is_something(newer: bool, older: bool, arrows: list[str]) -> None:
    page = HistoryPage([ordered(id=UUID(int=1)), ordered(id=UUID(int=2))], newer=newer, older=older)
    keyboard = keyboards.history_keyboard(page)
    found = buttons(keyboard) if keyboard else []
    assert [text for text, _ in found] == arrows
    marks = {"◀": f"history:n:{UUID(int=1).hex}", "▶": f"history:o:{UUID(int=2).hex}"}
    assert all(data == marks[text] for text, data in found)
