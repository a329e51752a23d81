"""aiogram with its models built on demand: all of them can be, and few are at the start."""

import subprocess
import sys

LOOK_AT_ALL = """
from bot.aiogram_on_demand import load_aiogram
load_aiogram()
import aiogram.methods, aiogram.types
every = {
    each for package in (aiogram.types, aiogram.methods) for name in package.__all__
    if hasattr(each := getattr(package, name), "model_rebuild")
}
print(len(every), sum(each.__pydantic_complete__ for each in every))
for each in every:
    each.model_rebuild()
print(sum(each.__pydantic_complete__ for each in every))
"""

USE_SOME = """
from bot.aiogram_on_demand import load_aiogram
load_aiogram()
from aiogram.methods import EditMessageText, SendMessage
from aiogram.methods.base import Response
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup, Message
keyboard = InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text="Pay", url="https://pay.test/1")]])
print(SendMessage(chat_id=1, text="Hello", reply_markup=keyboard).model_dump(exclude_unset=True))
said = {"message_id": 7, "date": 1, "chat": {"id": 1, "type": "private"}, "text": "Hello"}
said = said | {"reply_markup": keyboard.model_dump(exclude_none=True)}
answer = Response[EditMessageText.__returning__].model_validate({"ok": True, "result": said}).result
print(type(answer) is Message, answer.reply_markup == keyboard, answer.text)
"""

LOAD_TWICE = """
import aiogram
from pydantic import BaseModel
from bot.aiogram_on_demand import load_aiogram
load_aiogram()
print(aiogram.types.TelegramObject.model_rebuild.__func__ is BaseModel.model_rebuild.__func__)
"""


def said_by(program: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_every_model_can_be_built_although_few_are_at_the_start() -> None:
    first, last = said_by(LOOK_AT_ALL)
    known, built = map(int, first.split())
    assert known > 400
    assert built < known / 2
    assert int(last) == known


def test_models_are_built_when_they_are_used() -> None:
    sent, answered = said_by(USE_SOME)
    assert sent == (
        "{'chat_id': 1, 'text': 'Hello', "
        "'reply_markup': {'inline_keyboard': [[{'text': 'Pay', 'url': 'https://pay.test/1'}]]}}"
    )
    assert answered == "True True Hello"


def test_where_aiogram_is_loaded_already_it_stays_as_it_is() -> None:
    assert said_by(LOAD_TWICE) == ["True"]
