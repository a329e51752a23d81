"""Telegram's webhook: set when it is not ours yet, and watched, because a leaked token can point it elsewhere."""

import structlog
from aiogram import Bot

from bot.dispatcher import ALLOWED_UPDATES
from bot.shop import Shop
from services import notifications
from services.notifications import Alert, Kind, to_admins

PATH = "/api/webhook/telegram"

_log = structlog.get_logger(__name__)


async def set_webhook(bot: Bot, shop: Shop) -> None:
    """Point the webhook at us; the secret may be new, so it is set even where the address is ours already."""
    await bot.set_webhook(
        shop.settings.public_url + PATH,
        secret_token=shop.settings.telegram_webhook_secret.get_secret_value(),
        allowed_updates=ALLOWED_UPDATES,
        drop_pending_updates=False,
    )


async def watch_webhook(bot: Bot, shop: Shop) -> None:
    """Look whether the webhook is still ours; take it back and tell the admins when it is not."""
    found = await bot.get_webhook_info()
    if found.url == shop.settings.public_url + PATH:
        return
    _log.error("the webhook was pointed elsewhere; taking it back")
    await set_webhook(bot, shop)
    async with shop.db.begin() as session:
        day = await notifications.today(session)
        await notifications.notify(
            session,
            to_admins(
                shop.settings.admin_ids, Kind.ALERT, f"webhook-changed:{day}", what=Alert.WEBHOOK_CHANGED
            ),
        )
