"""The process: the only place where everything meets. `python -m bot`.

Settings, tiers and database are looked at before the Telegram library is loaded: whoever has mistyped something is
told at once, in one line, with exit code 2.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import structlog

from bot.aiogram_on_demand import load_aiogram
from services import failpoints, migrate, users
from services.config import Settings, read_settings
from services.cryptocloud import CryptoCloud
from services.db import Database
from services.errors import DatabaseUnavailable, SettingsError
from services.logs import configure_logs
from services.metrics import Metrics
from services.open_database import open_database
from services.tiers import PriceList, read_tiers
from services.vitals import OK, Vitals

if TYPE_CHECKING:
    from webhook_server.app import WebServer

PATIENCE_AT_THE_END = 6.0  # seconds for what is under way, so that all is over within 10

_log = structlog.get_logger("bot")


def main() -> int:
    """Run until SIGTERM or SIGINT; 0 after a clean end, 2 with one line for what an operator has to mend."""
    try:
        settings = read_settings()
        price_list = read_tiers(settings.tiers_file)
        configure_logs(settings)
        failpoints.arm(settings.failpoint)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_run(settings, price_list))
    except (SettingsError, DatabaseUnavailable) as error:
        sys.stderr.write(f"subgate: {error}\n")
        return 2


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return None
    return uvloop.new_event_loop


async def _run(settings: Settings, price_list: PriceList) -> int:
    stopping, selling = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    life = asyncio.create_task(_live(settings, price_list, stopping, selling))
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({life, stop}, return_when=asyncio.FIRST_COMPLETED)
    if selling.is_set():
        # Enough for every part to end by itself; whoever still waits for the database is not waited for.
        await asyncio.wait({life}, timeout=PATIENCE_AT_THE_END + 3.0)
    life.cancel()
    stop.cancel()
    try:
        return await life
    except asyncio.CancelledError:
        return 0


async def _live(
    settings: Settings, price_list: PriceList, stopping: asyncio.Event, selling: asyncio.Event
) -> int:
    for warning in settings.warnings:
        _log.warning(warning)
    async with open_database(settings) as opened:
        if opened.notice:
            _log.info(opened.notice)
        await migrate.upgrade(opened.db)
        async with opened.db.begin() as session:
            await users.expect_admins(session, settings.admin_ids, price_list.free_tier.code)
        selling.set()
        return await _sell(opened.db, settings, price_list, stopping)


async def _sell(db: Database, settings: Settings, price_list: PriceList, stopping: asyncio.Event) -> int:
    """Put the shop together and run it until told to stop."""
    load_aiogram()
    from bot import menu, telegram
    from bot.dispatcher import create_dispatcher
    from bot.polling import Polling
    from bot.shop import Bells, Shop
    from bot.texts import Texts
    from bot.update_desk import UpdateDesk
    from bot.workers import Clockwork
    from webhook_server.app import create_app, serve

    metrics, vitals, bells = Metrics(), Vitals(migrations=OK), Bells()
    cryptocloud = CryptoCloud(
        api_url=settings.cryptocloud_api_url,
        api_key=settings.cryptocloud_api_key.get_secret_value(),
        shop_id=settings.cryptocloud_shop_id,
        observe=metrics.provider_request,
    )
    shop = Shop(
        db=db,
        settings=settings,
        price_list=price_list,
        cryptocloud=cryptocloud,
        texts=Texts(settings.zone),
        metrics=metrics,
        vitals=vitals,
        bells=bells,
    )
    bot = telegram.create_bot(settings, metrics)
    try:
        await telegram.introduce(bot, vitals)
        desk = UpdateDesk(bot, create_dispatcher(shop), shop)
        app = create_app(
            db=db,
            settings=settings,
            price_list=price_list,
            vitals=vitals,
            metrics=metrics,
            on_hint=bells.checker.set,
            on_unknown_invoice=bells.reconciler.set,
            handle_update=desk.handle if settings.telegram_updates == "webhook" else None,
        )
        server = await serve(app, settings)
        work: list[Awaitable[Any]] = [
            *Clockwork(bot, shop, stopping).workers(),
            menu.publish(bot, shop),
            _close(server, stopping),
        ]
        if settings.telegram_updates == "polling":
            work.append(Polling(bot, desk, vitals).run(stopping))
        _log.info("open for business", address=settings.public_url, updates=settings.telegram_updates)
        return await _work(work, stopping)
    finally:
        await bot.session.close()
        await cryptocloud.aclose()


async def _close(server: "WebServer", stopping: asyncio.Event) -> None:
    """Take no more requests once the process stops, and let those under way end."""
    await stopping.wait()
    await server.stop()


async def _work(work: list[Awaitable[Any]], stopping: asyncio.Event) -> int:
    """Run everything until told to stop; 1 when a part of it broke."""
    broken: list[BaseException] = []

    def look(task: "asyncio.Future[Any]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("a part of the process broke; stopping", exc_info=error)
            broken.append(error)
            stopping.set()

    tasks = [asyncio.ensure_future(one) for one in work]
    for task in tasks:
        task.add_done_callback(look)
    await stopping.wait()
    _log.info("stopping")
    _, late = await asyncio.wait(tasks, timeout=PATIENCE_AT_THE_END)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
