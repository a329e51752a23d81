"""What fuzzing has found once: each case by itself, through the real desk, dispatcher and log."""

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.update_desk import NotAnUpdateError, UpdateDesk
from services.config import Settings
from services.db import Database
from tests.bot.conftest import Office
from tests.fuzz.dispatching import dispatcher_of
from tests.shop import keys, row, rows
from tests.webhook_server.conftest import UPDATE, OpenSite, say

ROOT = Path(__file__).resolve().parent.parent.parent
SECRET = "a_secret_that_only_telegram_knows"


@pytest.fixture
def desk(office: Office) -> UpdateDesk:
    """The desk as the process has it."""
    office.person(7)
    return UpdateDesk(office.bot, dispatcher_of(office.shop), office.shop)


def written(
    text: str = "/start", *, update_id: Any = 1, name: str = "Ann", person: int = 7, chat: int = 7
) -> Any:
    return {
        "update_id": update_id,
        "message": {
            "message_id": 5,
            "date": 0,
            "text": text,
            "chat": {"id": chat, "type": "private"},
            "from": {"id": person, "is_bot": False, "first_name": name},
            "entities": [{"type": "bot_command", "offset": 0, "length": len(text)}],
        },
    }


def pressed(data: str, *, query: str = "1") -> Any:
    return {
        "update_id": 1,
        "callback_query": {
            "id": query,
            "from": {"id": 7, "is_bot": False, "first_name": "Ann"},
            "chat_instance": "1",
            "data": data,
        },
    }


@pytest.mark.parametrize("number", [None, "7", 1.5, True, 2**63, -(10**40)])
async def test_an_update_without_a_number_that_can_be_kept_is_a_bad_request(
    db: Database, open_site: OpenSite, desk: UpdateDesk, number: Any
) -> None:
    site = await open_site(db, handle_update=desk.handle, telegram_webhook_secret=SECRET)
    headers = {"X-Telegram-Bot-Api-Secret-Token": SECRET}
    async with site.post(UPDATE, json=written(update_id=number), headers=headers) as answer:
        assert answer.status == 400
    assert await rows(db, "SELECT * FROM failed_updates") == []
    with pytest.raises(NotAnUpdateError):
        await desk.handle(written(update_id=number))


async def is_put_aside(desk: UpdateDesk, db: Database, update: Any) -> dict[str, Any]:
    """Bring an update once, and see that it is dead, told, and has harmed nobody."""
    await desk.handle(update)
    dead = await row(db, "SELECT * FROM failed_updates")
    assert (dead["attempts"], dead["dead_at"] is not None) == (1, True)
    assert await keys(db) == ["dead-update:1:900"]
    return dead


async def test_an_update_as_deep_as_a_parser_goes_is_put_aside_at_once(
    db: Database, desk: UpdateDesk
) -> None:
    deep = json.loads('{"a": ' * 900 + "1" + "}" * 900)
    dead = await is_put_aside(desk, db, written() | {"message": {"text": deep}})
    assert dead["payload"]["message"]["text"]["a"]["a"]
    assert "…" in json.dumps(dead["payload"], ensure_ascii=False)


async def test_an_update_of_nobody_is_put_aside_at_once(db: Database, desk: UpdateDesk) -> None:
    await is_put_aside(desk, db, written(person=10**40, chat=10**40))


async def test_a_press_that_cannot_be_answered_in_utf_8_is_put_aside_at_once(
    db: Database, desk: UpdateDesk
) -> None:
    await is_put_aside(desk, db, pressed("language:xx", query="\ud800"))


async def test_the_longest_name_is_greeted(office: Office, desk: UpdateDesk) -> None:
    await desk.handle(written(name="x" * 5_000))
    (greeting,) = office.world.messages(7)
    assert "x" * 64 in greeting.body["text"]


async def test_a_private_chat_of_somebody_else_is_not_answered(
    office: Office, db: Database, desk: UpdateDesk
) -> None:
    office.person(8)
    await desk.handle(written("/status", chat=8))
    assert office.world.messages(7) + office.world.messages(8) == []
    assert await rows(db, "SELECT telegram_id FROM users WHERE telegram_id IN (7, 8)") == []


async def test_an_expectation_that_is_no_text_is_refused_and_no_bug(
    db: Database, open_site: OpenSite
) -> None:
    site = await open_site(db)
    for path in (UPDATE, "/health", "*"):
        sent = f"OPTIONS {path} HTTP/1.1\r\nHost: x\r\nExpect: ".encode() + b"canary\xff\r\n\r\n"
        answer = await say(site, sent)
        assert answer.startswith(b"HTTP/1.1 417 ")
        assert b"canary" not in answer


async def test_an_address_that_the_parser_loses_ends_the_connection_and_nothing_else(
    db: Database, open_site: OpenSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = await open_site(db)
    answer = await say(site, b"CONNECT \nHost: x\r\n\r\n", within=5)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    gc.collect()  # a task whose error nobody fetched tells it when it goes
    assert caplog.text == ""
    async with site.get("/health") as alive:
        assert alive.status == 200


# The log

CRASH = """
import logging, sys
import structlog
from services.config import Settings
from services.logs import configure_logs

settings = Settings(_env_file=None)
configure_logs(settings)
log = structlog.get_logger("shop")
for secret in (*settings.secrets, "p@ss\\\\word-\\"canary"):
    log.warning("said", secret=secret, quoted=repr(secret), about={"inside": [secret]})
    logging.getLogger("aiohttp").error("of a library: %r", secret)
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("with a traceback", about=secret)
raise RuntimeError(" ".join(settings.secrets))
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_secret_is_found_in_the_log_however_it_is_spelled_also_when_the_process_crashes(
    tmp_path: Path, form: str
) -> None:
    settings = {
        "BOT_TOKEN": "1234567:canary-AAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "CRYPTOCLOUD_API_KEY": 'canary "key" with \\ in it',
        "CRYPTOCLOUD_SHOP_ID": "shop",
        "CRYPTOCLOUD_SECRET_KEY": 'canary\\secret"ключ',
        "DATABASE_URL": "postgresql://shop:p%40ss%5Cword-%22canary@127.0.0.1/shop",
        "LOG_FORMAT": form,
    }
    ran = subprocess.run(
        [sys.executable, "-c", CRASH],
        cwd=tmp_path,
        env=settings | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = ran.stdout + ran.stderr
    assert ran.returncode == 1
    assert "the process ends by a bug" in said
    assert "canary" not in said
    assert said.count("[secret]") >= 20
    if form == "json":
        assert all(json.loads(line) for line in said.splitlines())


def test_a_password_that_is_an_everyday_word_garbles_no_log(make_settings: Callable[..., Settings]) -> None:
    def secrets(address: str) -> set[str]:
        return set(make_settings(database_url=address).secrets) - {address}

    assert "subgate" not in secrets("postgresql://subgate:subgate@db/subgate")
    assert "p%40ssword-of-8" in secrets("postgresql://u:p%40ssword-of-8@a:1,b:2/shop")
    assert "p@ssword-of-8" in secrets("postgresql://u:p%40ssword-of-8@a:1,b:2/shop")
