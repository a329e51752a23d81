"""Words that do not depend on the customer: /help, /support, /paysupport, /terms."""

from aiogram import Router
from aiogram.filters import Command
from aiogram.types import Message

from bot.shop import Shop
from bot.texts import Say

router = Router(name="advice")


@router.message(Command("help"))
async def help_(message: Message, say: Say) -> None:
    """Explain how it works."""
    await message.answer(say("help"))


@router.message(Command("support"))
async def support(message: Message, shop: Shop, say: Say) -> None:
    """Say where people help."""
    contact = shop.settings.support_contact
    await message.answer(say("support", contact=contact) if contact else say("support-none"))


@router.message(Command("paysupport"))
async def paysupport(message: Message, shop: Shop, say: Say) -> None:
    """Help with a payment; Telegram requires this command (https://telegram.org/tos/bot-developers)."""
    contact = shop.settings.support_contact
    await message.answer(say("paysupport", contact=contact) if contact else say("paysupport-none"))


@router.message(Command("terms"))
async def terms(message: Message, shop: Shop, say: Say) -> None:
    """Show the terms."""
    url = shop.settings.terms_url
    await message.answer(say("terms", url=url) if url else say("terms-none"))
