"""The bot's parts without a process: a shop on a real database, and Telegram's Bot API on loopback."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest_asyncio
from aiogram import Bot, Dispatcher
from aiogram.types import TelegramObject
from structlog.testing import capture_logs

from bot.shop import Bells, Shop
from bot.telegram import create_bot
from bot.texts import Texts
from bot.update_desk import UpdateDesk
from sandbox.world import Person, World
from services.config import Settings
from services.db import Database
from services.metrics import Metrics
from services.tiers import PriceList
from services.vitals import Vitals
from tests.shop import Provider, cryptocloud_world


@dataclass(frozen=True)
class Office:
    """A desk with its bot and shop; `handle` stands for all handlers."""

    shop: Shop
    bot: Bot
    provider: Provider

    @property
    def world(self) -> World:
        return self.provider.world

    def desk(self, handle: Callable[..., object]) -> UpdateDesk:
        """A desk where every update meets one handler."""
        dispatcher = Dispatcher(disable_fsm=True)

        async def always(_: object, event: TelegramObject, data: dict[str, object]) -> object:
            done = handle(event, attempt=data["attempt"])
            return await done if hasattr(done, "__await__") else done

        dispatcher.update.outer_middleware(always)
        return UpdateDesk(self.bot, dispatcher, self.shop)

    def person(self, telegram_id: int) -> None:
        """Let somebody exist whom the bot may write to."""
        self.world.add_person(Person(telegram_id, f"Customer {telegram_id}", started=True))


@pytest_asyncio.fixture
async def office(
    db: Database, make_settings: Callable[..., Settings], price_list: PriceList
) -> AsyncIterator[Office]:
    """Everything but handlers, with Telegram and CryptoCloud on loopback."""
    async with cryptocloud_world() as provider:
        settings = make_settings(
            bot_token=provider.world.credentials.bot_token, telegram_api_url=provider.sandbox.url
        )
        metrics = Metrics()
        bot = create_bot(settings, metrics)
        shop = Shop(
            db=db,
            settings=settings,
            price_list=price_list,
            cryptocloud=provider.client,
            texts=Texts(settings.zone),
            metrics=metrics,
            vitals=Vitals(),
            bells=Bells(),
        )
        # Written out, the tracebacks of planned bugs take seconds each.
        with capture_logs():
            yield Office(shop, bot, provider)
        await bot.session.close()
