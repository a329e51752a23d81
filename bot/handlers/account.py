"""Where somebody stands: /status, /history, /language."""

from aiogram import Bot, Router
from aiogram.filters import Command
from aiogram.types import Message

from bot import menu, screens
from bot.answers import Press, send
from bot.keyboards import ChooseLanguage, TurnPage, languages_keyboard
from bot.screens import Screen
from bot.shop import Shop
from bot.texts import LANGUAGES, Say
from services import payments, subscriptions, users
from services.users import Person

router = Router(name="account")

PAYMENTS_A_PAGE = 5


@router.message(Command("status"))
async def status(message: Message, shop: Shop, person: Person, say: Say) -> None:
    """Show tier, end, time left, quota and the open invoice."""
    async with shop.db.begin() as session:
        now = await subscriptions.status(session, person.telegram_id)
    if now is not None:
        await send(message, screens.status(say, shop.price_list, now))


@router.message(Command("history"))
async def history(message: Message, shop: Shop, person: Person, say: Say) -> None:
    """Show the newest payments."""
    async with shop.db.begin() as session:
        page = await payments.history(session, person.telegram_id, size=PAYMENTS_A_PAGE)
    await send(message, screens.history(say, shop.price_list, page))


@router.callback_query(TurnPage.filter())
async def turn_page(press: Press, callback_data: TurnPage, shop: Shop, person: Person, say: Say) -> None:
    """Show older or newer payments in place."""
    older = callback_data.direction == "o"
    async with shop.db.begin() as session:
        page = await payments.history(
            session,
            person.telegram_id,
            size=PAYMENTS_A_PAGE,
            older_than=callback_data.payment if older else None,
            newer_than=None if older else callback_data.payment,
        )
    await press.show(screens.history(say, shop.price_list, page))


@router.message(Command("language"))
async def language(message: Message, say: Say) -> None:
    """Offer the languages."""
    await send(message, Screen(say("language-choose"), languages_keyboard(say)))


@router.callback_query(ChooseLanguage.filter())
async def choose_language(
    press: Press, callback_data: ChooseLanguage, shop: Shop, person: Person, say: Say, bot: Bot
) -> None:
    """Keep the language that was chosen, and speak it at once."""
    if callback_data.language not in LANGUAGES:
        await press.toast(say.plain("button-out-of-date"), alert=True)
        return
    async with shop.db.begin() as session:
        await users.choose_language(session, person.telegram_id, callback_data.language)
    chosen = shop.texts.speak(callback_data.language)
    await press.toast(chosen.plain("language-chosen"))
    await press.show(Screen(chosen("language-chosen")))
    await menu.show_to(bot, shop, person.telegram_id, callback_data.language)
