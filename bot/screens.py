"""What people see when they ask: a text and its buttons, from what the shop knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby

from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup

from bot.keyboards import (
    Check,
    ChooseTier,
    ShowPlans,
    button,
    column,
    history_keyboard,
    order_keyboard,
    periods_keyboard,
    tiers_keyboard,
)
from bot.texts import Say
from services.checkout import Quote
from services.config import Settings
from services.fold import paid_so_far, still_missing
from services.payments import HistoryPage, Payment, Status
from services.reports import SPANS, Earned
from services.subscriptions import StatusView
from services.tiers import DAY, PriceList, Tier


@dataclass(frozen=True, slots=True)
class Screen:
    """A message: HTML and buttons."""

    text: str
    keyboard: InlineKeyboardMarkup | None = None


def welcome(say: Say, settings: Settings, name: str) -> str:
    """Greet somebody by name."""
    return say("welcome", shop=settings.shop_name, name=f", {name}" if name else "")


def plans(say: Say, price_list: PriceList, now: StatusView | None, *, above: str = "") -> Screen:
    """All tiers with their monthly prices, and what the customer has."""
    lines = [
        say(
            "plan-line-free" if tier.free else "plan-line",
            tier=tier.title(say.language),
            quota=quota(say, tier, "plan-quota"),
            **({} if tier.free else {"price": say.money(tier.price, price_list.currency)}),
        )
        for tier in price_list.tiers.values()
    ]
    head = paragraphs(above or say("plans-title"), "\n".join(lines))
    if now is None or not now.active or now.ends_at is None:
        return Screen(paragraphs(head, say("plans-choose")), tiers_keyboard(say, price_list))
    title = price_list.title_of(now.tier, say.language)
    return Screen(
        paragraphs(
            head, say("current-active", tier=title, until=say.moment(now.ends_at)), say("plans-extend-only")
        ),
        column(button(say.plain("button-extend", tier=title), ChooseTier(tier=now.tier)))
        if now.tier in price_list.tiers
        else None,
    )


def quota(say: Say, tier: Tier, key: str = "tier-quota") -> str:
    """Say how many requests a tier has; nothing for one without a quota."""
    if tier.requests is None:
        return ""
    return say.plain(key, requests=tier.requests, requests_text=say.number(tier.requests))


def periods(say: Say, price_list: PriceList, tier: Tier) -> Screen:
    """A tier with its periods."""
    return Screen(
        paragraphs(
            say("tier-card", tier=tier.title(say.language), description=tier.description(say.language)),
            quota(say, tier),
            say("period-choose"),
        ),
        periods_keyboard(say, price_list, tier),
    )


def order_summary(say: Say, quote: Quote) -> Screen:
    """What would be bought, for how much, and until when it would last."""
    return Screen(
        paragraphs(
            say("order-title", tier=quote.tier.title(say.language), length=say.days(quote.period.days)),
            lines(
                say("order-price", price=say.money(quote.amount, quote.currency)),
                say("order-saving", saving=say.money(quote.saving, quote.currency)) if quote.saving else "",
                say("order-extends" if quote.extends else "order-until", until=say.moment(quote.ends_at)),
            ),
            say("order-how"),
        ),
        order_keyboard(say, quote),
    )


def status(say: Say, price_list: PriceList, now: StatusView) -> Screen:
    """Tier, end, time left, quota and the open invoice."""
    tier = price_list.tiers.get(now.tier)
    title = price_list.title_of(now.tier, say.language)
    free = price_list.free_tier
    renewable = tier is not None and not tier.free
    if now.active and now.ends_at is not None:
        has = lines(
            say("status-active", tier=title, until=say.moment(now.ends_at)),
            say("status-left", left=say.left(now.ends_at - now.now)),
        )
        usable = tier
    elif now.ends_at is not None and renewable:
        has = say("status-ended", tier=title, until=say.moment(now.ends_at), free=free.title(say.language))
        usable = free
    else:
        has = say("status-free", tier=free.title(say.language))
        usable = free
    buttons: list[InlineKeyboardButton] = []
    open_order = ""
    if now.order is not None and now.order_url and now.order_tier and now.order_expires_at:
        open_order = say(
            "status-open-order-partial" if now.order_status == Status.PARTIAL else "status-open-order",
            tier=price_list.title_of(now.order_tier, say.language),
            length=say.days((now.order_seconds or 0) // DAY),
            until=say.moment(now.order_expires_at),
        )
        price = say.money(now.order_amount or Decimal(0), now.order_currency or price_list.currency)
        pay = (
            say.plain("button-pay-rest")
            if now.order_status == Status.PARTIAL
            else say.plain("button-pay", price=price)
        )
        buttons.append(InlineKeyboardButton(text=pay, url=now.order_url))
        buttons.append(button(say.plain("button-check"), Check(payment=now.order)))
    if renewable:
        renew = "button-extend" if now.active else "button-renew"
        buttons.append(button(say.plain(renew, tier=title), ChooseTier(tier=now.tier)))
    if not (renewable and now.active):
        buttons.append(button(say.plain("button-plans"), ShowPlans()))
    return Screen(
        paragraphs(
            has,
            quota(say, usable) if usable is not None else "",
            open_order,
        ),
        column(*buttons),
    )


def history(say: Say, price_list: PriceList, page: HistoryPage) -> Screen:
    """A page of payments, newest first."""
    if not page.payments:
        if page.newer or page.older:
            return Screen(say("history-page-empty"), column(button(say.plain("button-plans"), ShowPlans())))
        return Screen(say("history-empty"), column(button(say.plain("button-plans"), ShowPlans())))
    entries = [_history_entry(say, price_list, payment) for payment in page.payments]
    return Screen(paragraphs(say("history-title"), *entries), history_keyboard(page))


def _history_entry(say: Say, price_list: PriceList, payment: Payment) -> str:
    return lines(
        say(
            "history-line",
            date=say.date(payment.paid_at or payment.created_at),
            tier=price_list.title_of(payment.tier, say.language),
            length=say.days(payment.period_seconds // DAY),
            price=say.money(payment.amount, payment.currency),
            state=state_words(say, payment),
        ),
        say(
            "history-receipt" if payment.status is Status.PAID else "history-number",
            number=payment.receipt_number,
        ),
    )


def state_words(say: Say, payment: Payment) -> str:
    """Name the state of a payment."""
    if payment.review:
        return say.plain("state-review")
    if payment.status in {Status.EXPIRED, Status.CANCELED} and paid_so_far(payment):
        return say.plain("state-ended-in-part")
    return say.plain(f"state-{payment.status.value}")


def revenue(say: Say, price_list: PriceList, zone: str, earned: Sequence[Earned]) -> Screen:
    """Sales per span, currency and tier; currencies are never added up."""
    blocks = []
    for span in SPANS:
        name = say.plain(f"revenue-{span}")
        within = [one for one in earned if one.span == span]
        if not within:
            blocks.append(say("revenue-none", span=name))
        for currency, group in groupby(within, key=lambda one: one.currency):
            blocks.append(_revenue_block(say, price_list, name, currency, list(group)))
    return Screen(paragraphs(say("revenue-title", zone=zone), *blocks))


def _revenue_block(say: Say, price_list: PriceList, span: str, currency: str, tiers: Sequence[Earned]) -> str:
    total = sum((one.amount for one in tiers), Decimal(0))
    return lines(
        say(
            "revenue-total",
            span=span,
            amount=say.money(total, currency),
            sales=sum(one.sales for one in tiers),
        ),
        *(
            say(
                "revenue-tier",
                tier=price_list.title_of(one.tier, say.language),
                amount=say.money(one.amount, currency),
                sales=one.sales,
            )
            for one in tiers
        ),
    )


def after_check(say: Say, payment: Payment, *, answered: bool) -> str:
    """Say what a check has found."""
    match payment.status:
        case _ if payment.review:
            return say("check-review")
        case Status.PAID:
            return say("check-paid", number=payment.receipt_number)
        case Status.REFUNDED:
            return say("order-refunded")
        case Status.PARTIAL:
            return partial_words(say, payment, "check-missing", "order-partial-unknown")
        case Status.PENDING | Status.CREATING:
            return say("check-not-yet" if answered else "check-no-answer")
        case Status.EXPIRED | Status.CANCELED if paid_so_far(payment):
            return ended_in_part(say, payment)
        case Status.EXPIRED | Status.CANCELED | Status.FAILED:
            return say("check-closed")


def partial_words(say: Say, payment: Payment, known: str, unknown: str) -> str:
    """Say what has arrived and what is missing, as far as CryptoCloud has told."""
    missing = still_missing(payment)
    if missing is None or not paid_so_far(payment):
        return say(unknown)
    amount, coin = missing
    return say(known, received=say.coins(paid_so_far(payment), coin), missing=say.coins(amount, coin))


def ended_in_part(say: Say, payment: Payment) -> str:
    """Say what had arrived when an invoice ended before it was paid in full."""
    coin = str((payment.provider or {}).get("coin") or "")
    return say("order-ended-in-part", received=say.coins(paid_so_far(payment), coin))


def lines(*parts: str) -> str:
    """Put parts under each other, leaving out empty ones."""
    return "\n".join(part for part in parts if part)


def paragraphs(*parts: str) -> str:
    """Put parts under each other with a blank line between, leaving out empty ones."""
    return "\n\n".join(part for part in parts if part)
