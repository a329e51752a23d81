"""Sending what was written down: receipts first, at least once, and one person's trouble is nobody else's.

An order's message is rendered from the payment as it is at the moment of sending; everything else from what was
written with the fact, so that a second copy of a receipt says the same.
"""

import asyncio
import html
from uuid import UUID

import structlog
from aiogram import Bot
from aiogram.exceptions import (
    TelegramAPIError,
    TelegramBadRequest,
    TelegramForbiddenError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramUnauthorizedError,
)

from bot.answers import is_gone, is_unchanged
from bot.notices import notice, order_message
from bot.screens import Screen
from bot.shop import Shop
from services import notifications, payments
from services.errors import DatabaseUnavailable
from services.failpoints import failpoint
from services.notifications import Alert, Claimed, Kind, to_admins

AT_ONCE = 20
LONGEST_SEND = 10.0  # seconds
LONGEST_TEXT = 4096  # https://core.telegram.org/bots/api#sendmessage
PAUSE_WHEN_REFUSED = 10.0  # seconds
GIVE_UP_AFTER = 8  # tries of a message that Telegram cannot read; never of a receipt

_log = structlog.get_logger(__name__)


async def send_due(bot: Bot, shop: Shop) -> int:
    """Claim what is due, send it, and mark each as soon as Telegram took it; tells how many were claimed.

    All are sent at the same time and within less than half the lease.
    """
    lease = float(shop.settings.lease_seconds)
    claimed = await notifications.claim(shop.db, limit=AT_ONCE, lease_seconds=lease)
    if claimed:
        failpoint("notify.claimed")
        by_person: dict[int, list[Claimed]] = {}
        for one in claimed:
            by_person.setdefault(one.user_id, []).append(one)
        await asyncio.gather(*(_send_in_order(bot, shop, theirs) for theirs in by_person.values()))
    return len(claimed)


async def _send_in_order(bot: Bot, shop: Shop, theirs: list[Claimed]) -> None:
    patience = min(LONGEST_SEND, float(shop.settings.lease_seconds) * 0.45 / len(theirs))
    for one in theirs:
        await _send(bot, shop, one, patience)


async def _send(bot: Bot, shop: Shop, one: Claimed, patience: float) -> None:
    try:
        async with asyncio.timeout(patience):
            await _deliver(bot, shop, one)
    except TelegramRetryAfter as error:
        async with shop.db.begin() as session:
            await notifications.park_chat(session, one, error.retry_after)
    except TelegramForbiddenError as error:
        await _give_up_person(shop, one, error)
    except (TelegramUnauthorizedError, TelegramNotFound):
        shop.vitals.telegram = "the bot token is refused"
        await _postpone(shop, one, "the bot token is refused", pause=PAUSE_WHEN_REFUSED, spent=False)
    except TelegramBadRequest as error:
        if "chat not found" in error.message:
            await _give_up_person(shop, one, error)
        else:
            await _refused(shop, one, error)
    except DatabaseUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - a 5xx, a cut connection, an unreadable answer: perhaps it arrived
        _log.warning("Telegram did not take a message", key=one.key, error=type(error).__name__)
        pause = min(notifications.pause_after(one.attempts), 30.0)
        await _postpone(shop, one, type(error).__name__, pause=pause, spent=True)
    else:
        failpoint("notify.sent")
        await _mark_sent(shop, one)


async def _deliver(bot: Bot, shop: Shop, one: Claimed) -> None:
    if one.kind is Kind.ORDER_MOVED:
        await _rewrite(bot, one.user_id, one.payload["message"], _readable(shop, one))
        return
    if one.kind is not Kind.ORDER:
        await _write(bot, one.user_id, _readable(shop, one))
        return
    async with shop.db.begin() as session:
        payment = await payments.find(session, UUID(one.payload["payment"]))
        shown_in = await payments.message_to_edit(session, payment)
    screen = order_message(shop.texts.speak(one.language), shop.price_list, payment)
    if shown_in is not None and await _rewrite(bot, one.user_id, shown_in, screen):
        return
    message_id = await _write(bot, one.user_id, screen)
    async with shop.db.begin() as session:
        await payments.show_in(session, payment.id, message_id)


def _readable(shop: Shop, one: Claimed) -> Screen:
    try:
        return notice(shop.texts.speak(one.language), shop.price_list, one)
    except Exception:  # noqa: BLE001 - a text that was edited badly must not hold back a receipt
        _log.exception("a text could not be written", key=one.key, language=one.language)
        # A receipt has to say that the subscription is active, in whatever words are left.
        what = "active" if one.kind is Kind.RECEIPT else one.kind.value
        said = ", ".join(f"{name}: {value}" for name, value in one.payload.items() if value)
        return Screen(f"{what}: {html.escape(said, quote=False)}")


async def _rewrite(bot: Bot, chat: int, message_id: int, screen: Screen) -> bool:
    """Edit a message; False when it is gone, so that a new one has to be written."""
    try:
        await bot.edit_message_text(
            screen.text, chat_id=chat, message_id=message_id, reply_markup=screen.keyboard
        )
    except TelegramBadRequest as error:
        if is_unchanged(error):
            return True
        if is_gone(error):
            return False
        raise
    return True


async def _write(bot: Bot, chat: int, screen: Screen) -> int:
    message = await bot.send_message(chat, screen.text[:LONGEST_TEXT], reply_markup=screen.keyboard)
    return message.message_id


async def _mark_sent(shop: Shop, one: Claimed) -> None:
    """Mark a message sent, trying until the lease ends: each success spares somebody a second copy."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + float(shop.settings.lease_seconds)
    while True:
        try:
            async with shop.db.begin() as session:
                if not await notifications.mark_sent(session, one):
                    _log.info("somebody else took over a message that was sent", key=one.key)
        except DatabaseUnavailable:
            if loop.time() > give_up:
                raise
            await asyncio.sleep(0.5)
        else:
            return


async def _postpone(shop: Shop, one: Claimed, error: str, *, pause: float, spent: bool) -> None:
    async with shop.db.begin() as session:
        await notifications.postpone(session, one, error, pause=pause, spent=spent)


async def _give_up_person(shop: Shop, one: Claimed, error: TelegramAPIError) -> None:
    _log.info("somebody cannot be written to", user=one.user_id, key=one.key, error=error.message)
    async with shop.db.begin() as session:
        await notifications.mark_undeliverable(session, one, error.message)


async def _refused(shop: Shop, one: Claimed, error: TelegramBadRequest) -> None:
    """A message that Telegram cannot read: tried some more, then put aside and reported; never a receipt."""
    _log.error("Telegram refuses a message", key=one.key, error=error.message)
    if one.kind is Kind.RECEIPT or one.attempts + 1 < GIVE_UP_AFTER:
        pause = notifications.pause_after(one.attempts)
        await _postpone(shop, one, error.message, pause=pause, spent=True)
        return
    async with shop.db.begin() as session:
        await notifications.drop(session, one, error.message)
        if one.kind is not Kind.ALERT:
            await notifications.notify(
                session,
                to_admins(
                    shop.settings.admin_ids,
                    Kind.ALERT,
                    f"undeliverable-text:{one.id}",
                    what=Alert.UNDELIVERABLE_TEXT,
                    about=one.key,
                    error=error.message,
                ),
            )
