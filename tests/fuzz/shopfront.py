"""The whole shop in a thread of its own, so that whoever fuzzes may block: web server, desk, workers, outside world."""

import asyncio
import logging
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import URL
from structlog.types import EventDict, WrappedLogger

from bot.polling import Polling
from bot.shop import Bells, Shop
from bot.telegram import create_bot
from bot.texts import Texts
from bot.update_desk import UpdateDesk
from bot.workers import Clockwork
from sandbox.world import Person, World
from services import ledger, users
from services.config import Settings
from services.db import Database
from services.metrics import Metrics
from services.tiers import read_tiers
from services.vitals import OK, Vitals
from tests import shop as books
from tests.fuzz.dispatching import dispatcher_of
from tests.shop import Provider, cryptocloud_world
from tests.webhook_server.conftest import SECRET
from webhook_server.app import create_app, serve

ROOT = Path(__file__).resolve().parent.parent.parent
HOOK_SECRET = "only_telegram_knows_this_secret"
METRICS_TOKEN = "only-prometheus-knows-this-token"
ADMIN = 900
BUYERS = (1, 2, 3)
CROWD = range(1_000, 2_000)  # many, because whoever is too fast is not listened to
PATIENCE = 60.0

_T = TypeVar("_T")


class Ears:
    """Counts what the log says, and keeps the errors apart: they are bugs until shown otherwise."""

    def __init__(self) -> None:
        self.heard: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def __call__(self, _: WrappedLogger, level: str, line: EventDict) -> EventDict:
        self.heard[str(line.get("event"))] += 1
        if level in {"error", "exception", "critical"}:
            kind = sys.exc_info()[0]
            about = line.get("error") or (kind.__name__ if kind else "")
            self.errors[f"{line.get('event')} ({about})"] += 1
        raise structlog.DropEvent

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear our own log and the libraries' for as long as the block runs; nothing is printed."""
        processors = structlog.get_config()["processors"]
        before = processors.copy()
        processors[:] = [self]
        library = _Library(self)
        logging.getLogger().addHandler(library)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(library)
            processors[:] = before


class _Library(logging.Handler):
    def __init__(self, ears: Ears) -> None:
        super().__init__(logging.ERROR)
        self._ears = ears

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._ears.errors[f"{record.name}: {record.getMessage()[:100]} ({error!r})"] += 1


