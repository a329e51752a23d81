"""Buying: /start, /plans, tier, period, order, and what can be done about an open order."""

import asyncio
import time

from aiogram import Router
from aiogram.filters import Command, CommandObject, CommandStart
from aiogram.types import Message

from bot import screens
from bot.answers import Press, send
from bot.keyboards import Cancel, Check, ChoosePeriod, ChooseTier, Pay, ShowPlans
from bot.screens import Screen
from bot.shop import Shop
from bot.texts import Say
from services import checkout, payments, subscriptions
from services.errors import AnotherTierActive, UnknownTier
from services.fold import paid_so_far
from services.payments import Payment, Status
from services.users import Person

router = Router(name="buying")

DEEP_LINK = "tier_"
PATIENCE_AFTER_CHECK = 5.0  # seconds; the button promises no more


@router.message(CommandStart())
async def start(message: Message, command: CommandObject, shop: Shop, person: Person, say: Say) -> None:
    """Greet, and show what can be bought, or the tier that a deep link names."""
    wanted = (command.args or "").strip()
    if wanted.startswith(DEEP_LINK):
        tier = shop.price_list.tiers.get(wanted.removeprefix(DEEP_LINK))
        if tier is not None and not tier.free and not await _refusal_of_second_tier(shop, person, tier.code):
            await send(message, screens.periods(say, shop.price_list, tier))
            return
    greeting = screens.welcome(say, shop.settings, person.first_name)
    await send(message, await _plans(shop, person, say, above=greeting))


@router.message(Command("plans"))
async def plans(message: Message, shop: Shop, person: Person, say: Say) -> None:
    """Show the tiers."""
    await send(message, await _plans(shop, person, say))


@router.callback_query(ShowPlans.filter())
async def plans_again(press: Press, shop: Shop, person: Person, say: Say) -> None:
    """Show the tiers in place."""
    await press.show(await _plans(shop, person, say))


async def _plans(shop: Shop, person: Person, say: Say, *, above: str = "") -> Screen:
    async with shop.db.begin() as session:
        now = await subscriptions.status(session, person.telegram_id)
    return screens.plans(say, shop.price_list, now, above=above)


@router.callback_query(ChooseTier.filter())
async def choose_tier(press: Press, callback_data: ChooseTier, shop: Shop, person: Person, say: Say) -> None:
    """Show a tier's periods; another tier than the running one is refused here, not after paying."""
    tier = shop.price_list.tiers.get(callback_data.tier)
    if tier is None or tier.free:
        raise UnknownTier(f"{callback_data.tier} is not on sale")
    if refusal := await _refusal_of_second_tier(shop, person, tier.code):
        raise refusal
    await press.show(screens.periods(say, shop.price_list, tier))


async def _refusal_of_second_tier(shop: Shop, person: Person, tier_code: str) -> AnotherTierActive | None:
    async with shop.db.begin() as session:
        now = await subscriptions.status(session, person.telegram_id)
    if now is None or not now.active or now.ends_at is None or now.tier == tier_code:
        return None
    return AnotherTierActive(now.tier, now.ends_at)


@router.callback_query(ChoosePeriod.filter())
async def choose_period(
    press: Press, callback_data: ChoosePeriod, shop: Shop, person: Person, say: Say
) -> None:
    """Show what would be bought."""
    async with shop.db.begin() as session:
        quote = await checkout.quote(
            session, shop.price_list, person.telegram_id, callback_data.tier, callback_data.period
        )
    await press.show(screens.order_summary(say, quote))


@router.callback_query(Pay.filter())
async def pay(press: Press, callback_data: Pay, shop: Shop, person: Person, say: Say) -> None:
    """Make the order; from here on only the notifier edits its message, from the state at sending time."""
    await press.toast(say.plain("toast-making-invoice"))
    await checkout.order(
        shop.db,
        shop.cryptocloud,
        shop.settings,
        shop.price_list,
        person,
        callback_data.tier,
        callback_data.period,
        message_id=press.message_id,
    )
    shop.bells.checker.set()


@router.callback_query(Check.filter())
async def check(press: Press, callback_data: Check, shop: Shop, person: Person, say: Say) -> None:
    """Look now, wait a moment for the answer, and say what it is."""
    async with shop.db.begin() as session:
        before = await payments.find(session, callback_data.payment, owner=person.telegram_id)
        if before.invoice_uuid is not None:
            await payments.wake(session, before.id)
    shop.bells.checker.set()
    await press.toast(say.plain("toast-looking"))
    after = await _wait_for_answer(shop, before)
    if _is_told_anyway(before, after):
        return
    words = screens.after_check(say, after, answered=after.checked_at != before.checked_at)
    await press.say_below(words)


def _is_told_anyway(before: Payment, after: Payment) -> bool:
    """Whether a message of its own is on its way about what this very check has found."""
    if after.review:
        return not before.review
    if after.status is Status.PARTIAL:
        return paid_so_far(after) != paid_so_far(before)
    return after.status is Status.PAID and before.status is not Status.PAID


async def _wait_for_answer(shop: Shop, before: Payment) -> Payment:
    give_up = time.monotonic() + PATIENCE_AFTER_CHECK
    while True:
        async with shop.db.begin() as session:
            now = await payments.find(session, before.id)
        settled = now.status is not before.status or now.status in {Status.PAID, Status.REFUNDED}
        if settled or now.checked_at != before.checked_at or time.monotonic() > give_up:
            return now
        await asyncio.sleep(0.2)


@router.callback_query(Cancel.filter())
async def cancel(press: Press, callback_data: Cancel, shop: Shop, person: Person, say: Say) -> None:
    """Cancel an unpaid order."""
    async with shop.db.begin() as session:
        await payments.find(session, callback_data.payment, owner=person.telegram_id)
    await press.toast(say.plain("toast-canceling"))
    payment = await checkout.cancel(
        shop.db, shop.cryptocloud, callback_data.payment, owner=person.telegram_id
    )
    shop.bells.checker.set()
    if payment.status in {Status.PENDING, Status.PARTIAL}:
        await press.say_below(say("cancel-too-late"))
    elif payment.status is not Status.CANCELED:
        await press.say_below(screens.after_check(say, payment, answered=True))
