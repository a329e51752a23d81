"""A stage for whole plays: the real process, a real database, and the outside world of the sandbox over HTTP."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
from sqlalchemy import URL

from sandbox import checkout, people, postback
from sandbox.app import Sandbox, running
from sandbox.invoices import DEFAULT_COIN, Invoice, PostbackSettings, new_uuid
from sandbox.world import Message, Person, World
from services import ledger
from services.db import Database
from tests import shop
from tests.shop import rows

ROOT = Path(__file__).resolve().parent.parent.parent
ADMIN = 900
PATIENCE = 20.0
LONGEST_START = 90.0  # seconds; several start at once on a busy machine
LONGEST_LINE = 2**20  # a log line with a traceback in it


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def until(question: Callable[[], Any], *, within: float = PATIENCE, what: str = "") -> Any:
    """Wait until a question (plain or async) has a true answer; fails with `what` was waited for."""
    give_up = time.monotonic() + within
    while True:
        answer = question()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > give_up:
            raise AssertionError(f"waited {within:g} s in vain for {what or 'it'}")
        await asyncio.sleep(0.03)


async def at_once(*plays: Coroutine[Any, Any, Any]) -> None:
    """Let several plays happen at the same time; when one fails, the others end."""
    async with asyncio.TaskGroup() as together:
        for play in plays:
            together.create_task(play)


@dataclass
class Bot:
    """A running `python -m bot`."""

    process: asyncio.subprocess.Process
    port: int
    log: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ended(self, within: float = PATIENCE) -> int:
        """Wait for the process to end and tell how it did."""
        async with asyncio.timeout(within):
            return await self.process.wait()

    async def kill(self) -> None:
        """kill -9."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def stop(self, name: signal.Signals = signal.SIGTERM, *, within: float = PATIENCE) -> int:
        """SIGTERM or another signal, and how it ended."""
        if self.process.returncode is None:
            self.process.send_signal(name)
        return await self.ended(within)

    def lines(self, words: str) -> list[str]:
        """The lines of the log with these words."""
        return [line for line in self.log if words in line]


