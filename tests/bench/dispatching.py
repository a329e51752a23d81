"""Updates: through the whole dispatcher of the shop, beside one aiogram router; nobody is written to."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

from aiogram import Bot, Dispatcher, Router
from aiogram.client.session.base import BaseSession
from aiogram.filters import Command
from aiogram.methods import TelegramMethod
from aiogram.types import CallbackQuery, Chat, Message, Update

from bot.shop import Bells, Shop
from bot.telegram import create_bot
from bot.texts import Texts
from bot.update_desk import UpdateDesk
from services.cryptocloud import CryptoCloud
from services.db import Database, Session
from services.metrics import Metrics
from services.tiers import read_tiers
from services.vitals import Vitals
from tests.bench import plot
from tests.bench.chapter import Chapter, Row
from tests.bench.figures import Figures, written
from tests.bench.ground import Ground, settings_for_bench
from tests.conftest import ROOT
from tests.fuzz.dispatching import dispatcher_of

Json = dict[str, Any]
Handle = Callable[[Json], Coroutine[Any, Any, None]]

TARGET = 3.0
CHUNK = 25  # updates, then it is the next one's turn
KINDS = {"/help": "a command", "hello": "free text", "": "a press of an old button"}
_SENT = Message(message_id=1, date=datetime(2026, 1, 1, tzinfo=UTC), chat=Chat(id=1, type="private"))


class Silence(BaseSession):
    """A Telegram that takes everything at once and sends nothing anywhere."""

    async def make_request(self, bot: Bot, method: TelegramMethod[Any], timeout: int | None = None) -> Any:
        return True if method.__api_method__ == "answerCallbackQuery" else _SENT

    async def stream_content(
        self,
        url: str,
        headers: Json | None = None,
        timeout: int = 30,
        chunk_size: int = 65_536,
        raise_for_status: bool = True,
    ) -> AsyncGenerator[bytes, None]:
        yield b""

    async def close(self) -> None:
        return None


class _KnowsEverybody:
    """What meeting a person asks of a transaction, answered without a database."""

    async def scalar(self, *_: object) -> str:
        return "en"


class NoDatabase(Database):
    """Stands in for the database where its time is not to be counted: everybody is known and reads English."""

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Session]:
        yield cast("Session", _KnowsEverybody())


async def measure(ground: Ground) -> Figures:
    """Bring updates of people who were never heard of, kind after kind, in turns to each dispatcher."""
    figures, updates, sizes = Figures(), _Updates(), ground.sizes
    async with ground.database() as url:
        shops = {"shop": _shop(NoDatabase(url)), "whole": _shop(Database(url))}
        bare = _bare()
        desks = {name: _desk(shop) for name, shop in shops.items()}
        for _ in range(sizes.rounds):
            took = Figures()
            for _ in range(max(2, sizes.updates // CHUNK)):
                for kind in KINDS:
                    for name in ("bare", *desks):
                        if name != "bare":
                            dispatcher_of(
                                shops[name]
                            )  # one for all, as aiogram wants it; it serves this shop now
                        handle = desks.get(name, bare)
                        took.note(f"{name} {kind}", await _timed(handle, updates.next(kind, CHUNK)))
            for name in took.values:
                figures.note(name, 1 / took.mid(name))
                figures.note(f"{name} µs", took.mid(name) * 1e6)
        for shop in shops.values():
            await shop.cryptocloud.aclose()
            await shop.db.dispose()
    return figures


async def _timed(handle: Handle, updates: list[Json]) -> float:
    """Seconds for one update."""
    began = time.perf_counter()
    for update in updates:
        await handle(update)
    return (time.perf_counter() - began) / len(updates)


class _Updates:
    """Updates as Telegram sends them, each from somebody else."""

    def __init__(self) -> None:
        self._given = 0

    def next(self, kind: str, wanted: int) -> list[Json]:
        first = self._given + 1
        self._given += wanted
        return [self._update(number, kind) for number in range(first, self._given + 1)]

    def _update(self, number: int, kind: str) -> Json:
        person = {"id": number, "is_bot": False, "first_name": "Ann", "language_code": "en"}
        message: Json = {
            "message_id": number,
            "date": 1_770_000_000,
            "chat": {"id": number, "type": "private", "first_name": "Ann"},
        }
        if not kind:
            press = {"id": str(number), "from": person, "chat_instance": "1", "data": "an-old-one"}
            return {"update_id": number, "callback_query": press | {"message": message | {"text": "a menu"}}}
        message |= {"from": person, "text": kind}
        if kind.startswith("/"):
            message["entities"] = [{"type": "bot_command", "offset": 0, "length": len(kind)}]
        return {"update_id": number, "message": message}


def _bare() -> Handle:
    """One router with a handler for each kind, as a beginner's bot has it."""
    router = Router()
    dispatcher = Dispatcher(disable_fsm=True)
    bot = Bot(settings_for_bench().bot_token.get_secret_value(), session=Silence())

    @router.message(Command("help"))
    async def command(message: Message) -> None:
        await message.answer("How it works")

    @router.message()
    async def anything(message: Message) -> None:
        await message.answer("What is that?")

    @router.callback_query()
    async def press(query: CallbackQuery) -> None:
        await query.answer("Too old")

    dispatcher.include_router(router)

    async def handle(raw: Json) -> None:
        await dispatcher.feed_update(bot, Update.model_validate(raw, context={"bot": bot}))

    return handle


