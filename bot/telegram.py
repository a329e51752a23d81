"""Our connection to the Bot API: its address, its limits, and what is counted about it."""

from typing import Any

import structlog
from aiogram import Bot
from aiogram.client.default import DefaultBotProperties
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.enums import ParseMode
from aiogram.exceptions import AiogramError, TelegramBadRequest, TelegramNotFound, TelegramUnauthorizedError
from aiogram.methods import EditMessageText, SendMessage
from aiogram.methods.base import TelegramMethod
from aiogram.types import LinkPreviewOptions

from bot.texts import without_markup
from services.config import Settings
from services.errors import SettingsError
from services.metrics import Metrics
from services.vitals import OK, Vitals

LONGEST_CALL = 20.0  # seconds; fetching updates asks for more by itself
# A refusal, a cut connection, a proxy's page instead of JSON, and a 5xx without any words.
FAILURES = (AiogramError, TypeError)

_log = structlog.get_logger(__name__)


def create_bot(settings: Settings, metrics: Metrics) -> Bot:
    """Make the client of the Bot API, whose calls are counted by method and outcome."""
    session = AiohttpSession(api=TelegramAPIServer.from_base(settings.telegram_api_url), timeout=LONGEST_CALL)

    async def count(make_request: Any, bot: Bot, method: TelegramMethod[Any]) -> Any:
        result = "ok"
        try:
            return await make_request(bot, method)
        except Exception as error:
            result = type(error).__name__
            raise
        finally:
            metrics.telegram_request(method.__api_method__, result)

    session.middleware(plain_when_unreadable)
    session.middleware(count)
    return Bot(
        settings.bot_token.get_secret_value(),
        session=session,
        default=DefaultBotProperties(
            parse_mode=ParseMode.HTML, link_preview=LinkPreviewOptions(is_disabled=True)
        ),
    )


async def plain_when_unreadable(make_request: Any, bot: Bot, method: TelegramMethod[Any]) -> Any:
    """Say a text again without its markup where Telegram cannot read that: plain words are better than none."""
    try:
        return await make_request(bot, method)
    except TelegramBadRequest as error:
        if "can't parse entities" not in error.message or not isinstance(
            method, SendMessage | EditMessageText
        ):
            raise
        _log.error("Telegram cannot read our markup", error=error.message)
        plain = {"text": without_markup(method.text or ""), "parse_mode": None}
        return await make_request(bot, method.model_copy(update=plain))


async def introduce(bot: Bot, vitals: Vitals) -> None:
    """Ask Telegram who we are; raises `SettingsError` for a token it does not know.

    Telegram being away does not stop the start.
    """
    try:
        me = await bot.get_me(request_timeout=5)
    except (TelegramUnauthorizedError, TelegramNotFound):
        raise SettingsError(
            "BOT_TOKEN is not accepted by Telegram: copy it again from BotFather, or make a new one there"
        ) from None
    except Exception as error:  # noqa: BLE001 - a 5xx, a cut connection, an unreadable answer
        vitals.telegram = "away"
        _log.warning("Telegram is away; going on without it", error=type(error).__name__)
    else:
        vitals.bot_username = me.username or ""
        vitals.telegram = OK
        _log.info("this is the bot", username=vitals.bot_username)
