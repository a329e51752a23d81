"""Telegram brings the updates: the door, what is brought again, and a webhook that somebody has stolen."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import URL

from sandbox import people
from tests.conftest import TEMPLATE, administer
from tests.e2e.proxy import Proxy, over, proxy, socket_of
from tests.e2e.stage import ADMIN, Bot, Customer, Stage, free_port, stage, until

pytestmark = pytest.mark.timeout(300)  # a busy machine takes its time to start processes

SECRET = "a-secret-that-only-telegram-knows"
HEADER = "X-Telegram-Bot-Api-Secret-Token"

_ids = iter(range(70_000, 80_000))
_update_ids = itertools.count(1)


async def open_hook(play: Stage, database: str = "") -> Bot:
    """Start a process in webhook mode, on the stage's own database or the one of another address."""
    port = free_port()
    return await play.open(
        port=port,
        TELEGRAM_UPDATES="webhook",
        TELEGRAM_WEBHOOK_SECRET=SECRET,
        BASE_URL=f"http://127.0.0.1:{port}",
        DATABASE_URL=database or play.url.render_as_string(hide_password=False),
    )


async def _set(template: URL, folder: Path) -> tuple[URL, Path]:
    name = f"hook_{uuid4().hex[:8]}"
    await administer(template, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    return template.set(database=name), folder


@pytest_asyncio.fixture(scope="module", autouse=True)
async def stolen(template: URL, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A shop whose webhook was pointed elsewhere; set early, because the process looks every 30 seconds."""
    async with stage(*await _set(template, tmp_path_factory.mktemp("stolen"))) as play:
        await open_hook(play)
        play.world.set_webhook("http://127.0.0.1:9/elsewhere", "", 40)
        yield play


@pytest_asyncio.fixture(scope="module")
async def wire(template: URL) -> AsyncIterator[Proxy]:
    """The way to the database, which can be broken."""
    async with proxy(socket_of(template)) as between:
        yield between


@pytest_asyncio.fixture(scope="module")
async def hook(template: URL, wire: Proxy, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A shop in webhook mode, where Telegram repeats quickly."""
    async with stage(*await _set(template, tmp_path_factory.mktemp("hook"))) as play:
        play.world.webhook.retry_unit = 0.05
        play.person(ADMIN, name="Merchant").say("/start")
        await open_hook(play, over(wire, play.url))
        yield play


@pytest.fixture
def ann(hook: Stage) -> Customer:
    return hook.person(next(_ids))


@pytest.fixture
def bot(hook: Stage) -> Bot:
    (only,) = hook.bots
    return only


async def bring(hook: Stage, update: dict[str, Any], **headers: str) -> int:
    """Bring an update to the door oneself; tells the status."""
    (bot,) = hook.bots
    address = bot.url + "/api/webhook/telegram"
    async with hook.sandbox.client.post(address, json=update, headers=headers) as answer:
        return answer.status


def said(ann: Customer, text: str) -> dict[str, Any]:
    """An update in which somebody writes a command."""
    who = ann.stage.world.people[ann.id]
    who.started = True
    return {
        "update_id": next(_update_ids),
        "message": {
            "message_id": next(_update_ids),
            "date": 0,
            "from": who.as_user(),
            "chat": who.as_chat(),
            "text": text,
            "entities": [{"type": "bot_command", "offset": 0, "length": len(text)}],
        },
    }


async def test_a_purchase_goes_through(hook: Stage, ann: Customer) -> None:
    invoice = await ann.order()
    await ann.pay(invoice)
    await ann.read("subscription is active")
    assert len(await ann.ledger()) == 1
    assert hook.calls("getUpdates") == []


@pytest.mark.parametrize(
    "headers",
    [{}, {HEADER: ""}, {HEADER: SECRET[:-1]}, {HEADER: "пароль"}, {"Authorization": SECRET}],
    ids=["none", "empty", "wrong", "not-ascii", "elsewhere"],
)
async def test_nobody_but_telegram_brings_updates(
    hook: Stage, ann: Customer, headers: dict[str, str]
) -> None:
    assert await bring(hook, said(ann, "/help"), **headers) == 401
    assert await bring(hook, said(ann, "/terms"), **{HEADER: SECRET}) == 200
    await ann.read("Terms")
    assert len(ann.messages) == 1


async def test_an_update_that_failed_is_brought_again_and_goes_through(hook: Stage, ann: Customer) -> None:
    hook.world.faults.add("telegram", "server_error", method="sendMessage", chat_id=ann.id, times=2)
    ann.say("/help")
    await ann.read("How it works")

    await until(lambda: not hook.world.updates.waiting, what="Telegram to hear that it was handled")
    assert _answers(hook, ann) == [500, 500, 200]
    assert len(ann.messages) == 1
    assert await hook.rows("SELECT * FROM failed_updates WHERE dead_at IS NULL") == []


async def test_an_update_during_an_outage_of_the_database_is_brought_again(
    hook: Stage, wire: Proxy, ann: Customer
) -> None:
    ann.say("/start")
    await ann.press("tier:pro")
    await until(lambda: "period:pro:month" in str([one.body for one in ann.messages]))
    wire.cut()
    press = await ann.press("period:pro:month")
    await until(lambda: 503 in _answers(hook, ann), what="an answer that says: later")
    wire.mend()

    await ann.press("pay:pro:month")
    assert hook.world.presses[press].answered
    await ann.pay(await ann.invoice())
    await ann.read("subscription is active")
    assert len(await ann.ledger()) == 1


def _answers(hook: Stage, ann: Customer) -> list[int | None]:
    """The statuses with which the process answered this person's updates."""
    return [
        call.get("status")
        for call in hook.calls("(webhook)")
        for event in call["arguments"]["update"].values()
        if isinstance(event, dict) and event["from"]["id"] == ann.id
    ]


async def test_an_update_nobody_can_read_is_put_aside_in_the_open(hook: Stage, ann: Customer) -> None:
    update = people.inject(hook.world, {"message": {"message_id": "many", "from": {"id": ann.id}}})

    await Customer(hook, ADMIN).read(f"failed_updates {update}")
    (kept,) = await hook.rows("SELECT * FROM failed_updates WHERE update_id = :id", id=update)
    assert kept["dead_at"] is not None
    assert update not in hook.world.updates.waiting
    brought = [call["status"] for call in hook.calls("(webhook)") if str(update) in str(call)]
    assert brought == [200]
    ann.say("/help")
    await ann.read("How it works")


async def test_an_update_that_comes_twice_is_answered_once(hook: Stage, ann: Customer) -> None:
    update = said(ann, "/help")
    assert [await bring(hook, update, **{HEADER: SECRET}) for _ in range(3)] == [200, 200, 200]
    assert len(ann.messages) == 1


async def test_the_way_updates_come_can_be_changed_and_changed_back(own: Stage) -> None:
    own.world.press_lifetime = 300  # a start may take longer than Telegram waits for an answer
    ann = own.person(1)
    await own.open()
    invoice = await ann.order()
    assert await own.bots[-1].stop() == 0

    press = await ann.press("check:")
    await open_hook(own)
    await ann.toast(press)
    await ann.pay(invoice)
    await ann.read("subscription is active")
    assert await own.bots[-1].stop() == 0

    ann.say("/status")
    await own.open()
    await ann.read("active until")
    assert own.world.webhook.url == ""


async def test_a_stolen_webhook_is_taken_back_and_told(stolen: Stage) -> None:
    (bot,) = stolen.bots
    ann = stolen.person(1)
    ann.say("/help")
    await until(
        lambda: stolen.world.webhook.url.startswith(bot.url), within=45, what="the webhook to be back"
    )
    await ann.read("How it works")
    await until(
        lambda: stolen.rows("SELECT 1 FROM notifications WHERE key LIKE 'webhook-changed:%'"),
        what="the admins to be told",
    )