@dataclass
class Stage:
    """One shop with its outside world; customers are told apart by their ids, so that plays can share it."""

    sandbox: Sandbox
    db: Database
    url: URL
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    bots: list[Bot] = field(default_factory=list)

    @property
    def world(self) -> World:
        return self.sandbox.world

    def settings(self, port: int) -> dict[str, str]:
        """The whole environment of a process: nothing of this machine's own."""
        credentials = self.world.credentials
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "BOT_TOKEN": credentials.bot_token,
            "ADMIN_IDS": str(ADMIN),
            "CRYPTOCLOUD_API_KEY": credentials.api_key,
            "CRYPTOCLOUD_SHOP_ID": credentials.shop_id,
            "CRYPTOCLOUD_SECRET_KEY": credentials.secret_key,
            "CRYPTOCLOUD_API_URL": self.sandbox.url,
            "TELEGRAM_API_URL": self.sandbox.url,
            "TELEGRAM_LINK_URL": self.sandbox.url + "/t",
            "DATABASE_URL": self.url.render_as_string(hide_password=False),
            "DATA_DIR": str(self.folder / "data"),
            "HTTP_PORT": str(port),
            "LEASE_SECONDS": "2",
            "CHECK_SECONDS": "2",
            "LOG_FORMAT": "json",
            "PYTHONPATH": str(ROOT),
            "TIERS_FILE": str(ROOT / "tiers.toml"),
        }

    async def open(self, *, ready: bool = True, port: int = 0, **environment: str) -> Bot:
        """Start a process; `environment` is for this one only, and port 0 takes a free one."""
        port = port or free_port()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bot",
            env=self.settings(port) | self.environment | environment,
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LONGEST_LINE,
        )
        bot = Bot(process, port)
        self.bots.append(bot)
        asyncio.get_running_loop().create_task(self._listen(bot))
        self.world.project.notification_url = f"{bot.url}/api/webhook/payment"
        if ready:
            await self.ready(bot)
        return bot

    async def _listen(self, bot: Bot) -> None:
        assert bot.process.stdout is not None
        async for line in bot.process.stdout:
            bot.log.append(line.decode(errors="replace").rstrip())

    async def ready(self, bot: Bot) -> None:
        """Wait until the bot says that it is ready."""

        async def asked() -> bool:
            assert bot.process.returncode is None, "\n".join(bot.log[-40:])
            try:
                async with self.sandbox.client.get(bot.url + "/health/ready") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        await until(asked, within=LONGEST_START, what="the bot to be ready")

    def person(self, telegram_id: int, *, language: str = "en", name: str = "Ann") -> "Customer":
        """Let somebody with a Telegram account appear."""
        self.world.add_person(Person(telegram_id, name, language))
        return Customer(self, telegram_id)

    async def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        """Ask the database through a fresh connection."""
        return await rows(self.db, query, **values)

    async def postback(self, invoice: Invoice, **how: Any) -> dict[str, Any]:
        """Let CryptoCloud send one postback now, whatever the invoice's state; `how` as for `pay`."""
        settings = PostbackSettings(**({"mode": "once"} | how))
        (sent,) = await postback.deliver(self.world, self.sandbox.client, invoice, settings)
        return sent

    def issue(self, *, order_id: str | None = None) -> Invoice:
        """Let CryptoCloud have an invoice that the running process has not asked for."""
        uuid, now = new_uuid(), time.time()
        self.world.invoices[uuid] = Invoice(
            uuid=uuid,
            order_id=order_id,
            amount_in_fiat=Decimal("99.00"),
            fiat_currency="USD",
            coin=DEFAULT_COIN,
            link=f"{self.sandbox.url}/pay/{uuid}",
            test_mode=False,
            created=now,
            expires=now + shop.DAY,
        )
        return self.world.invoices[uuid]

    async def standing_order(self, telegram_id: int) -> Invoice:
        """Move data: a month of Pro that somebody ordered before any process of this stage lived."""
        self.world.people[telegram_id].started = True
        order = uuid4()
        invoice = self.issue(order_id=str(order))
        await shop.customer(self.db, telegram_id)
        await shop.invoice(self.db, telegram_id, uuid=invoice.uuid, id=order, superseded=False)
        return invoice

    def calls(self, method: str) -> list[dict[str, Any]]:
        """What the bot has called at the Bot API."""
        return [one for one in self.world.bot_calls if one["method"].lower() == method.lower()]


