"""Fetching updates ourselves: an update is confirmed to Telegram only when it was handled.

Updates of one person are handled in order, people concurrently. The offset moves past what was handled or put
aside; a crash, a restart or an outage of the database therefore loses no press.
"""

import asyncio
from typing import Any

import structlog
from aiogram import Bot
from aiogram.exceptions import (
    TelegramConflictError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramUnauthorizedError,
)
from aiogram.methods.base import TelegramMethod

from bot.dispatcher import ALLOWED_UPDATES
from bot.telegram import FAILURES
from bot.update_desk import NotHandledError, UpdateDesk
from services.errors import DatabaseUnavailable
from services.vitals import OK, Vitals

LONG_POLL = 25  # seconds
WINDOW = 100  # https://core.telegram.org/bots/api#getupdates
PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds between the tries of an update that fails

_log = structlog.get_logger(__name__)


class GetRawUpdates(TelegramMethod[list[dict[str, Any]]]):
    """getUpdates, left unparsed: one update that cannot be read must not stop the others."""

    __returning__ = list[dict[str, Any]]
    __api_method__ = "getUpdates"

    offset: int | None = None
    limit: int = WINDOW
    timeout: int = LONG_POLL
    allowed_updates: list[str] = ALLOWED_UPDATES


class Polling:
    """The loop; `run` returns when it is told to stop and everything fetched was handled or given back."""

    def __init__(self, bot: Bot, desk: UpdateDesk, vitals: Vitals) -> None:
        self._bot, self._desk, self._vitals = bot, desk, vitals
        self._offset: int | None = None
        self._waiting: dict[int, asyncio.Task[None]] = {}
        self._last_of: dict[int, asyncio.Task[None]] = {}

    async def run(self, stopping: asyncio.Event) -> None:
        """Fetch and handle until `stopping` is set; then let what is under way end and confirm it."""
        pause = 0.0
        while not stopping.is_set():
            try:
                await self._fetch(stopping)
                self._vitals.telegram = OK
                pause = 0.0
            except TelegramRetryAfter as error:
                pause = error.retry_after
            except (TelegramUnauthorizedError, TelegramNotFound):
                self._vitals.telegram = "the bot token is refused"
                _log.error("Telegram refuses the bot token; is it revoked?")
                pause = 10.0
            except TelegramConflictError as error:
                self._vitals.telegram = "somebody else fetches this bot's updates"
                _log.error("another process fetches updates, or a webhook is set", error=error.message)
                pause = 1.0 if "webhook" in error.message and await self._remove_webhook() else 5.0
            except Exception as error:  # noqa: BLE001 - whatever it is, Telegram is asked again
                self._vitals.telegram = "away"
                _log.warning("Telegram gave no updates", error=type(error).__name__)
                pause = min(max(1.0, pause * 2), 30.0)
            await _wait(stopping, pause)
        await self._leave()

    async def _remove_webhook(self) -> bool:
        """Leave webhook mode, as after a change of TELEGRAM_UPDATES; what is pending stays pending."""
        try:
            return await self._bot.delete_webhook(drop_pending_updates=False)
        except FAILURES as error:
            _log.warning("the webhook could not be removed", error=str(error)[:300])
            return False

    async def _fetch(self, stopping: asyncio.Event) -> None:
        """One call; while something is under way it does not wait, because unconfirmed updates come again."""
        busy = bool(self._waiting)
        method = GetRawUpdates(offset=self._offset, timeout=0 if busy else LONG_POLL)
        call = asyncio.ensure_future(self._bot(method, request_timeout=LONG_POLL + 10))
        stop = asyncio.ensure_future(stopping.wait())
        await asyncio.wait({call, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not call.done():
            call.cancel()
            return
        fetched = call.result()
        # Confirmed now. Named once only, because after a quiet week Telegram's ids may begin anew below it.
        self._offset = None
        for raw in fetched:
            self._take(raw)
        if self._waiting:
            await asyncio.wait(set(self._waiting.values()), timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
        self._move_offset()

    def _take(self, raw: dict[str, Any]) -> None:
        update_id = raw.get("update_id")
        if not isinstance(update_id, int) or update_id in self._waiting:
            return
        person = _person_of(raw)
        task = asyncio.create_task(self._handle_after(self._last_of.get(person), raw))
        self._waiting[update_id] = task
        self._last_of[person] = task
        task.add_done_callback(
            lambda done: self._last_of.pop(person, None) if self._last_of.get(person) is done else None
        )

    async def _handle_after(self, earlier: asyncio.Task[None] | None, raw: dict[str, Any]) -> None:
        if earlier is not None:
            await asyncio.wait({earlier})
        tries = 0
        while True:
            try:
                await self._desk.handle(raw)
            except DatabaseUnavailable:
                await asyncio.sleep(1.0)
            except NotHandledError:
                await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                tries += 1
            else:
                return

    def _move_offset(self) -> None:
        """Move past what was handled, up to the first update that was not: that one comes again."""
        for update_id in sorted(self._waiting):
            task = self._waiting[update_id]
            if not task.done() or task.cancelled():
                return
            del self._waiting[update_id]
            if (error := task.exception()) is not None:
                _log.error("handling an update ended unexpectedly", update=update_id, exc_info=error)
            self._offset = update_id + 1

    async def _leave(self) -> None:
        """Let running handlers end, give back what waits for the database, and confirm the rest."""
        if self._waiting:
            _, unfinished = await asyncio.wait(set(self._waiting.values()), timeout=4.0)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
            self._move_offset()
        if self._offset is not None:
            try:
                await self._bot(GetRawUpdates(offset=self._offset, limit=1, timeout=0), request_timeout=2)
            except FAILURES as error:
                _log.warning("the last updates could not be confirmed", error=type(error).__name__)


def _person_of(raw: dict[str, Any]) -> int:
    """Tell whose update it is; what is nobody's stands in a line of its own."""
    for value in raw.values():
        if isinstance(value, dict):
            sender = value.get("from")
            if isinstance(sender, dict) and isinstance(sender.get("id"), int):
                return int(sender["id"])
    return 0


async def _wait(stopping: asyncio.Event, seconds: float) -> None:
    if seconds:
        try:
            async with asyncio.timeout(seconds):
                await stopping.wait()
        except TimeoutError:
            return
