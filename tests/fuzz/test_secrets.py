"""Canaries in every secret setting; then a whole life of a shop, and a search through all that it said."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sandbox import people
from sandbox.world import Credentials
from tests.console import Console
from tests.e2e.stage import ADMIN, Bot, Stage, free_port, until
from tests.shop import change
from tests.webhook_server.conftest import POSTBACK, UPDATE, postback, sign

pytestmark = pytest.mark.timeout(300)  # a busy machine takes its time to start processes

CREDENTIALS = Credentials(
    bot_token="7000000001:canary-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    api_key='canary"key\\of.the-shop',
    shop_id="SHOPSHOPSHOPSHOP",
    secret_key='canary\\secret"of-the-project-32-bytes-long',
)
HOOK_SECRET = "canary_secret_of_the_webhook"
METRICS_TOKEN = 'canary"token\\of-prometheus'
PASSWORD = 'canary"p@ss\\word/'
PAGES = ["/", "/payment/success", "/payment/error", "/style.css", "/icon.svg", "/health", "/health/ready"]
PAGES += ["/metrics", "/no/such/page", POSTBACK, UPDATE]
COMMANDS = [
    ["doctor"],
    ["tiers", "check"],
    ["events", "list"],
    ["events", "list", "--json"],
    ["ledger", "show", "1"],
    ["ledger", "check"],
    ["reconcile"],
    ["payment", "show", "NOSUCHPAYMENT"],
    ["payment", "adopt", "INV-NOSUCHNO", "--user", "1", "--tier", "pro", "--period", "month"],
]


async def test_no_secret_leaves_the_shop_by_any_door(own: Stage, tmp_path: Path) -> None:
    own.world.credentials = CREDENTIALS
    own.person(ADMIN, name="Merchant").say("/start")
    address = own.url.set(password=PASSWORD).render_as_string(hide_password=False)
    port = free_port()
    bot = await own.open(
        port=port,
        TELEGRAM_UPDATES="webhook",
        BASE_URL=f"http://127.0.0.1:{port}",
        DATABASE_URL=address,
        TELEGRAM_WEBHOOK_SECRET=HOOK_SECRET,
        METRICS_TOKEN=METRICS_TOKEN,
    )
    tokens = [sign("STRANGER", secret=CREDENTIALS.secret_key, expires_in=more) for more in (300, -3600)]
    tokens.append(sign("STRANGER", secret="a forger's guess of more than thirty-two bytes"))

    await _live(own, bot)
    said = {"answers": await _ask(own, bot, tokens), "console": await _console(own, tmp_path, address)}
    await bot.stop()

    said["log"] = "\n".join(bot.log)
    said["chats"] = json.dumps([[one.body for one in chat.values()] for chat in own.world.chats.values()])
    said["database"] = await _everything(own)
    assert "an update failed" in said["log"], "the bug that was planned did not happen"
    assert "subscription is active" in said["chats"]
    assert "STRANGER" in said["database"]
    assert {where: _around(text) for where, text in said.items() if "canary" in text} == {}
    assert [where for where, text in said.items() for token in tokens if token in text] == []


async def _live(play: Stage, bot: Bot) -> None:
    """Sell once, while whatever can go wrong does."""
    ann = play.person(1)
    faults = play.world.faults
    faults.add("telegram", "close", method="sendMessage", chat_id=1)
    faults.add("telegram", "bad_gateway", method="answerCallbackQuery")
    faults.add("cryptocloud", "server_error", method="create")
    ann.say("/start")
    await ann.press("tier:pro")
    await ann.press("period:pro:month")
    await ann.press("pay:pro:month")
    await ann.read("could not be made")
    invoice = await ann.order()
    for kind in ("unauthorized", "html_502", "redirect", "error_in_200", "down"):
        faults.add("cryptocloud", kind, method="info")
    await ann.pay(invoice)
    await ann.read("subscription is active until")

    people.inject(play.world, {"message": {"message_id": "unreadable", "text": "x"}})
    await until(lambda: bot.lines("an update cannot be read"), what="an unreadable update")
    await change(play.db, "ALTER TABLE users RENAME TO users_are_away")
    ann.say("/status")
    await until(lambda: bot.lines("an update failed"), what="a bug")
    await change(play.db, "ALTER TABLE users_are_away RENAME TO users")
    await play.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await play.db.dispose()
    ann.say("/plans")
    await ann.read("You can extend it at any time")


async def _ask(play: Stage, bot: Bot, tokens: list[str]) -> str:
    """Knock at every door with and without the keys, and keep all that is answered."""
    heard: list[str] = []
    bearer = {"Authorization": f"Bearer {METRICS_TOKEN}"}
    secret = {"X-Telegram-Bot-Api-Secret-Token": HOOK_SECRET}

    async def keep(method: str, path: str, **options: Any) -> None:
        async with play.sandbox.client.request(method, bot.url + path, **options) as answer:
            heard.append(str(answer.headers) + await answer.text())

    for page in PAGES:
        for headers in ({}, bearer, {"Accept": "text/html"} | secret, {"X-Forwarded-For": "192.0.2.1"}):
            await keep("GET", f"{page}?token={tokens[0]}", headers=headers)
    for token in tokens:
        await keep("POST", POSTBACK, json=postback("STRANGER", token))
        await keep("POST", POSTBACK, data=postback("STRANGER", token))
        await keep("POST", POSTBACK, data=b'{"token": "' + token.encode())
        await keep("POST", UPDATE, json={"update_id": "x", "text": token}, headers=secret)
        await keep("POST", UPDATE, json={"update_id": 1, "text": token})
    return "\n".join(heard)


async def _console(play: Stage, folder: Path, address: str) -> str:
    """Run the operator's commands, those that go wrong too, and keep what they print."""
    console = Console(
        folder,
        None,
        BOT_TOKEN=CREDENTIALS.bot_token,
        CRYPTOCLOUD_API_KEY=CREDENTIALS.api_key,
        CRYPTOCLOUD_SHOP_ID=CREDENTIALS.shop_id,
        CRYPTOCLOUD_SECRET_KEY=CREDENTIALS.secret_key,
        CRYPTOCLOUD_API_URL=play.sandbox.url,
        TELEGRAM_API_URL=play.sandbox.url,
        DATABASE_URL=address,
        TELEGRAM_WEBHOOK_SECRET=HOOK_SECRET,
        METRICS_TOKEN=METRICS_TOKEN,
    )
    (payment,) = await play.rows("SELECT id FROM payments WHERE status = 'paid'")
    few = asyncio.Semaphore(3)

    async def run(*words: str, **changes: str) -> str:
        async with few:
            ran = await console(*words, **changes)
        return ran.out + ran.err

    printed = await asyncio.gather(
        *(run(*words) for words in [*COMMANDS, ["payment", "show", str(payment["id"])]]),
        run("doctor", DATABASE_URL=address.replace("/test_", "/no_such_")),
        run("doctor", CRYPTOCLOUD_API_URL="http://127.0.0.1:9"),
    )
    return "\n".join(printed)


async def _everything(play: Stage) -> str:
    """Read every row of every table as text."""
    tables = await play.rows(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    )
    assert len(tables) > 8
    found = [await play.rows(f'SELECT t::text AS row FROM "{one["table_name"]}" t') for one in tables]
    return "\n".join(str(row["row"]) for rows in found for row in rows)


def _around(text: str) -> str:
    place = text.index("canary")
    return text[max(0, place - 200) : place + 100]