def _shop(db: Database) -> Shop:
    settings = settings_for_bench()
    return Shop(
        db=db,
        settings=settings,
        price_list=read_tiers(ROOT / "tiers.toml"),
        cryptocloud=CryptoCloud(api_url="http://127.0.0.1:1", api_key="none", shop_id="none"),
        texts=Texts(settings.zone),
        metrics=Metrics(),
        vitals=Vitals(),
        bells=Bells(),
    )


def _desk(shop: Shop) -> Handle:
    """The shop's desk, with everything that an update passes in real life."""
    bot = create_bot(shop.settings, shop.metrics)
    silent = Silence()
    silent.middleware = bot.session.middleware  # counting and all
    bot.session = silent
    return UpdateDesk(bot, dispatcher_of(shop), shop).handle


def tell(figures: Figures | None) -> Chapter:
    """Compare the way through the shop with the shortest there is."""
    title = "Updates"
    rows = [
        Row(
            f"{what} through the whole dispatcher, without database statements",
            f"≤ {TARGET:g} × one bare router",
        )
        for what in KINDS.values()
    ]
    whole = Row("a command with the one statement that each update costs", "none")
    if figures is None:
        return Chapter(title, [*rows, whole])
    told = []
    for kind, row in zip(KINDS, rows, strict=True):
        times = figures.ratio(f"shop {kind} µs", f"bare {kind} µs")
        more = figures.mid(f"shop {kind} µs") - figures.mid(f"bare {kind} µs")
        told.append(
            Row(
                row.what,
                row.target,
                figures.spread(f"shop {kind}", "/s"),
                f"{times:.1f} × one bare router ({figures.spread(f'bare {kind}', '/s')})",
                f"{written(more)} µs more: four middlewares, five routers, the text, what is counted",
                times <= TARGET,
            )
        )
    command = next(iter(KINDS))
    statement = figures.mid(f"whole {command} µs") - figures.mid(f"shop {command} µs")
    told.append(
        Row(
            whole.what,
            whole.target,
            figures.spread(f"whole {command}", "/s"),
            f"{figures.ratio(f'whole {command}', f'shop {command}'):.2f} of the same without",
            f"{written(statement)} µs for the statement that remembers the person, with its transaction",
        )
    )
    return Chapter(
        title,
        told,
        """
Each update comes from somebody else, as Telegram's JSON, one after the other: parsed, through the desk and its time
limit, all middlewares and routers, to the answer, which a silent Telegram takes at once. Each real update costs one
statement, because the person is met first; for the comparison a stand-in answers that one without a database, and the
last row has it. The bare router parses the same JSON and has one handler for each kind.""",
        (),
        {
            "updates.svg": plot.bars(
                "One update, microseconds",
                "µs",
                [
                    (f"{what}: {who}", figures.mid(f"{name} {kind} µs"))
                    for kind, what in KINDS.items()
                    for name, who in (("bare", "bare router"), ("shop", "no database"), ("whole", "whole"))
                ],
            )
        },
    )
