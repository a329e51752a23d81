"""How we answer: a toast on a press, a screen in place of the pressed message, or a message of its own."""

import structlog
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.methods import AnswerCallbackQuery
from aiogram.types import CallbackQuery, Message

from bot.screens import Screen
from bot.telegram import FAILURES
from bot.texts import without_markup

_log = structlog.get_logger(__name__)

LONGEST_TOAST = 200  # https://core.telegram.org/bots/api#answercallbackquery
PATIENCE_FOR_TOAST = 3  # seconds; what was pressed must not wait for its toast


async def send(message: Message, screen: Screen) -> None:
    """Answer a message with a screen."""
    await message.answer(screen.text, reply_markup=screen.keyboard)


class Press:
    """A pressed button, to be answered once: the little clock on it runs until then."""

    def __init__(self, query: CallbackQuery, bot: Bot) -> None:
        self._query, self._bot = query, bot
        self.answered = False

    @property
    def message_id(self) -> int | None:
        """The pressed message, where it can still be edited."""
        message = self._query.message
        return message.message_id if isinstance(message, Message) else None

    async def toast(self, text: str | None = None, *, alert: bool = False) -> None:
        """Answer the press; one that cannot be answered, such as one too old, is simply not answered."""
        if self.answered:
            return
        self.answered = True
        said = text[:LONGEST_TOAST] if text else None
        try:
            await self._bot(
                AnswerCallbackQuery(callback_query_id=self._query.id, text=said, show_alert=alert),
                request_timeout=PATIENCE_FOR_TOAST,
            )
        except FAILURES as error:
            _log.warning("a press was not answered", error=str(error)[:300])

    async def show(self, screen: Screen) -> None:
        """Put a screen in place of the pressed message, or under it where that cannot be changed any more."""
        await self.toast()
        message = self._query.message
        if isinstance(message, Message):
            try:
                await message.edit_text(screen.text, reply_markup=screen.keyboard)
            except TelegramBadRequest as error:
                if is_unchanged(error):
                    return
                if not is_gone(error):
                    raise
            else:
                return
        await self._bot.send_message(self._query.from_user.id, screen.text, reply_markup=screen.keyboard)

    async def say_below(self, text: str) -> None:
        """Write a message of its own."""
        await self._bot.send_message(self._query.from_user.id, text)

    async def refuse(self, text: str) -> None:
        """Say why not: as an alert, or as a message where the press was answered already."""
        if self.answered:
            await self.say_below(text)
        else:
            await self.toast(without_markup(text), alert=True)


def is_unchanged(error: TelegramBadRequest) -> bool:
    """Whether the message says already what it should."""
    return "message is not modified" in error.message


def is_gone(error: TelegramBadRequest) -> bool:
    """Whether the message cannot be edited: deleted, too old, or not ours."""
    said = error.message
    return any(
        words in said
        for words in (
            "message to edit not found",
            "message can't be edited",
            "MESSAGE_ID_INVALID",
            "message_id",
        )
    )
