"""The buttons, and the data they carry: everything a press needs, so that any replica can answer any press."""

from typing import Literal
from uuid import UUID

from aiogram.filters.callback_data import CallbackData
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup

from bot.texts import LANGUAGES, Say
from services.checkout import Quote
from services.payments import HistoryPage, Payment
from services.tiers import PriceList, Tier


class ShowPlans(CallbackData, prefix="plans"):
    """All tiers again."""


class ChooseTier(CallbackData, prefix="tier"):
    """A tier was chosen."""

    tier: str


class ChoosePeriod(CallbackData, prefix="period"):
    """A period of a tier was chosen."""

    tier: str
    period: str


class Pay(CallbackData, prefix="pay"):
    """The order is to be made."""

    tier: str
    period: str


class Check(CallbackData, prefix="check"):
    """The customer says that it is paid."""

    payment: UUID


class Cancel(CallbackData, prefix="cancel"):
    """The customer does not want it any more."""

    payment: UUID


class TurnPage(CallbackData, prefix="history"):
    """Older or newer payments than the one named."""

    direction: Literal["o", "n"]
    payment: UUID


class ChooseLanguage(CallbackData, prefix="language"):
    """A language was chosen."""

    language: str


def button(text: str, data: CallbackData) -> InlineKeyboardButton:
    """A button that comes back to us."""
    return InlineKeyboardButton(text=text, callback_data=data.pack())


def column(*buttons: InlineKeyboardButton | None) -> InlineKeyboardMarkup:
    """Buttons one under another."""
    return InlineKeyboardMarkup(inline_keyboard=[[one] for one in buttons if one is not None])


def tiers_keyboard(say: Say, price_list: PriceList) -> InlineKeyboardMarkup:
    """A button for each tier on sale."""
    return column(
        *(
            button(
                say.plain(
                    "button-tier",
                    tier=tier.title(say.language),
                    price=say.money(tier.price, price_list.currency),
                ),
                ChooseTier(tier=tier.code),
            )
            for tier in price_list.paid_tiers
        )
    )


def periods_keyboard(say: Say, price_list: PriceList, tier: Tier) -> InlineKeyboardMarkup:
    """A button for each period, with its price and what it saves."""
    buttons = []
    for period in price_list.periods.values():
        price = say.money(price_list.price_for(tier, period), price_list.currency)
        length = say.days(period.days)
        text = (
            say.plain("button-period-saving", length=length, price=price, discount=f"{period.discount:f}")
            if period.discount
            else say.plain("button-period", length=length, price=price)
        )
        buttons.append(button(text, ChoosePeriod(tier=tier.code, period=period.code)))
    return column(*buttons, button(say.plain("button-all-tiers"), ShowPlans()))


def order_keyboard(say: Say, quote: Quote) -> InlineKeyboardMarkup:
    """Pay, or think again."""
    return column(
        button(
            say.plain("button-pay", price=say.money(quote.amount, quote.currency)),
            Pay(tier=quote.tier.code, period=quote.period.code),
        ),
        button(say.plain("button-back"), ChooseTier(tier=quote.tier.code)),
    )


def invoice_keyboard(say: Say, payment: Payment, url: str, *, rest: bool) -> InlineKeyboardMarkup:
    """CryptoCloud's link, and what to do beside it; a partly paid order cannot be canceled."""
    pay = (
        say.plain("button-pay-rest")
        if rest
        else say.plain("button-pay", price=say.money(payment.amount, payment.currency))
    )
    check = button(say.plain("button-check"), Check(payment=payment.id))
    cancel = [] if rest else [button(say.plain("button-cancel"), Cancel(payment=payment.id))]
    return InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text=pay, url=url)], [check, *cancel]])


def history_keyboard(page: HistoryPage) -> InlineKeyboardMarkup | None:
    """◀ towards newer payments, ▶ towards older ones."""
    row = []
    if page.payments and page.newer:
        row.append(button("◀", TurnPage(direction="n", payment=page.payments[0].id)))
    if page.payments and page.older:
        row.append(button("▶", TurnPage(direction="o", payment=page.payments[-1].id)))
    return InlineKeyboardMarkup(inline_keyboard=[row]) if row else None


def languages_keyboard(say: Say) -> InlineKeyboardMarkup:
    """Each language in its own name."""
    return column(
        *(
            button(say.texts.speak(language).plain("language-name"), ChooseLanguage(language=language))
            for language in LANGUAGES
        )
    )
