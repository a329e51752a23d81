"""Three processes on one database behind one address, in webhook mode: what one does, none does again."""

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import URL

from sandbox.invoices import Invoice
from services import ledger
from tests.conftest import administer
from tests.e2e.proxy import Proxy, proxy
from tests.e2e.stage import Bot, Customer, Stage, free_port, stage, until

pytestmark = pytest.mark.timeout(300)  # a busy machine takes its time to start processes

_ids = iter(range(60_000, 70_000))


@dataclass(frozen=True)
class Replicas:
    """The shop, its processes, and the one address that stands before them."""

    play: Stage
    front: Proxy

    @property
    def bots(self) -> list[Bot]:
        return self.play.bots

    def freeze(self, *bots: Bot) -> None:
        """Let processes stand still, as on a machine that swaps or a paused container."""
        for bot in bots:
            bot.process.send_signal(signal.SIGSTOP)

    def thaw(self, *bots: Bot) -> None:
        """Let them go on, as if no time had passed."""
        for bot in bots:
            bot.process.send_signal(signal.SIGCONT)


@pytest_asyncio.fixture(scope="module")
async def replicas(template: URL, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Replicas]:
    """Three processes, started at once on a database without any tables."""
    name = f"replicas_{uuid4().hex[:8]}"
    await administer(template, f"CREATE DATABASE {name}")
    ports = [free_port() for _ in range(3)]
    async with (
        proxy(*(("127.0.0.1", port) for port in ports)) as front,
        stage(
            template.set(database=name),
            tmp_path_factory.mktemp("replicas"),
            TELEGRAM_UPDATES="webhook",
            TELEGRAM_WEBHOOK_SECRET=uuid4().hex,
            BASE_URL=front.url,
        ) as play,
    ):
        await asyncio.gather(*(play.open(port=port) for port in ports))
        play.world.project.notification_url = front.url + "/api/webhook/payment"
        yield Replicas(play, front)


@pytest.fixture
def ann(replicas: Replicas) -> Customer:
    return replicas.play.person(next(_ids))


async def test_of_replicas_that_start_together_one_migrates(replicas: Replicas) -> None:
    assert [bot.process.returncode for bot in replicas.bots] == [None, None, None]
    assert len(await replicas.play.rows("SELECT * FROM alembic_version")) == 1
    for bot in replicas.bots:
        assert bot.lines('"level": "error"') == bot.lines('"level": "critical"') == []


async def test_fifty_postbacks_over_three_replicas_grant_once(replicas: Replicas, ann: Customer) -> None:
    invoice = await ann.order()
    before = replicas.front.served.copy()
    sent = await ann.pay(invoice, mode="burst", count=50)

    assert [one["status"] for one in sent] == [200] * 50
    assert len(replicas.front.served - before) == 3
    await ann.was_granted_once(invoice)


async def test_two_open_invoices_paid_at_once_add_up(replicas: Replicas, ann: Customer) -> None:
    month = await ann.order("pro", "month")
    quarter = await another_order(ann, "quarter", month)
    await asyncio.gather(ann.pay(month), ann.pay(quarter))

    for invoice in (month, quarter):
        payment = await ann.payment(invoice)
        await until(partial(ann.receipts, payment["id"]), what="a receipt for each")
    entries = await ann.ledger()
    assert [one["kind"] for one in entries] == ["payment", "payment"]
    assert entries[1]["ends_at"] - entries[0]["starts_at"] == timedelta(days=120)
    assert len(ann.receipts()) == 2
    assert await ledger.check(replicas.play.db) == []


async def another_order(ann: Customer, period: str, first: Invoice) -> Invoice:
    ann.say("/plans")
    await ann.press("tier:pro")
    await ann.press(f"period:pro:{period}")
    await ann.press(f"pay:pro:{period}")

    async def shown() -> Invoice | None:
        invoice = await ann.invoice()
        return invoice if invoice is not first else None

    found: Invoice = await until(shown, what="a second invoice")
    return found


async def test_a_replica_that_stood_still_over_its_check_grants_nothing_again(
    replicas: Replicas, ann: Customer
) -> None:
    """It holds the lease of two seconds, and wakes up with CryptoCloud's answer in its hands."""
    one, *others = replicas.bots
    world = replicas.play.world
    invoice = await ann.order()
    world.faults.add("cryptocloud", "slow", method="info", seconds=1.0, uuid=invoice.uuid)

    replicas.freeze(*others)
    invoice.pay(invoice.to_surcharge)
    await until(lambda: any(call.get("fault") == "slow" for call in world.provider_calls))
    replicas.freeze(one)
    replicas.thaw(*others)
    await ann.was_granted_once(invoice)
    replicas.thaw(one)

    await until(lambda: is_ready(replicas, one), what="it to go on")
    await asyncio.sleep(1)
    await ann.was_granted_once(invoice)


async def test_a_replica_that_stood_still_over_a_receipt_costs_one_copy(
    replicas: Replicas, ann: Customer
) -> None:
    """Telegram has the receipt, its sender cannot say so before its lease is over."""
    one, *others = replicas.bots
    world = replicas.play.world
    invoice = await ann.order()
    world.faults.add("telegram", "delay", method="sendMessage", chat_id=ann.id, seconds=0.4)

    replicas.freeze(*others)
    invoice.pay(invoice.to_surcharge)
    await until(lambda: any(call.get("fault") == "delay" for call in world.bot_calls))
    replicas.freeze(one)
    replicas.thaw(*others)
    await ann.was_granted_once(invoice, copies=(2,))
    replicas.thaw(one)

    await asyncio.sleep(1)
    await ann.was_granted_once(invoice, copies=(2,))


async def is_ready(replicas: Replicas, bot: Bot) -> bool:
    async with replicas.play.sandbox.client.get(bot.url + "/health/ready") as answer:
        return answer.status == 200