@dataclass
class Customer:
    """Somebody who writes, presses and reads."""

    stage: Stage
    id: int

    def say(self, text: str) -> int:
        """Write to the bot."""
        return people.say(self.stage.world, self.id, text)

    @property
    def messages(self) -> list[Message]:
        """What stands in the chat from the bot, oldest first."""
        return [one for one in self.stage.world.messages(self.id) if one.from_bot and not one.deleted]

    def texts(self) -> list[str]:
        """The bot's texts, oldest first."""
        return [str(one.body.get("text", "")) for one in self.messages]

    async def read(self, words: str, *, within: float = PATIENCE) -> Message:
        """Wait for a message of the bot with these words; the newest of them."""

        def look() -> Message | None:
            found = [one for one in self.messages if words in str(one.body.get("text", ""))]
            return found[-1] if found else None

        try:
            message: Message = await until(look, within=within, what=f"{words!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}; the chat says {self.texts()}") from None
        return message

    def buttons(self, message: Message) -> list[dict[str, Any]]:
        """The buttons under a message."""
        markup = message.body.get("reply_markup") or {}
        return [one for row in markup.get("inline_keyboard", ()) for one in row]

    async def press(self, data: str, *, within: float = PATIENCE) -> str:
        """Wait for a button whose data begins so, newest message first, and press it; tells the press's id."""

        def look() -> tuple[int, str] | None:
            for message in reversed(self.messages):
                for one in self.buttons(message):
                    if str(one.get("callback_data", "")).startswith(data):
                        return int(message.body["message_id"]), str(one["callback_data"])
            return None

        found = await until(look, within=within, what=f"a button {data!r} in {self.texts()}")
        return people.press(self.stage.world, self.id, found[0], found[1])

    def forge(self, data: str, message: Message | None = None) -> str:
        """Press what no message offers (any more), as an old or a modified client can; tells the press's id."""
        shown = message or self.messages[-1]
        return people.press(self.stage.world, self.id, int(shown.body["message_id"]), data, forged=True)

    async def toast(self, press: str) -> str:
        """Wait for the answer to a press and tell its text."""
        presses = self.stage.world.presses
        await until(lambda: presses[press].answered, what="an answer to the press")
        return presses[press].text

    async def order(self, tier: str = "pro", period: str = "month") -> Invoice:
        """Go from /start to the invoice, and tell which one was shown."""
        self.say("/start")
        await self.press(f"tier:{tier}")
        await self.press(f"period:{tier}:{period}")
        await self.press(f"pay:{tier}:{period}")
        return await self.invoice()

    async def invoice(self) -> Invoice:
        """Wait for a message with a link to pay, and find its invoice."""

        def look() -> Invoice | None:
            for message in reversed(self.messages):
                for one in self.buttons(message):
                    if "/pay/" in str(one.get("url", "")):
                        return self.stage.world.invoices.get(str(one["url"]).rsplit("/", 1)[1])
            return None

        found: Invoice = await until(look, what=f"a link to pay in {self.texts()}")
        return found

    async def pay(self, invoice: Invoice, amount: Any = None, **how: Any) -> list[dict[str, Any]]:
        """Pay an invoice; `how` says what happens to the postback."""
        return await checkout.pay(
            self.stage.world,
            self.stage.sandbox.client,
            invoice,
            amount,
            PostbackSettings(**how) if how else None,
            wait=True,
        )

    async def payment(self, invoice: Invoice) -> dict[str, Any]:
        """Read the payment of an invoice as stored."""
        (only,) = await self.stage.rows(
            "SELECT * FROM payments WHERE invoice_uuid = :uuid", uuid=invoice.uuid.removeprefix("INV-")
        )
        return only

    async def ledger(self) -> list[dict[str, Any]]:
        """Read this customer's page of the book."""
        return await self.stage.rows(
            "SELECT * FROM subscription_ledger WHERE user_id = :id ORDER BY id", id=self.id
        )

    async def was_granted_once(
        self, invoice: Invoice, *, copies: Container[int] = (1,), within: float = 60.0
    ) -> None:
        """A paid invoice came out right: a row in the book that adds up, and as many receipts as `copies` allow."""
        await self.read("subscription is active", within=within)
        payment = await self.payment(invoice)
        await until(partial(self.receipts, payment["id"]), what="the receipt")
        await until(self._was_told_all, within=within, what="everything to be told")
        assert payment["status"] == "paid"
        assert len(self.receipts(payment["id"])) in copies
        assert [entry["payment_id"] for entry in await self.ledger()] == [payment["id"]]
        assert [one for one in await ledger.check(self.stage.db) if one.user_id == self.id] == []

    async def _was_told_all(self) -> bool:
        due = "SELECT 1 FROM notifications WHERE user_id = :id AND state = 'due'"
        return not await self.stage.rows(due, id=self.id)

    def receipts(self, payment: UUID | None = None) -> list[str]:
        """The receipts that arrived."""
        number = payment.hex[:10].upper() if payment else "Receipt"
        return [one for one in self.texts() if " active" in one and number in one]


@asynccontextmanager
async def stage(url: URL, folder: Path, **environment: str) -> AsyncIterator[Stage]:
    """Set a stage: a world and a migrated database; whatever still runs at the end is killed.

    Whatever was played, no process may have printed a secret.
    """
    db = Database(url)
    world = World()
    world.add_person(Person(ADMIN, "Merchant", "en"))
    async with running(world) as sandbox:
        play = Stage(sandbox, db, url, folder, environment)
        try:
            yield play
        finally:
            for bot in play.bots:
                await bot.kill()
            await db.dispose()
        said = "\n".join(line for bot in play.bots for line in bot.log)
        for secret in (world.credentials.bot_token, world.credentials.api_key, world.credentials.secret_key):
            assert secret not in said, "a process has printed a secret"
