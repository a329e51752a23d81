"""The clockwork: which periodic pass runs when. The only place that knows time; each pass is a plain function.

A pass is safe on any number of replicas. A bell wakes it at once, and without any bell it runs by itself.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import structlog
from aiogram import Bot
from aiogram.exceptions import TelegramNotFound, TelegramUnauthorizedError

from bot.notifier import send_due
from bot.shop import Shop
from bot.telegram import FAILURES
from bot.webhook import set_webhook, watch_webhook
from services import checkout, events
from services.checks import check_due, report_refusal
from services.errors import (
    CryptoCloudError,
    CryptoCloudRefused,
    CryptoCloudRejected,
    CryptoCloudUnavailable,
    DatabaseUnavailable,
)
from services.payments import CHECK_BATCH
from services.reconcile import reconcile
from services.vitals import OK

POLL = 1.0  # seconds; what a bell did not announce is found that soon
HOUR = 3600.0
LONGEST_PAUSE = 30.0
RECONCILE_APART = 30.0

_log = structlog.get_logger(__name__)


class Clockwork:
    """All workers of one process; they stop after the round they are in."""

    def __init__(self, bot: Bot, shop: Shop, stopping: asyncio.Event) -> None:
        self._bot, self._shop, self._stopping = bot, shop, stopping
        self._paused_until = 0.0
        self._webhook_set = False

    def workers(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Every worker, to be run until the process stops."""
        bells = self._shop.bells
        lease = float(self._shop.settings.lease_seconds)
        for name, work, every, bell in (
            ("checker", self._check, POLL, bells.checker),
            ("notifier", self._notify, POLL, bells.notifier),
            ("reconciler", self._reconcile, HOUR, bells.reconciler),
            ("provider", self._ask_cryptocloud, 60.0, asyncio.Event()),
            ("sweeper", self._sweep, min(lease, 60.0), asyncio.Event()),
            ("pruner", self._prune, HOUR, asyncio.Event()),
            ("watcher", self._watch, 30.0, asyncio.Event()),
        ):
            self._shop.vitals.expect(name, within=every + 120.0)
            yield self._repeat(name, work, every, bell)

    async def _repeat(
        self, name: str, work: Callable[[], Awaitable[float | None]], every: float, bell: asyncio.Event
    ) -> None:
        """Run a pass again and again; it may name another pause than `every` before its next round."""
        failures = 0
        while not self._stopping.is_set():
            bell.clear()
            try:
                pause = await work()
                failures = 0
            except DatabaseUnavailable as error:
                _log.warning("a worker waits for the database", worker=name, error=str(error))
                failures += 1
                pause = min(2.0 ** min(failures, 5), LONGEST_PAUSE)
            except Exception:  # noqa: BLE001 - a bug in one round must not end the worker; it is loud in the log
                _log.exception("a worker's round failed", worker=name)
                failures += 1
                pause = min(2.0 ** min(failures, 5), LONGEST_PAUSE)
            self._shop.vitals.round_done(name)
            await self._rest(bell, every if pause is None else pause)

    async def _rest(self, bell: asyncio.Event, seconds: float) -> None:
        ringing = asyncio.ensure_future(bell.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({ringing, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for one in (ringing, stopping):
            one.cancel()

    async def _check(self) -> float | None:
        if time.monotonic() < self._paused_until:
            return self._paused_until - time.monotonic()
        shop = self._shop
        began = time.monotonic()
        done = await check_due(shop.db, shop.cryptocloud, shop.settings)
        if not done.asked:
            return None
        shop.bells.notifier.set()
        for one in done.settled:
            if one.after.status is not one.before.status:
                shop.metrics.payment(one.after.status.value)
            if one.granted:
                shop.metrics.settled(time.monotonic() - began)
        if done.refused or done.unavailable:
            shop.vitals.cryptocloud = "our key is refused" if done.refused else "away"
            pause = min(LONGEST_PAUSE, float(shop.settings.check_seconds))
            self._paused_until = time.monotonic() + pause
            return pause
        shop.vitals.cryptocloud = OK
        return 0.0 if done.asked == CHECK_BATCH else None

    async def _notify(self) -> float | None:
        claimed = await send_due(self._bot, self._shop)
        return 0.0 if claimed else None

    async def _ask_cryptocloud(self) -> float | None:
        """Ask something harmless, to know whether CryptoCloud is there and takes our key."""
        shop = self._shop
        try:
            await shop.cryptocloud.balances()
        except CryptoCloudRefused as error:
            shop.vitals.cryptocloud = "our key is refused"
            _log.error("CryptoCloud refuses our key", error=str(error))
            async with shop.db.begin() as session:
                await report_refusal(session, shop.settings)
            shop.bells.notifier.set()
            return LONGEST_PAUSE
        except CryptoCloudUnavailable as error:
            shop.vitals.cryptocloud = "away"
            _log.warning("CryptoCloud is away", error=str(error))
            return LONGEST_PAUSE / 3
        except CryptoCloudRejected as error:
            # It answers and takes our key; that it does not like the question is not the shop's trouble.
            _log.warning("CryptoCloud does not tell our balance", error=str(error))
        shop.vitals.cryptocloud = OK
        return None

    async def _reconcile(self) -> float | None:
        shop = self._shop
        try:
            found = await reconcile(shop.db, shop.cryptocloud, shop.settings)
        except CryptoCloudError as error:
            _log.warning("CryptoCloud gave no list of invoices", error=str(error))
            return LONGEST_PAUSE
        if found.woken:
            shop.bells.checker.set()
        if found.unclaimed:
            shop.bells.notifier.set()
        # A flood of unknown postbacks must not become a flood of lists.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RECONCILE_APART):
                await self._stopping.wait()
        return None

    async def _sweep(self) -> float | None:
        abandoned = await checkout.fail_abandoned(self._shop.db, self._shop.settings)
        if abandoned:
            _log.info("orders were given up whose maker died", count=abandoned)
            self._shop.bells.notifier.set()
        return None

    async def _prune(self) -> float | None:
        gone = await events.prune(self._shop.db)
        if gone:
            _log.info("old postbacks were forgotten", count=gone)
        return None

    async def _watch(self) -> float | None:
        """Ask Telegram who we are, and in webhook mode whether updates still come to us."""
        shop = self._shop
        try:
            me = await self._bot.get_me()
        except (TelegramUnauthorizedError, TelegramNotFound):
            shop.vitals.telegram = "the bot token is refused"
            return None
        except Exception as error:  # noqa: BLE001 - a 5xx, a cut connection, an unreadable answer
            shop.vitals.telegram = "away"
            _log.warning("Telegram is away", error=type(error).__name__)
            return LONGEST_PAUSE / 3
        shop.vitals.bot_username = me.username or ""
        if shop.settings.telegram_updates == "polling":
            return None  # fetching updates tells more than this
        try:
            if not self._webhook_set:
                await set_webhook(self._bot, shop)
                self._webhook_set = True
        except FAILURES as error:
            shop.vitals.telegram = "the webhook cannot be set"
            _log.error("the webhook cannot be set", error=str(error)[:300])
            return LONGEST_PAUSE / 3
        shop.vitals.telegram = OK
        try:
            await watch_webhook(self._bot, shop)
        except FAILURES as error:
            _log.warning("Telegram did not tell about the webhook", error=str(error)[:300])
        return None
