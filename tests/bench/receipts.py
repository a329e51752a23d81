"""From the postback to the receipt handed to Telegram: the real process, with both emulators on this machine."""

import asyncio
import json
import time
from dataclasses import dataclass
from random import Random
from typing import Any

from sandbox.invoices import Invoice
from sandbox.postback import body_of, token_for
from sandbox.world import Json
from services.notifications import MESSAGES_A_SECOND
from services.payments import SHORTEST_BETWEEN_CHECKS, receipt_number
from tests.bench import plot
from tests.bench.chapter import Chapter, Row
from tests.bench.figures import Figures, percentile, written
from tests.bench.flood import flood, post
from tests.bench.ground import Ground
from tests.bench.orders import count, customer_of, issued, payment_of, take_orders
from tests.bench.processor_time import resident
from tests.e2e.stage import Bot, Stage, stage, until
from webhook_server.cryptocloud import PATH

CONNECTIONS = 32
WARM_UP = 5
PAUSE = 0.3  # seconds at most between two purchases
TARGET_P50, TARGET_P99 = 30, 100
STEPS = {
    "stored": "until the postback is answered",
    "asked": "until CryptoCloud is asked",
    "told": "until it has answered",
    "receipt": "until the receipt is at Telegram",
}


async def measure(ground: Ground) -> Figures:
    """Let customers pay one after the other, then many at once."""
    sizes, figures = ground.sizes, Figures()
    orders = WARM_UP + sizes.purchases + sizes.rush
    async with ground.database() as url:
        await take_orders(url, orders)
        async with stage(url, ground.folder, LEASE_SECONDS="60", CHECK_SECONDS="60") as play:
            for number in range(1, orders + 1):
                invoice = issued(number, play.sandbox.url)
                play.world.invoices[invoice.uuid] = invoice
                play.person(customer_of(number)).stage.world.people[customer_of(number)].started = True
            bot = await play.open()
            figures.note("resident at first", resident(bot.process.pid))
            await _one_after_the_other(figures, play, WARM_UP + sizes.purchases)
            await _all_at_once(figures, play, bot, WARM_UP + sizes.purchases + 1, sizes.rush)
            figures.note("resident at last", resident(bot.process.pid))
            await bot.stop()
    return figures


@dataclass(frozen=True)
class _Purchase:
    number: int
    invoice: Invoice
    pieces: list[Json]  # the journal lines of its postback, its check and its receipt

    def steps(self) -> dict[str, float]:
        """Milliseconds from the sending of the postback."""
        postback, info, receipt = self.pieces
        moments = {
            "stored": postback["at"] + postback["took"],
            "asked": info["at"],
            "told": info["at"] + info["took"],
            "receipt": receipt["at"],
        }
        return {name: (moment - postback["at"]) * 1000 for name, moment in moments.items()}


async def _one_after_the_other(figures: Figures, play: Stage, wanted: int) -> None:
    random = Random(wanted)
    for number in range(1, wanted + 1):
        purchase = await _buy(play, number)
        await asyncio.sleep(random.uniform(0, PAUSE))  # nobody pays in step with a worker's clock
        if number > WARM_UP:
            for name, took in purchase.steps().items():
                figures.note(name, took)


async def _buy(play: Stage, number: int) -> _Purchase:
    invoice = play.world.invoices[issued(number).uuid]
    invoice.pay(invoice.to_surcharge)
    postback = await play.postback(invoice)
    assert postback["status"] == 200, postback["answer"]
    receipt = await until(lambda: _receipt(play, number), what="the receipt")
    info = next(
        one
        for one in reversed(play.world.provider_calls)
        if one["method"] == "info" and f"INV-{invoice.uuid}" in json.dumps(one["body"])
    )
    return _Purchase(number, invoice, [postback, info, receipt])


def _receipt(play: Stage, number: int) -> Json | None:
    """The call that handed a receipt to Telegram."""
    wanted = receipt_number(payment_of(number))
    for call in reversed(play.world.bot_calls):
        if call["method"] == "sendMessage" and call["chat_id"] == customer_of(number):
            said = str(_arguments(call).get("text", ""))
            if " active" in said and wanted in said:
                return call
    return None


def _arguments(call: Json) -> dict[str, Any]:
    arguments: dict[str, Any] = call["arguments"]
    return arguments


