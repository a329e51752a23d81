"""The crowd: few customers with many invoices each, who do with money and postbacks everything that people do.

A customer knows only what stands in the chat: what was not shown there is never paid.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count, islice
from typing import Any

from sandbox import checkout, people, postback
from sandbox.invoices import Invoice, PostbackSettings
from sandbox.world import Message, Person, World
from tests.chaos.diary import Diary
from tests.e2e.stage import Stage

PATIENCE = 25.0
LOOK = 0.15  # seconds between two looks at the chat
A_LOT_OF_INVOICES = "lot of invoices for one hour"
TROUBLE_BEFORE_LEAVING = 4

# What becomes of an order, and how often in a hundred.
INTENTIONS = {
    "pay": 42,
    "pay, postback lost": 24,
    "pay in two parts": 6,
    "pay too much": 6,
    "pay a part, then too much": 3,
    "pay after it expired": 6,
    "pay after it was canceled": 3,
    "forged postbacks, then pay": 4,
    "forged postbacks, never pay": 2,
    "pay a part, never the rest": 1,
    "let it expire": 1,
    "cancel": 2,
}
NEVER_PAID = {"forged postbacks, never pay", "pay a part, never the rest", "let it expire", "cancel"}
POSTBACKS = {"once": 40, "twice": 20, "burst": 15, "delayed": 15, "expired": 5, "other_token": 5}


@dataclass
class Deal:
    """An invoice that a customer was shown."""

    customer: int
    tier: str
    period: str
    invoice: Invoice
    message_id: int
    intention: str
    done_at: float = 0.0

    @property
    def number(self) -> str:
        """The receipt number, unless the order was lost and adopted under another."""
        return (self.invoice.order_id or "").replace("-", "")[:10].upper()


@dataclass
class Crowd:
    """All customers, the deals they were shown, and how fast they may buy."""

    play: Stage
    diary: Diary
    by_price: dict[Decimal, tuple[str, str]]
    dice: random.Random
    size: int
    seconds: float
    regulars: int
    deals: dict[str, Deal] = field(default_factory=dict)
    people: "dict[int, Customer]" = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    closing: bool = False
    _ids: "count[int]" = field(default_factory=lambda: count(1001))
    _tasks: "set[asyncio.Task[None]]" = field(default_factory=set)

    @property
    def world(self) -> World:
        return self.play.world

    @property
    def paid(self) -> int:
        return sum(deal.invoice.is_settled for deal in self.deals.values())

    def newcomer(self, *, tier: str = "") -> "Customer":
        """Let somebody come in who has never been here."""
        who = next(self._ids)
        dice = random.Random(f"{self.dice.random()}")
        person = Person(who, f"Customer {who}", dice.choice(["en", "en", "en", "ru"]))
        self.world.add_person(person)
        one = Customer(self, who, tier or dice.choice(["pro", "business"]), dice)
        self.people[who] = one
        return one

    async def shop(self) -> None:
        """Let people buy until enough is paid; comes back when the last has left."""
        self.began = time.monotonic()
        async with asyncio.TaskGroup() as everybody:
            for _ in range(self.regulars):
                everybody.create_task(self._regulars_place())
            everybody.create_task(self._passers_by())

    async def _regulars_place(self) -> None:
        """Keep one place taken: who has to leave makes room for somebody else."""
        await asyncio.sleep(self.dice.uniform(0, 3))
        while not self.closing:
            customer = self.newcomer()
            while not self.closing and customer.trouble < TROUBLE_BEFORE_LEAVING and not customer.refused:
                await self.turn()
                await customer.visit(self.dice.choice([1, 2, 2, 3, 3, 4]))

    async def _passers_by(self) -> None:
        pause = max(1.5, self.seconds / 60)
        async with asyncio.TaskGroup() as visits:
            while not self.closing:
                await asyncio.sleep(self.dice.uniform(0.5, 1.5) * pause)
                await self.turn()
                customer = self.newcomer()
                wish = self.dice.random()
                if wish < 0.2:
                    visits.create_task(customer.buy_two_tiers())
                elif wish < 0.4:
                    visits.create_task(customer.buy_and_block())
                else:
                    visits.create_task(customer.visit(self.dice.choice([1, 2])))

    async def turn(self) -> None:
        """Wait until there is room for another visit: no more is bought than was asked for."""
        while not self.closing and self.paid > self._allowed():  # noqa: ASYNC110 - money makes no event
            await asyncio.sleep(0.5)

    def _allowed(self) -> float:
        return self.size * (time.monotonic() - self.began) / self.seconds + 3


class Leaves(Exception):
    """A step did not happen within a customer's patience."""


