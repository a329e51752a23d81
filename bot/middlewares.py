"""What happens to every update before its handler: private chats only, not too fast, and we know who it is."""

import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiogram import BaseMiddleware
from aiogram.enums import ChatMemberStatus, ChatType
from aiogram.types import CallbackQuery, Chat, ChatMemberUpdated, Message, TelegramObject, Update, User
from aiogram.types.update import UpdateTypeLookupError

from bot.answers import Press
from bot.shop import Shop
from bot.telegram import FAILURES
from bot.texts import Say
from services import users
from services.errors import AnotherTierActive, DatabaseUnavailable, ShopError
from services.users import Person

LONGEST_NAME = 256  # Telegram's own are a quarter of it; longer ones fit into no text of ours

Handler = Callable[[Any, dict[str, Any]], Awaitable[Any]]

_log = structlog.get_logger(__name__)


class PrivateChats(BaseMiddleware):
    """Lets through what a person does in a private chat; groups, channels and bots get no answer."""

    async def __call__(self, handler: Handler, event: TelegramObject, data: dict[str, Any]) -> Any:
        if not isinstance(event, Update):
            return None
        user, chat = _who_and_where(event)
        if user is None or user.is_bot:
            return None
        # A private chat has its person's id: what claims another one would be answered to somebody else.
        if chat is not None and (chat.type != ChatType.PRIVATE or chat.id != user.id):
            if event.callback_query is not None:
                shop: Shop = data["shop"]
                say = shop.texts.speak(_person(user).language)
                press = Press(event.callback_query, data["bot"])
                await press.toast(say.plain("private-only"), alert=True)
            return None
        data["person"] = _person(user)
        return await handler(event, data)


class Throttle(BaseMiddleware):
    """Lets a person act in short bursts; what is faster is dropped: each press with a word, messages with one.

    It lives in memory: it protects this process, and nothing that matters depends on it.
    """

    def __init__(self, *, burst: int = 20, a_second: float = 2.0) -> None:
        self._burst, self._rate = burst, a_second
        self._buckets: dict[int, tuple[float, float]] = {}
        self._told: set[int] = set()
        self._swept = 0.0

    async def __call__(self, handler: Handler, event: TelegramObject, data: dict[str, Any]) -> Any:
        person: Person = data["person"]
        if not isinstance(event, Update) or event.my_chat_member is not None:
            return await handler(event, data)
        if self._may_act(person.telegram_id, time.monotonic()):
            self._told.discard(person.telegram_id)
            return await handler(event, data)
        shop: Shop = data["shop"]
        words = shop.texts.speak(person.language).plain("too-fast")
        if event.callback_query is not None:
            await Press(event.callback_query, data["bot"]).toast(words)
        elif event.message is not None and person.telegram_id not in self._told:
            self._told.add(person.telegram_id)
            with contextlib.suppress(*FAILURES):
                await event.message.answer(words)
        _log.info("an update was dropped: too fast", user=person.telegram_id)
        return None

    def _may_act(self, user: int, now: float) -> bool:
        if now - self._swept > 60:
            self._swept = now
            full = self._burst / self._rate
            self._buckets = {who: seen for who, seen in self._buckets.items() if now - seen[1] < full}
            self._told &= self._buckets.keys()
        left, seen = self._buckets.get(user, (float(self._burst), now))
        left = min(float(self._burst), left + (now - seen) * self._rate) - 1
        self._buckets[user] = (max(left, -1.0), now)
        return left >= 0


class MeetPerson(BaseMiddleware):
    """Remembers who speaks, and finds the language of our texts for them."""

    async def __call__(self, handler: Handler, event: TelegramObject, data: dict[str, Any]) -> Any:
        shop: Shop = data["shop"]
        person: Person = data["person"]
        if not _is_goodbye(event):
            async with shop.db.begin() as session:
                language = await users.meet(session, person, shop.price_list.free_tier.code)
            data["say"] = shop.texts.speak(language)
        return await handler(event, data)


class TellOutage(BaseMiddleware):
    """Tells somebody once that their press is kept while the database is away; the update is tried again."""

    async def __call__(self, handler: Handler, event: TelegramObject, data: dict[str, Any]) -> Any:
        try:
            return await handler(event, data)
        except DatabaseUnavailable:
            if data.get("attempt") == 1 and isinstance(event, Update):
                shop: Shop = data["shop"]
                words = shop.texts.speak(data["person"].language)(DatabaseUnavailable.text_key)
                with contextlib.suppress(*FAILURES):
                    if event.callback_query is not None:
                        await Press(event.callback_query, data["bot"]).refuse(words)
                    elif event.message is not None:
                        await event.message.answer(words)
            raise


class AnswerPresses(BaseMiddleware):
    """Hands handlers a `Press` instead of the raw query, explains refusals, and leaves no press unanswered."""

    async def __call__(self, handler: Handler, event: TelegramObject, data: dict[str, Any]) -> Any:
        if not isinstance(event, CallbackQuery):
            return await handler(event, data)
        press = Press(event, data["bot"])
        try:
            await handler(press, data)
        except DatabaseUnavailable:
            raise  # the press comes again; until then its one answer says so
        except ShopError as error:
            await press.refuse(_explain(error, data))
        except Exception:
            await press.toast()
            raise
        await press.toast()
        return None


class AnswerMessages(BaseMiddleware):
    """Explains refusals under the message that caused them."""

    async def __call__(self, handler: Handler, event: TelegramObject, data: dict[str, Any]) -> Any:
        try:
            return await handler(event, data)
        except ShopError as error:
            words = _explain(error, data)
            if isinstance(event, Message):
                await event.answer(words)
        return None


def _explain(error: ShopError, data: dict[str, Any]) -> str:
    """Find the one text for people; what is not for people goes on."""
    if isinstance(error, DatabaseUnavailable):
        raise error
    say: Say = data["say"]
    _log.info("refused", user=data["person"].telegram_id, why=type(error).__name__, detail=str(error))
    if isinstance(error, AnotherTierActive):
        shop: Shop = data["shop"]
        return say(
            error.text_key,
            tier=shop.price_list.title_of(error.tier, say.language),
            until=say.moment(error.ends_at),
        )
    return say(error.text_key)


def _is_goodbye(event: TelegramObject) -> bool:
    change = event.my_chat_member if isinstance(event, Update) else None
    return change is not None and change.new_chat_member.status is ChatMemberStatus.KICKED


def _who_and_where(update: Update) -> tuple[User | None, Chat | None]:
    try:
        event = update.event
    except UpdateTypeLookupError:
        return None, None
    match event:
        case Message() | ChatMemberUpdated():
            return event.from_user, event.chat
        case CallbackQuery():
            return event.from_user, event.message.chat if event.message is not None else None
        case _:
            return None, None


def _person(user: User) -> Person:
    return Person(
        telegram_id=user.id,
        username=user.username,
        first_name=user.first_name[:LONGEST_NAME],
        language_code=user.language_code,
    )
