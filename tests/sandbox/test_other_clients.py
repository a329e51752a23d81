"""Clients that nobody here wrote, unchanged, against the emulators; their own parameters name the address."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptocloud_sdk import CryptoCloud as CryptoCloudSdk  # type: ignore[import-untyped]  # it has no types
from cryptocloud_sdk.dto import InvoiceInput  # type: ignore[import-untyped]  # it has no types
from cryptocloud_sdk.errors import BadRequestError, ForbiddenError  # type: ignore[import-untyped]  # as above
from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup, Update
from telegram.error import BadRequest, Forbidden, RetryAfter
from telegram.ext import Application, CallbackQueryHandler, CommandHandler, ContextTypes

from sandbox import checkout, people
from sandbox.app import Sandbox
from tests.sandbox.conftest import ALICE, BORIS, eventually
from tests.sandbox.pictures import png

Handled = ContextTypes.DEFAULT_TYPE


def bare_bot(sandbox: Sandbox) -> "Bot":
    return Bot(
        sandbox.world.credentials.bot_token,
        base_url=f"{sandbox.url}/bot",
        base_file_url=f"{sandbox.url}/file/bot",
    )


async def greet(update: Update, context: Handled) -> None:
    assert update.effective_chat is not None
    keyboard = [[InlineKeyboardButton("Pro · $99", callback_data="tier:pro")]]
    await context.bot.send_message(
        update.effective_chat.id,
        f"<b>Hello</b> {context.args}",
        parse_mode="HTML",
        reply_markup=InlineKeyboardMarkup(keyboard),
    )


async def sell(update: Update, context: Handled) -> None:
    query, chat = update.callback_query, update.effective_chat
    assert query is not None
    assert chat is not None
    await query.answer("One moment")
    await query.edit_message_text("Sold <i>out</i>", parse_mode="HTML")
    await context.bot.send_photo(chat.id, png(64, 32), caption="Chart")
    await context.bot.send_document(chat.id, BytesIO(b"a,b\n"), filename="sales.csv")


def shop_of(application: "Application[Any, Any, Any, Any, Any, Any]") -> None:
    application.add_handler(CommandHandler("start", greet))
    application.add_handler(CallbackQueryHandler(sell))


async def buy(sandbox: Sandbox) -> None:
    """Go the whole way as a customer, and look at what has become of it."""
    people.say(sandbox.world, ALICE, "/start tier_pro")
    await eventually(lambda: len(sandbox.world.messages(ALICE)) == 2)
    greeting = sandbox.world.messages(ALICE)[1]
    assert greeting.body["text"] == "Hello ['tier_pro']"
    press = people.press(sandbox.world, ALICE, greeting.body["message_id"], "tier:pro")
    await eventually(lambda: len(sandbox.world.messages(ALICE)) == 4)
    assert sandbox.world.presses[press].text == "One moment"
    assert greeting.body["text"] == "Sold out"
    assert "reply_markup" not in greeting.body
    photo, document = sandbox.world.messages(ALICE)[2:]
    assert (photo.body["caption"], photo.body["photo"][0]["width"]) == ("Chart", 64)
    assert document.body["document"]["file_name"] == "sales.csv"
    assert [one["warnings"] for one in sandbox.world.bot_calls if one.get("warnings")] == []


@asynccontextmanager
async def telegram_bot(sandbox: Sandbox) -> AsyncIterator["Application[Any, Any, Any, Any, Any, Any]"]:
    builder = Application.builder().token(sandbox.world.credentials.bot_token)
    builder = builder.base_url(f"{sandbox.url}/bot").base_file_url(f"{sandbox.url}/file/bot")
    async with builder.build() as application:
        shop_of(application)
        await application.start()
        yield application
        await application.stop()


async def test_python_telegram_bot_sells_by_polling(sandbox: Sandbox) -> None:
    async with telegram_bot(sandbox) as application:
        assert application.updater is not None
        await application.updater.start_polling(timeout=1)
        await buy(sandbox)
        await application.updater.stop()


async def test_python_telegram_bot_sells_by_webhook(sandbox: Sandbox) -> None:
    async with telegram_bot(sandbox) as application:

        async def take(request: web.Request) -> web.Response:
            assert request.headers["X-Telegram-Bot-Api-Secret-Token"] == "s3cret"
            await application.update_queue.put(Update.de_json(await request.json(), application.bot))
            return web.Response()

        app = web.Application()
        app.router.add_post("/hook", take)
        async with TestServer(app) as server:
            await application.bot.set_webhook(str(server.make_url("/hook")), secret_token="s3cret")
            assert (await application.bot.get_webhook_info()).url.endswith("/hook")
            await buy(sandbox)
            await application.bot.delete_webhook()


@pytest.mark.filterwarnings("ignore:.*`retry_after`:telegram.warnings.PTBDeprecationWarning")
async def test_python_telegram_bot_knows_the_refusals_as_its_own_errors(sandbox: Sandbox) -> None:
    async with bare_bot(sandbox) as bot:
        with pytest.raises(Forbidden, match="can't initiate conversation"):
            await bot.send_message(BORIS, "Hello")
        with pytest.raises(BadRequest, match="unsupported start tag"):
            await bot.send_message(ALICE, "<x>", parse_mode="HTML")
        with pytest.raises(BadRequest, match=r"(?i)image_process_failed"):
            await bot.send_photo(ALICE, b"no picture")
        sandbox.world.faults.add("telegram", "too_many_requests", retry_after=3)
        with pytest.raises(RetryAfter, match="3"):
            await bot.send_message(ALICE, "Hello")


async def test_python_telegram_bot_downloads_what_was_sent(sandbox: Sandbox) -> None:
    async with bare_bot(sandbox) as bot:
        sent = await bot.send_photo(ALICE, png(8, 8))
        file = await bot.get_file(sent.photo[-1].file_id)
        assert bytes(await file.download_as_bytearray()) == png(8, 8)
        again = await bot.send_photo(ALICE, sent.photo[-1].file_id)
        assert again.photo[-1].file_id == sent.photo[-1].file_id


async def test_cryptocloud_sdk_creates_looks_cancels_and_reads_the_balance(sandbox: Sandbox) -> None:
    credentials = sandbox.world.credentials
    shop = CryptoCloudSdk(credentials.api_key, credentials.shop_id, host=sandbox.url)
    made = await shop.create_invoice(InvoiceInput(amount=99.0, currency="USD", order_id="order-1"))
    assert made.amount_in_fiat == 99.0
    assert made.fee > 0
    (shown,) = await shop.get_invoices([made.uuid])
    assert (shown.status, shown.order_id, shown.side_commission_cc) == ("created", "order-1", "merchant")
    invoice = sandbox.world.invoices[made.uuid.removeprefix("INV-")]
    await checkout.pay(sandbox.world, sandbox.client, invoice, wait=True)
    (shown,) = await shop.get_invoices([made.uuid])
    assert shown.status == "paid"
    assert shown.received > 0
    with pytest.raises(BadRequestError, match="not created"):
        await shop.cancel_invoice(made.uuid)
    other = await shop.create_invoice(InvoiceInput(amount=10.0))
    await shop.cancel_invoice(other.uuid)
    (shown,) = await shop.get_invoices([other.uuid])
    assert shown.status == "canceled"
    balances = await shop.get_balance()
    assert isinstance(balances, list)
    assert sum(one.balance_usd for one in balances) > 0
    with pytest.raises(ForbiddenError):
        await CryptoCloudSdk("a.b.c", credentials.shop_id, host=sandbox.url).get_balance()


@contextmanager
def its_own_old_pydantic() -> Iterator[None]:
    """The package calls methods of pydantic that are older than ours, which is its own affair."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="crypto_cloud_py")
        yield


async def test_crypto_cloud_py_creates_by_a_form_and_looks(sandbox: Sandbox) -> None:
    with its_own_old_pydantic():
        from crypto_cloud_py import CryptoCloudApi  # type: ignore[import-untyped]  # it has no types

        credentials = sandbox.world.credentials
        shop = CryptoCloudApi(credentials.api_key, base_url=f"{sandbox.url}/v2")
        made = await asyncio.to_thread(
            shop.invoice_create, credentials.shop_id, 99, currency="EUR", order_id="order-2", locale="ru"
        )
        assert (made.amount_in_fiat, made.fiat_currency, made.status) == (99.0, "EUR", "created")
        (shown,) = await asyncio.to_thread(shop.invoices_info, [made.uuid])
        assert (shown.uuid, shown.order_id, shown.status) == (made.uuid, "order-2", "created")
        assert await asyncio.to_thread(shop.invoice_cancel, made.uuid) == ["ok"]
