"""The database goes away, hangs, crashes, or loses an answer, and the process is told to stop in the middle.

Outages last seconds here instead of minutes; the process sees no difference but their number of tries.
"""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from sqlalchemy import URL

from sandbox.invoices import Invoice
from sandbox.postback import body_of, token_for
from services.db import database_url
from services.embedded_postgres import EmbeddedPostgres, start_embedded_postgres
from tests.conftest import TEMPLATE, administer
from tests.e2e.proxy import Proxy, over, proxy, socket_of
from tests.e2e.stage import Bot, Customer, Stage, at_once, free_port, stage, until

pytestmark = pytest.mark.timeout(300)  # a busy machine takes its time to start processes

TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_ids = iter(range(50_000, 60_000))


@pytest_asyncio.fixture(scope="module")
async def wire(postgres: EmbeddedPostgres) -> AsyncIterator[Proxy]:
    """The way to the database, which can be broken."""
    async with proxy(socket_of(database_url(postgres.url))) as between:
        yield between


@pytest_asyncio.fixture(scope="module")
async def wired(wire: Proxy, template: URL, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A shop whose process reaches its database over that way; the test's own questions go straight."""
    name = f"wired_{uuid4().hex[:8]}"
    await administer(template, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    straight = template.set(database=name)
    async with stage(straight, tmp_path_factory.mktemp("wired"), DATABASE_URL=over(wire, straight)) as play:
        await play.open()
        yield play


@pytest.fixture
def bot(wired: Stage, wire: Proxy) -> Iterator[Bot]:
    """The process, which no outage may end; the way is whole again afterwards."""
    (only,) = wired.bots
    yield only
    wire.mend()
    assert only.process.returncode is None


def somebody(play: Stage) -> Customer:
    return play.person(next(_ids))


async def send_postback(play: Stage, bot: Bot, invoice: Invoice) -> tuple[int, str | None]:
    """Send a postback as CryptoCloud does; tells the status and Retry-After."""
    body = body_of(play.world, invoice, token_for(play.world, invoice.uuid), form=False)
    async with play.sandbox.client.post(bot.url + "/api/webhook/payment", json=body) as answer:
        return answer.status, answer.headers.get("Retry-After")


async def health(bot: Bot, page: str = "/health") -> int:
    async with aiohttp.ClientSession() as client, client.get(bot.url + page) as answer:
        return answer.status


async def is_unready(bot: Bot) -> bool:
    return await health(bot, "/health/ready") == 503


async def buy(ann: Customer, period: str = "month") -> Invoice:
    """Buy whatever it takes: press again what the chat offers where an invoice could not be made."""
    ann.say("/start")
    await ann.press("tier:pro", within=60)
    await ann.press(f"period:pro:{period}", within=60)
    await ann.press(f"pay:pro:{period}", within=60)

    def shown() -> Any:
        for one in reversed(ann.messages):
            for button in ann.buttons(one):
                if "/pay/" in str(button.get("url", "")):
                    return "link"
                if "Try again" in str(button.get("text", "")):
                    return "again"
        return None

    while await until(shown, within=60, what="a link or a way to try again") == "again":
        await ann.press("pay:pro")
        await asyncio.sleep(1)
    invoice = await ann.invoice()
    await ann.pay(invoice)
    return invoice


async def test_lost_answers_to_commit_grant_once(wired: Stage, wire: Proxy, bot: Bot) -> None:
    """The postback's and the grant's own COMMIT are carried out, and nobody hears of it."""
    ann = somebody(wired)
    invoice = await ann.order()
    wire.lose_commits(invoice.uuid, times=2)
    (sent,) = await ann.pay(invoice)

    assert sent["status"] == 503
    await until(lambda: wire.lost_commits == 2, what="the grant's answer to get lost too")
    assert await send_postback(wired, bot, invoice) == (200, None)
    await ann.was_granted_once(invoice, copies=(1, 2))
    assert len(ann.receipts()) == 1


async def test_while_the_database_is_away_nothing_is_lost_and_nothing_runs_hot(
    wired: Stage, wire: Proxy, bot: Bot
) -> None:
    ann, bob, eve = somebody(wired), somebody(wired), somebody(wired)
    anns = await ann.order()
    bob.say("/start")
    await bob.press("tier:pro")
    await until(lambda: any("period:pro:year" in str(one.body) for one in bob.messages))

    wire.cut()
    said_before = len(bot.log)
    press = await bob.press("period:pro:year")
    eve.say("/start")
    anns.pay(anns.to_surcharge)
    assert await send_postback(wired, bot, anns) == (503, "5")
    assert "no need to press" in await bob.toast(press)
    assert await health(bot) == 200
    assert await health(bot, "/health/ready") == 503
    await asyncio.sleep(4)
    assert len(bot.log) - said_before < 40
    wire.mend()

    await bob.press("pay:pro:year", within=30)
    bobs = await bob.invoice()
    await bob.pay(bobs)
    await eve.press("tier:business")
    await bob.was_granted_once(bobs, copies=(1, 2))
    await ann.was_granted_once(anns, copies=(1, 2))
    await wired.ready(bot)
    assert wired.world.updates.waiting == {}


async def test_a_database_that_hangs_holds_up_nothing_for_good(wired: Stage, wire: Proxy, bot: Bot) -> None:
    ann = somebody(wired)
    invoice = await ann.order()
    invoice.pay(invoice.to_surcharge)

    wire.hold_answers()
    sending = asyncio.create_task(send_postback(wired, bot, invoice))
    await until(lambda: is_unready(bot), within=5, what="the process to say that it is not ready")
    assert await health(bot) == 200
    wire.mend()

    assert (await sending)[0] == 200
    await ann.was_granted_once(invoice, copies=(1, 2))
    await wired.ready(bot)


async def test_ended_connections_in_the_middle_are_survived(wired: Stage, wire: Proxy, bot: Bot) -> None:
    customers = [somebody(wired) for _ in range(3)]
    buying = asyncio.gather(*(buy(one) for one in customers))
    ended = 0
    for _ in range(5):
        ended += (await wired.rows(TERMINATE))[0]["count"]
        await asyncio.sleep(0.2)
    assert ended > 0
    for one, invoice in zip(customers, await buying, strict=True):
        await one.was_granted_once(invoice, copies=(1, 2))


@pytest.fixture
def fragile() -> Iterator[EmbeddedPostgres]:
    """A server that may crash."""
    with tempfile.TemporaryDirectory(prefix="subgate-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with start_embedded_postgres(Path(folder) / "data", fsync=False) as server:
            yield server


async def test_a_database_that_only_reads_takes_no_postback(wired: Stage, wire: Proxy, bot: Bot) -> None:
    """As a standby after a failover, or a server whose disk is full: it answers, and writes nothing."""
    ann = somebody(wired)
    invoice = await ann.order()
    alter = f"ALTER DATABASE {wired.url.database} SET default_transaction_read_only"
    await administer(wired.url, f"{alter} = on")
    await wired.rows(TERMINATE)
    invoice.pay(invoice.to_surcharge)

    assert await send_postback(wired, bot, invoice) == (503, "5")
    await until(lambda: is_unready(bot), within=5, what="the process to say that it is not ready")
    assert await ann.ledger() == []
    await administer(wired.url.set(database="postgres"), f"{alter} = off")
    await wired.rows(TERMINATE)

    await ann.was_granted_once(invoice, copies=(1, 2))
    await wired.ready(bot)


async def test_a_crashing_postgresql_grants_each_purchase_once(
    fragile: EmbeddedPostgres, tmp_path: Path
) -> None:
    """kill -9 of one backend makes PostgreSQL end all of them and recover from its log, as after a crash."""
    async with stage(database_url(fragile.url), tmp_path) as play:
        bot = await play.open()
        customers = [somebody(play) for _ in range(4)]
        buying = asyncio.gather(*(buy(one) for one in customers))
        for _ in range(3):
            os.kill(await a_backend(play), signal.SIGKILL)
            await asyncio.sleep(0.3)
        await a_backend(play)
        for one, invoice in zip(customers, await buying, strict=True):
            await one.was_granted_once(invoice, copies=(1, 2))
        await play.ready(bot)
        assert len(bot.log) < 300


async def a_backend(play: Stage) -> int:
    async def found() -> Any:
        try:
            return await play.rows(
                "SELECT pid FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1"
            )
        except Exception:  # noqa: BLE001 - it is just recovering from the crash before
            return None

    return int((await until(found, what="a backend"))[0]["pid"])


async def test_a_signal_in_the_middle_of_a_purchase_ends_in_order(own: Stage) -> None:
    """First an invoice that is made in time, then one that is not: CryptoCloud hangs."""
    ann, bob = own.person(1), own.person(2)
    bot = await own.open()
    own.world.faults.add("cryptocloud", "slow", method="create", seconds=1.5)
    ann.say("/start")
    await ann.press("tier:pro")
    await ann.press("period:pro:month")
    await ann.toast(await ann.press("pay:pro:month"))
    assert await bot.stop(within=10) == 0
    (made,) = await own.rows("SELECT status FROM payments")
    assert made["status"] == "pending"

    bot = await own.open()
    anns = await ann.invoice()
    own.world.faults.add("cryptocloud", "hang", method="create")
    bob.say("/start")
    await bob.press("tier:pro")
    await bob.press("period:pro:month")
    await bob.toast(await bob.press("pay:pro:month"))
    assert await bot.stop(signal.SIGINT, within=10) == 0
    await ann.pay(anns)

    await own.open()
    bobs = await bob.invoice()
    await bob.pay(bobs)
    await bob.was_granted_once(bobs, copies=(1, 2))
    await ann.was_granted_once(anns, copies=(1, 2))
    assert len(ann.receipts()) == len(bob.receipts()) == 1


async def test_a_signal_ends_the_process_also_without_a_database(
    own: Stage, template: URL, postgres: EmbeddedPostgres
) -> None:
    async with proxy(socket_of(template)) as wire:
        running = await own.open(DATABASE_URL=over(wire, own.url))
        waiting = await own.open(
            ready=False, DATABASE_URL=f"postgresql://subgate@127.0.0.1:{free_port()}/subgate"
        )
        initialising = await own.open(ready=False, DATABASE_URL="")
        await until(lambda: waiting.lines("waiting for the database"), what="it to wait")
        await until((own.folder / "data").exists, what="a cluster to be made")
        wire.cut()
        await asyncio.sleep(1)
        await at_once(*[_ends_well(one) for one in (running, waiting, initialising)])


async def _ends_well(bot: Bot) -> None:
    assert await bot.stop(within=10) == 0, "\n".join(bot.log)