@dataclass
class Shopfront:
    """A shop that is open. Nobody has paid for anything, so whatever comes in, nothing may be granted."""

    loop: asyncio.AbstractEventLoop
    provider: Provider
    shop: Shop
    desk: UpdateDesk
    polling: Polling
    port: int
    invoices: list[str] = field(default_factory=list)
    payments: list[uuid.UUID] = field(default_factory=list)
    ears: Ears = field(default_factory=Ears)

    @property
    def world(self) -> World:
        return self.provider.world

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, work: Coroutine[Any, Any, _T], *, within: float = PATIENCE) -> _T:
        """Have something done in the shop's own thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(within)

    async def wrongs(self) -> list[str]:
        """Audit the books: grants that nobody paid for, rows that are half written."""
        asked = {
            "a grant": "SELECT kind, user_id FROM subscription_ledger",
            "a subscription": "SELECT user_id, tier, ends_at FROM subscriptions"
            " WHERE tier <> 'free' OR ends_at IS NOT NULL",
            "a status": "SELECT id, status FROM payments WHERE status NOT IN"
            " ('creating', 'pending', 'canceled', 'failed') OR overpaid OR late OR review OR paid_at IS NOT NULL",
            "half an order": "SELECT id FROM payments WHERE status = 'pending'"
            " AND (invoice_uuid IS NULL OR invoice_url IS NULL OR expires_at IS NULL)",
            "a receipt": "SELECT key FROM notifications WHERE kind IN ('receipt', 'sale', 'review', 'partial')",
            "half an event": "SELECT id FROM webhook_events WHERE body -> 'token' IS NOT NULL"
            " OR invoice_uuid !~ '^[A-Z0-9-]+$' OR jsonb_typeof(body) <> 'object'",
            "a person": "SELECT telegram_id FROM users u WHERE NOT EXISTS"
            " (SELECT FROM subscriptions s WHERE s.user_id = u.telegram_id)",
        }
        db = self.shop.db
        found = [
            f"{what} that must not be: {row}"
            for what, query in asked.items()
            for row in await books.rows(db, query + " LIMIT 5")
        ]
        return found + [f"the ledger differs: {one}" for one in await ledger.check(db)]

    async def sells(self) -> bool:
        """Show that all works still: one invoice is paid, and that one is granted within seconds."""
        self.provider.pay(self.invoices[0])
        for _ in range(100):
            await books.change(
                self.shop.db,
                "UPDATE payments SET wake = wake + 1, next_check_at = now() WHERE id = :id",
                id=self.payments[0],
            )
            self.shop.bells.checker.set()
            await asyncio.sleep(0.2)
            grants = await books.rows(self.shop.db, "SELECT payment_id FROM subscription_ledger")
            if grants:
                return [one["payment_id"] for one in grants] == [self.payments[0]]
        return False


@contextmanager
def shopfront(database: URL) -> Iterator[Shopfront]:
    """Open a shop over a migrated database, with a thousand people and three open orders."""
    opened: Future[Shopfront] = Future()
    closing = asyncio.Event()
    ears = Ears()

    async def live() -> None:
        try:
            async with AsyncExitStack() as stack:
                front = await _open(database, stack)
                front.ears = ears
                opened.set_result(front)
                await closing.wait()
        except BaseException as error:
            if not opened.done():
                opened.set_exception(error)
            raise

    with ears.listening():
        thread = threading.Thread(target=lambda: asyncio.run(live()), name="shop", daemon=True)
        thread.start()
        front = opened.result(PATIENCE)
        try:
            yield front
        finally:
            front.loop.call_soon_threadsafe(closing.set)
            thread.join(PATIENCE)


async def _open(database: URL, stack: AsyncExitStack) -> Shopfront:
    db = Database(database)
    stack.push_async_callback(db.dispose)
    provider = await stack.enter_async_context(cryptocloud_world())
    world = provider.world
    settings = Settings(
        _env_file=None,
        bot_token=world.credentials.bot_token,
        admin_ids=(ADMIN,),
        cryptocloud_api_key=world.credentials.api_key,
        cryptocloud_shop_id=world.credentials.shop_id,
        cryptocloud_secret_key=SECRET,
        cryptocloud_api_url=provider.sandbox.url,
        telegram_api_url=provider.sandbox.url,
        telegram_webhook_secret=HOOK_SECRET,
        metrics_token=METRICS_TOKEN,
        http_port=0,
        lease_seconds=Decimal(5),
        check_seconds=Decimal(5),
    )
    async with db.begin() as session:
        await users.expect_admins(session, [ADMIN], "free")
    for person in (ADMIN, *BUYERS, *CROWD):
        world.add_person(Person(person, f"Customer {person}", "en", started=True))
    metrics = Metrics()
    bot = create_bot(settings, metrics)
    stack.push_async_callback(bot.session.close)
    vitals = Vitals(telegram=OK, cryptocloud=OK, migrations=OK, bot_username="shop_bot")
    shop = Shop(
        db=db,
        settings=settings,
        price_list=read_tiers(ROOT / "tiers.toml"),
        cryptocloud=provider.client,
        texts=Texts(settings.zone),
        metrics=metrics,
        vitals=vitals,
        bells=Bells(),
    )
    desk = UpdateDesk(bot, dispatcher_of(shop), shop)
    app = create_app(
        db=db,
        settings=settings,
        price_list=shop.price_list,
        vitals=vitals,
        metrics=metrics,
        on_hint=shop.bells.checker.set,
        on_unknown_invoice=shop.bells.reconciler.set,
        handle_update=desk.handle,
    )
    server = await serve(app, settings)
    stack.push_async_callback(server.stop)
    front = Shopfront(
        asyncio.get_running_loop(), provider, shop, desk, Polling(bot, desk, vitals), server.port
    )
    for buyer in BUYERS:
        await books.customer(db, buyer)
        order = uuid.uuid4()
        invoice = provider.issue(order_id=str(order)).uuid.removeprefix("INV-")
        await books.invoice(db, buyer, uuid=invoice, id=order, superseded=False)
        front.invoices.append(invoice)
        front.payments.append(order)
    await _start_workers(stack, Clockwork(bot, shop, stopping := asyncio.Event()), stopping)
    return front


async def _start_workers(stack: AsyncExitStack, clockwork: Clockwork, stopping: asyncio.Event) -> None:
    workers = [asyncio.create_task(worker) for worker in clockwork.workers()]

    async def stop() -> None:
        stopping.set()
        _, late = await asyncio.wait(workers, timeout=10)
        for worker in late:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    stack.push_async_callback(stop)
