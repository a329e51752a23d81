"""One update after the other: handled, or tried again, or put aside in the open after 5 failures.

Whoever brings an update may confirm it to Telegram only after `handle` returned. An update that cannot even be read
is put aside at once; an outage of the database costs an update nothing.
"""

import asyncio
import contextlib
from collections import OrderedDict
from typing import Any

import structlog
from aiogram import Bot, Dispatcher
from aiogram.exceptions import TelegramForbiddenError, TelegramRetryAfter
from aiogram.types import Update, User

from bot.shop import Shop
from bot.telegram import FAILURES
from services import updates, users
from services.errors import DatabaseUnavailable, ShopError
from services.users import Person

LONGEST_HANDLING = 10.0  # seconds
LARGEST_ID = 2**63 - 1  # of a bigint; Telegram's own are far smaller
REMEMBERED = 10_000

_log = structlog.get_logger(__name__)


class NotHandledError(Exception):
    """An update failed and is to be brought again."""


class NotAnUpdateError(ShopError, ValueError):
    """Something without a number of its own that could be kept."""

    status = 400


class UpdateDesk:
    """Handles raw updates; safe to be given the same one twice."""

    def __init__(self, bot: Bot, dispatcher: Dispatcher, shop: Shop) -> None:
        self._bot, self._dispatcher, self._shop = bot, dispatcher, shop
        # Only spares people a second answer; a repeated update is harmless.
        self._done: OrderedDict[int, None] = OrderedDict()
        self._tries: dict[int, int] = {}

    async def handle(self, raw: dict[str, Any]) -> None:
        """Handle an update as Telegram sent it.

        Raises `NotHandledError` or `DatabaseUnavailable` where it is to be brought again, and `NotAnUpdateError`
        for what has no update id.
        """
        update_id = raw.get("update_id")
        if not isinstance(update_id, int) or isinstance(update_id, bool) or abs(update_id) > LARGEST_ID:
            raise NotAnUpdateError("not an update: it has no update_id")
        if update_id in self._done:
            return
        try:
            update = _read(raw, self._bot)
        except (ValueError, RecursionError) as error:
            _log.warning("an update cannot be read", update=update_id, error=str(error)[:300])
            await self._count(update_id, raw, error, hopeless=True)
            self._remember(update_id)
            return
        tries = self._tries[update_id] = self._tries.get(update_id, 0) + 1
        await self._feed(update, raw, tries)
        if tries > 1:
            await updates.forgive(self._shop.db, update_id)
        self._remember(update_id)
        self._shop.bells.notifier.set()

    async def _feed(self, update: Update, raw: dict[str, Any], tries: int) -> None:
        try:
            async with asyncio.timeout(LONGEST_HANDLING):
                await self._dispatcher.feed_update(self._bot, update, attempt=tries)
        except DatabaseUnavailable:
            raise
        except TelegramForbiddenError:
            await self._lose_sender(update)
        except TelegramRetryAfter as error:
            # Whatever was to be done is done; only the answer has to wait, and the person asks again.
            _log.warning("Telegram lets us answer later", update=update.update_id, seconds=error.retry_after)
        except Exception as error:
            _log.exception("an update failed", update=update.update_id, tries=tries)
            hopeless = isinstance(error, UnicodeEncodeError)  # what cannot be written stays so
            if not await self._count(update.update_id, raw, error, hopeless=hopeless):
                raise NotHandledError(f"update {update.update_id} failed") from error
            await self._apologise(update)

    async def _count(
        self, update_id: int, raw: dict[str, Any], error: Exception, *, hopeless: bool = False
    ) -> bool:
        said = f"{type(error).__name__}: {error}"
        for secret in self._shop.settings.secrets:
            said = said.replace(secret, "…")
        return await updates.count_failure(
            self._shop.db, self._shop.settings, update_id, raw, said, hopeless=hopeless
        )

    async def _lose_sender(self, update: Update) -> None:
        if (sender := _sender(update)) is not None:
            async with self._shop.db.begin() as session:
                await users.lose(session, sender.id)

    async def _apologise(self, update: Update) -> None:
        """Tell whoever wrote or pressed that nothing came of it, so that nobody waits for ever."""
        if (sender := _sender(update)) is not None:
            person = Person(sender.id, language_code=sender.language_code)
            with contextlib.suppress(*FAILURES):
                words = self._shop.texts.speak(person.language)(ShopError.text_key)
                await self._bot.send_message(sender.id, words)

    def _remember(self, update_id: int) -> None:
        self._tries.pop(update_id, None)
        self._done[update_id] = None
        while len(self._done) > REMEMBERED:
            self._done.popitem(last=False)


def _read(raw: dict[str, Any], bot: Bot) -> Update:
    """Read an update; raises `ValueError` (pydantic's is one) or `RecursionError`."""
    update = Update.model_validate(raw, context={"bot": bot})
    event = update.message or update.callback_query or update.my_chat_member
    if event is not None and event.from_user is not None and not 0 < event.from_user.id <= LARGEST_ID:
        raise ValueError("nobody has such an id")
    return update


def _sender(update: Update) -> User | None:
    """Find who wrote or pressed."""
    event = update.message or update.callback_query
    return event.from_user if event is not None else None