async def _all_at_once(figures: Figures, play: Stage, bot: Bot, first: int, wanted: int) -> None:
    """Let everybody's postback come over 32 connections, and wait for the last receipt."""
    numbers = range(first, first + wanted)
    requests = []
    for number in numbers:
        invoice = play.world.invoices[issued(number).uuid]
        invoice.pay(invoice.to_surcharge)
        token = token_for(play.world, invoice.uuid)
        requests.append(post(PATH, json.dumps(body_of(play.world, invoice, token, form=False)).encode()))
    began = time.time()
    answered = await flood(bot.port, requests, CONNECTIONS)
    figures.note("rush postbacks", answered.rate)
    figures.note("rush p99", percentile(answered.latencies, 0.99))
    query = "SELECT count(*) FROM payments WHERE status <> 'paid'"

    async def all_paid() -> bool:
        return await count(play.db, query) == 0

    await until(all_paid, within=120, what="all to be settled")
    figures.note("rush settled", wanted / (time.time() - began))
    query_receipts = "SELECT count(*) FROM notifications WHERE kind = 'receipt' AND state = 'due'"

    async def all_told() -> bool:
        return await count(play.db, query_receipts) == 0

    await until(all_told, within=30 + 3 * wanted / MESSAGES_A_SECOND, what="all receipts")
    moments = [call["at"] for number in numbers if (call := _receipt(play, number)) is not None]
    assert len(moments) == wanted, f"{wanted} have paid, {len(moments)} have a receipt"
    figures.note("rush receipts", wanted / (max(moments) - began))


def tell(figures: Figures | None) -> Chapter:
    """Compare with what was asked for, and say where the time goes."""
    title = "Receipts"
    idle = Row(
        "postback to receipt handed to Telegram, idle", f"p50 ≤ {TARGET_P50} ms, p99 ≤ {TARGET_P99} ms"
    )
    rush = Row("the same, everybody at once", f"none; Telegram takes {MESSAGES_A_SECOND} messages/s")
    if figures is None:
        return Chapter(title, [idle, rush])
    p50, p99 = figures.share("receipt", 0.5), figures.share("receipt", 0.99)
    parts = _parts(figures)
    longest = max(parts, key=lambda name: parts[name])
    return Chapter(
        title,
        [
            Row(
                idle.what,
                idle.target,
                f"p50 {written(p50)} ms, p99 {written(p99)} ms, longest {written(max(figures.values['receipt']))} ms "
                f"({len(figures.values['receipt'])} purchases)",
                f"{p50 / TARGET_P50:.2f} and {p99 / TARGET_P99:.2f} of what is allowed",
                f"{longest}: {written(parts[longest])} ms of {written(p50)}",
                p50 <= TARGET_P50 and p99 <= TARGET_P99,
            ),
            Row(
                rush.what,
                rush.target,
                f"{figures.spread('rush postbacks', '/s')} postbacks answered, "
                f"{figures.spread('rush settled', '/s')} settled, {figures.spread('rush receipts', '/s')} receipts",
                f"receipts: {figures.mid('rush receipts') / MESSAGES_A_SECOND:.2f} of what Telegram takes",
                "Telegram's limit of messages, which receipts are the first to use",
            ),
        ],
        f"""
The real process with its workers, the database and both emulators on this machine, whose own time is in the figures.
The clock starts when CryptoCloud sends the postback and stops when the receipt's sendMessage arrives at Telegram:
between lie the commit of the postback, one question to CryptoCloud, the settling and the notifier's claim. Purchases
come one after the other at odd moments. In life one thing is added: an invoice that was asked about less than
{SHORTEST_BETWEEN_CHECKS} s ago waits until these are over, which with CHECK_SECONDS=60 meets one postback in twenty.

With everybody at once, postbacks are answered while the same process settles and sends. Memory held by the process:
{figures.spread("resident at first")} MB when ready, {figures.spread("resident at last")} MB afterwards.""",
        [
            (
                ("step", "p50 ms", "p99 ms"),
                [
                    (what, written(figures.share(name, 0.5)), written(figures.share(name, 0.99)))
                    for name, what in STEPS.items()
                ],
            )
        ],
        {
            "receipts.svg": plot.lines(
                "From postback to receipt: this share of purchases was quicker",
                "per cent of purchases",
                "milliseconds",
                {
                    what: [(share, figures.share(name, share / 100)) for share in range(1, 100)]
                    for name, what in (
                        ("stored", "postback answered"),
                        ("told", "CryptoCloud answered"),
                        ("receipt", "receipt"),
                    )
                },
            )
        },
    )


def _parts(figures: Figures) -> dict[str, float]:
    """The medians of the steps between the moments."""
    stored, asked, told, receipt = (figures.share(name, 0.5) for name in STEPS)
    return {
        "storing the postback": stored,
        "from its answer to CryptoCloud": asked - stored,
        "CryptoCloud's answer": told - asked,
        "settling, claiming and sending": receipt - told,
    }