@dataclass
class Customer:
    """One person with a chat."""

    crowd: Crowd
    id: int
    tier: str
    dice: random.Random
    trouble: int = 0
    refused: bool = False
    mixed: bool = False
    receipts: set[str] = field(default_factory=set)
    _read_until: int = 0

    @property
    def world(self) -> World:
        return self.crowd.world

    def recent(self, since: int = 0) -> list[Message]:
        """The bot's newest messages, newest first."""
        found = []
        for message in islice(reversed(self.world.chats.get(self.id, {}).values()), 80):
            if int(message.body["message_id"]) <= since:
                break
            if message.from_bot and not message.deleted:
                found.append(message)
        return found

    def catch_up(self) -> None:
        """Note the receipts that came."""
        for message in self.recent(self._read_until):
            said = str(message.body.get("text", ""))
            if A_LOT_OF_INVOICES in said:
                self.refused = True
            if " active" in said or "активна" in said:
                self.receipts |= {word for word in said.replace("\n", " ").split() if len(word) == 10}
        newest = self.recent()
        if newest:
            self._read_until = int(newest[0].body["message_id"])

    async def _see(self, look: Callable[[], Any], patience: float = PATIENCE) -> Any:
        give_up = time.monotonic() + patience
        while (found := look()) is None:
            if time.monotonic() > give_up or self.refused:
                raise Leaves
            await asyncio.sleep(LOOK)
            self.catch_up()
        return found

    def _say(self, text: str) -> None:
        with suppress(ValueError):
            people.say(self.world, self.id, text)

    def _press(self, message_id: int, data: str) -> None:
        with suppress(LookupError, ValueError):
            people.press(self.world, self.id, message_id, data, forged=True)

    def _button(self, prefix: str, since: int) -> tuple[int, str] | None:
        for message in self.recent(since):
            for data in _data(message):
                if data.startswith(prefix):
                    return int(message.body["message_id"]), data
        return None

    def _new_link(self, tier: str, period: str) -> tuple[Invoice, int] | None:
        for message in self.recent():
            for url in _links(message):
                invoice = self.world.invoices.get(url.rsplit("/", 1)[1])
                if invoice is None or invoice.uuid in self.crowd.deals or invoice.status != "created":
                    continue
                if self.crowd.by_price[invoice.amount_in_fiat] == (tier, period):
                    return invoice, int(message.body["message_id"])
        return None

    async def order(self, tier: str, period: str) -> Deal:
        """Go from /start to a link; raises `Leaves`."""
        since = next((int(one.body["message_id"]) for one in self.recent()), 0)
        self._say(f"/start tier_{tier}")
        message_id, data = await self._see(lambda: self._button(f"period:{tier}:{period}", since))
        self._press(message_id, data)
        message_id, data = await self._see(lambda: self._button(f"pay:{tier}:{period}", since))
        for _ in range(10 if self.dice.random() < 0.05 else 1):
            self._press(message_id, data)
        invoice, message_id = await self._see(lambda: self._new_link(tier, period))
        (intention,) = self.dice.choices(list(INTENTIONS), list(INTENTIONS.values()))
        if intention in NEVER_PAID and self._unpaid() >= 3:
            intention = "pay, postback lost"
        deal = Deal(self.id, tier, period, invoice, message_id, intention)
        self.crowd.deals[invoice.uuid] = deal
        return deal

    def _unpaid(self) -> int:
        return sum(not deal.invoice.is_settled for deal in self._deals())

    def _deals(self) -> list[Deal]:
        return [deal for deal in self.crowd.deals.values() if deal.customer == self.id]

    def _free_periods(self) -> list[str]:
        """Periods without an order under way: the shop gives an open invoice again."""
        taken = set()
        for deal in self._deals():
            over = deal.invoice.status == "canceled" and time.time() > deal.done_at + 12
            if deal.number not in self.receipts and not over:
                taken.add(deal.period)
        return [
            period
            for tier, period in self.crowd.by_price.values()
            if tier == self.tier and period not in taken
        ]

    async def visit(self, wanted: int) -> None:
        """Order some periods of one tier, pay them together, wait a little for the receipts."""
        self.catch_up()
        periods = self._free_periods()
        self.dice.shuffle(periods)
        ordered: list[Deal] = []
        try:
            for period in periods[:wanted]:
                ordered.append(await self.order(self.tier, period))
            self.trouble = 0 if ordered else self.trouble + 1
        except Leaves:
            self.trouble += 1
        if not ordered:
            await asyncio.sleep(1)
            return
        await asyncio.sleep(self.dice.choice([0.1, 1, 3]))
        if len(ordered) > 1 and self.dice.random() < 0.6:  # all at the same moment, and nobody says so
            for deal in ordered:
                if deal.intention == "pay":
                    deal.intention = "pay, postback lost"
        async with asyncio.TaskGroup() as together:
            for deal in ordered:
                together.create_task(self.settle(deal))
        with suppress(Leaves):
            await self._see(lambda: self._all_told(ordered), patience=self.dice.uniform(3, 10))

    def _all_told(self, deals: list[Deal]) -> bool | None:
        return all(deal.number in self.receipts for deal in deals if deal.invoice.is_settled) or None

    async def settle(self, deal: Deal) -> None:
        """Do with an invoice what was intended."""
        invoice = deal.invoice
        match deal.intention:
            case "pay":
                await self._pay(invoice)
            case "pay, postback lost":
                await self._pay(invoice, mode="none")
            case "pay in two parts":
                await self._pay(invoice, self._part(invoice))
                await self._hint(invoice)
                await asyncio.sleep(self.dice.uniform(0.2, 4))
                await self._pay(invoice)
            case "pay too much":
                await self._pay(invoice, invoice.to_surcharge + 5)
            case "pay a part, then too much":
                await self._pay(invoice, self._part(invoice))
                await asyncio.sleep(self.dice.uniform(0.2, 4))
                await self._pay(invoice, invoice.to_surcharge + 7)
            case "pay after it expired":
                checkout.expire(self.world, invoice)
                await asyncio.sleep(self.dice.uniform(0.2, 6))
                await self._pay(invoice)
            case "pay after it was canceled":
                await self._cancel(deal)
                await asyncio.sleep(self.dice.uniform(0.2, 3))
                await self._pay(invoice)
            case "forged postbacks, then pay":
                await self._forge(invoice)
                await asyncio.sleep(self.dice.uniform(0.2, 2))
                await self._pay(invoice)
            case "forged postbacks, never pay":
                await self._forge(invoice)
                checkout.expire(self.world, invoice)
            case "pay a part, never the rest":
                await self._pay(invoice, self._part(invoice))
                await self._hint(invoice)
                await asyncio.sleep(self.dice.uniform(0.2, 4))
                checkout.expire(self.world, invoice)
            case "let it expire":
                checkout.expire(self.world, invoice)
            case "cancel":
                await self._cancel(deal)
        deal.done_at = time.time()
        if self.dice.random() < 0.15 and invoice.order_id:
            self._press(deal.message_id, f"check:{invoice.order_id.replace('-', '')}")

    def _part(self, invoice: Invoice) -> Decimal:
        return (invoice.amount_to_pay / self.dice.choice([2, 3, 5])).quantize(Decimal("0.01"))

    async def _pay(self, invoice: Invoice, amount: Decimal | None = None, *, mode: str = "") -> None:
        if not mode:
            (mode,) = self.dice.choices(list(POSTBACKS), list(POSTBACKS.values()))
        self.crowd.diary.note(f"postback: {'lost' if mode == 'none' else mode}")
        await checkout.pay(
            self.world,
            self.crowd.play.sandbox.client,
            invoice,
            amount,
            PostbackSettings(
                mode=mode,
                count=self.dice.randint(3, 10),
                seconds=self.dice.uniform(0.5, 8),
                format=self.dice.choice(["json", "json", "form"]),
                bytes_token=self.dice.random() < 0.2,
            ),
        )

    async def _hint(self, invoice: Invoice) -> None:
        self._deliver(invoice, PostbackSettings(mode="once"))

    async def _forge(self, invoice: Invoice) -> None:
        """Everything that a liar can send, and a well-signed postback for money that never came."""
        for mode in ("forged", "other_token", "no_token", "garbage", "expired", "once"):
            if mode != "once":
                self.crowd.diary.note("postback: forged")
            self._deliver(invoice, PostbackSettings(mode=mode, format=self.dice.choice(["json", "form"])))

    def _deliver(self, invoice: Invoice, settings: PostbackSettings) -> None:
        async def send() -> None:
            await postback.deliver(self.world, self.crowd.play.sandbox.client, invoice, settings)

        self.world.spawn(send())

    async def _cancel(self, deal: Deal) -> None:
        self._press(deal.message_id, f"cancel:{(deal.invoice.order_id or '').replace('-', '')}")
        with suppress(Leaves):
            await self._see(lambda: deal.invoice.status == "canceled" or None, patience=6)

    async def buy_two_tiers(self) -> None:
        """Have an open invoice of either tier and pay both: what is left of one is converted to the other."""
        self.mixed = True
        deals = []
        with suppress(Leaves):
            for tier in self.dice.sample(["pro", "business"], 2):
                deals.append(await self.order(tier, self.dice.choice(["month", "quarter", "year"])))
        for deal in deals:
            deal.intention = "pay"
            await self._pay(deal.invoice, mode=self.dice.choice(["once", "none"]))
            deal.done_at = time.time()
            await asyncio.sleep(self.dice.choice([0, 0, 3]))

    async def buy_and_block(self) -> None:
        """Pay, block the bot before the receipt comes, and come back later."""
        with suppress(Leaves):
            deal = await self.order(self.tier, "month")
            people.set_blocked(self.world, self.id, True)
            self.crowd.diary.note("customer blocked the bot")
            await self._pay(deal.invoice)
            deal.intention, deal.done_at = "pay", time.time()
            await asyncio.sleep(self.dice.uniform(3, 10))
        people.set_blocked(self.world, self.id, False)
        self._say("/start")


def _keyboard(message: Message) -> list[dict[str, Any]]:
    markup = message.body.get("reply_markup") or {}
    return [button for row in markup.get("inline_keyboard", ()) for button in row]


def _data(message: Message) -> list[str]:
    return [str(button["callback_data"]) for button in _keyboard(message) if "callback_data" in button]


def _links(message: Message) -> list[str]:
    return [str(button["url"]) for button in _keyboard(message) if "/pay/" in str(button.get("url", ""))]
