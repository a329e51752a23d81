"""A real client library parses everything that the Bot API emulator answers."""

from collections.abc import AsyncIterator

import pytest
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import TelegramBadRequest, TelegramForbiddenError, TelegramRetryAfter
from aiogram.types import (
    BotCommand,
    BotCommandScopeChat,
    BufferedInputFile,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    Message,
    Update,
)

from sandbox import people
from sandbox.app import Sandbox
from tests.sandbox.conftest import ALICE, BORIS
from tests.sandbox.pictures import png


@pytest.fixture
async def bot(sandbox: Sandbox) -> AsyncIterator[Bot]:
    session = AiohttpSession(api=TelegramAPIServer.from_base(sandbox.url))
    async with Bot(sandbox.world.credentials.bot_token, session=session) as bot:
        yield bot


async def test_every_method_of_the_bot_is_understood(sandbox: Sandbox, bot: Bot) -> None:
    assert (await bot.get_me()).username == "subgate_sandbox_bot"
    people.say(sandbox.world, ALICE, "/start tier_pro")
    keyboard = InlineKeyboardMarkup(
        inline_keyboard=[
            [
                InlineKeyboardButton(text="Pay", url=f"{sandbox.url}/pay/ABCDEFGH"),
                InlineKeyboardButton(text="Check", callback_data="check:1"),
            ]
        ]
    )
    sent = await bot.send_message(
        ALICE,
        'A <b>bold</b> 😀 <a href="https://example.org/">link</a> &amp; more',
        parse_mode="HTML",
        reply_markup=keyboard,
    )
    assert sent.html_text == 'A <b>bold</b> 😀 <a href="https://example.org/">link</a> &amp; more'
    assert sent.reply_markup is not None
    assert sent.reply_markup.model_dump() == keyboard.model_dump()
    press_id = people.press(sandbox.world, ALICE, sent.message_id, "check:1")
    people.set_blocked(sandbox.world, ALICE, True)
    updates = await bot.get_updates(timeout=1)
    assert [one.event_type for one in updates] == ["message", "callback_query", "my_chat_member"]
    assert all(isinstance(one, Update) for one in updates)
    assert updates[1].callback_query is not None
    assert isinstance(updates[1].callback_query.message, Message)
    people.set_blocked(sandbox.world, ALICE, False)
    assert await bot.answer_callback_query(press_id, "Done")
    edited = await bot.edit_message_text(
        "Now <i>paid</i>", chat_id=ALICE, message_id=sent.message_id, parse_mode="HTML"
    )
    assert isinstance(edited, Message)
    assert edited.reply_markup is None
    assert await bot.edit_message_reply_markup(
        chat_id=ALICE, message_id=sent.message_id, reply_markup=keyboard
    )
    assert await bot.send_chat_action(ALICE, "typing")
    document = await bot.send_document(ALICE, BufferedInputFile(b"a,b\n", "sales.csv"), caption="Sales")
    assert document.document is not None
    assert document.document.file_name == "sales.csv"
    assert (await bot.send_photo(ALICE, BufferedInputFile(png(4, 3), "a.png"))).photo
    assert await bot.delete_message(ALICE, sent.message_id)
    assert (await bot.get_chat(ALICE)).first_name == "Alice"
    assert (await bot.get_chat_member(ALICE, ALICE)).status == "member"
    assert (await bot.get_webhook_info()).url == ""
    assert await bot.set_chat_menu_button()
    assert await bot.set_my_name("Shop")
    assert await bot.set_my_description("We sell")
    assert await bot.set_my_short_description("Sell")


async def test_commands_are_chosen_by_scope_and_language(sandbox: Sandbox, bot: Bot) -> None:
    await bot.set_my_commands([BotCommand(command="start", description="Start")])
    await bot.set_my_commands([BotCommand(command="start", description="Начать")], language_code="ru")
    await bot.set_my_commands(
        [BotCommand(command="revenue", description="Revenue")], scope=BotCommandScopeChat(chat_id=ALICE)
    )
    assert people.commands_for(sandbox.world, BORIS) == [{"command": "start", "description": "Начать"}]
    assert people.commands_for(sandbox.world, ALICE) == [{"command": "revenue", "description": "Revenue"}]
    assert (await bot.get_my_commands())[0].description == "Start"
    assert await bot.delete_my_commands()


async def test_refusals_become_the_librarys_own_errors(sandbox: Sandbox, bot: Bot) -> None:
    with pytest.raises(TelegramForbiddenError):
        await bot.send_message(BORIS, "a")
    with pytest.raises(TelegramBadRequest):
        await bot.send_message(ALICE, "<x>", parse_mode="HTML")
    sandbox.world.faults.add("telegram", "too_many_requests", retry_after=3)
    with pytest.raises(TelegramRetryAfter) as caught:
        await bot.send_message(ALICE, "a")
    assert caught.value.retry_after == 3
