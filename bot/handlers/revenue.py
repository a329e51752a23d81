"""What the shop has earned: for admins only; to everybody else the command does not exist."""

from aiogram import Router
from aiogram.filters import BaseFilter, Command
from aiogram.types import Message

from bot import screens
from bot.answers import send
from bot.shop import Shop
from bot.texts import Say
from services import reports

router = Router(name="revenue")


class FromAdmin(BaseFilter):
    """A message that an admin wrote, not forwarded: by numeric id only, never by name."""

    async def __call__(self, message: Message, shop: Shop) -> bool:
        return (
            message.from_user is not None
            and message.from_user.id in shop.settings.admin_ids
            and message.sender_chat is None
            and message.forward_origin is None
        )


@router.message(Command("revenue"), FromAdmin())
async def revenue(message: Message, shop: Shop, say: Say) -> None:
    """Show today, 7 days, 30 days and all time."""
    async with shop.db.begin() as session:
        earned = await reports.revenue(session, shop.settings.timezone)
    await send(message, screens.revenue(say, shop.price_list, shop.settings.timezone, earned))
