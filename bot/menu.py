"""The command menu and the bot's descriptions, per language and scope: pleasant to have, never essential."""

import structlog
from aiogram import Bot
from aiogram.methods import SetMyCommands, SetMyDescription, SetMyShortDescription, TelegramMethod
from aiogram.types import BotCommand, BotCommandScopeAllPrivateChats, BotCommandScopeChat

from bot.shop import Shop
from bot.telegram import FAILURES
from bot.texts import LANGUAGES, Say

COMMANDS = ("plans", "status", "history", "help", "support", "paysupport", "terms", "language")
FOR_ADMINS = ("revenue",)

_log = structlog.get_logger(__name__)


async def publish(bot: Bot, shop: Shop) -> None:
    """Tell Telegram our commands and descriptions; what it refuses is a warning."""
    for language in (None, *LANGUAGES):
        say = shop.texts.speak(language or "en")
        name = shop.settings.shop_name
        await _try(
            bot,
            SetMyCommands(
                commands=_commands(say, COMMANDS),
                scope=BotCommandScopeAllPrivateChats(),
                language_code=language,
            ),
        )
        await _try(
            bot,
            SetMyDescription(
                description=say.plain("bot-description", shop=name)[:512], language_code=language
            ),
        )
        await _try(
            bot,
            SetMyShortDescription(
                short_description=say.plain("bot-about", shop=name)[:120], language_code=language
            ),
        )
    for admin in shop.settings.admin_ids:
        for language in (None, *LANGUAGES):
            say = shop.texts.speak(language or "en")
            await _try(bot, _for_chat(admin, _commands(say, (*COMMANDS, *FOR_ADMINS)), language))


async def show_to(bot: Bot, shop: Shop, person: int, language: str) -> None:
    """Show one person the menu in the language they chose, whatever Telegram's is."""
    admin = person in shop.settings.admin_ids
    names = (*COMMANDS, *FOR_ADMINS) if admin else COMMANDS
    commands = _commands(shop.texts.speak(language), names)
    for language_code in (None, *LANGUAGES) if admin else (None,):
        await _try(bot, _for_chat(person, commands, language_code))


def _for_chat(person: int, commands: list[BotCommand], language: str | None) -> SetMyCommands:
    return SetMyCommands(commands=commands, scope=BotCommandScopeChat(chat_id=person), language_code=language)


def _commands(say: Say, names: tuple[str, ...]) -> list[BotCommand]:
    return [BotCommand(command=name, description=say.plain(f"command-{name}")) for name in names]


async def _try(bot: Bot, method: TelegramMethod[bool]) -> None:
    try:
        await bot(method)
    except FAILURES as error:
        _log.warning("Telegram took no menu", method=type(method).__name__, error=str(error)[:300])
