"""Everything else people send: free text, unknown commands, old buttons, and blocking the bot."""

from aiogram import Router
from aiogram.enums import ChatMemberStatus
from aiogram.types import ChatMemberUpdated, Message

from bot.answers import Press
from bot.shop import Shop
from bot.texts import Say
from services import users

router = Router(name="otherwise")


@router.message()
async def anything(message: Message, say: Say) -> None:
    """Say what we understand."""
    command = (message.text or "").startswith("/")
    await message.answer(say("unknown-command" if command else "unknown-text"))


@router.callback_query()
async def old_button(press: Press, say: Say) -> None:
    """Say that a button of an earlier version no longer works."""
    await press.toast(say.plain("button-out-of-date"), alert=True)


@router.my_chat_member()
async def blocked_or_back(update: ChatMemberUpdated, shop: Shop) -> None:
    """Remember who blocked us; who comes back was met before this handler, and gets what was parked."""
    if update.new_chat_member.status is ChatMemberStatus.KICKED:
        async with shop.db.begin() as session:
            await users.lose(session, update.from_user.id)
