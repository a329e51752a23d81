"""How the web server behaves as a whole: its headers, its silence, its start and its stop."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from services.config import Settings
from services.db import Database
from services.errors import SettingsError
from tests.webhook_server.conftest import (
    DATABASE_PASSWORD,
    POSTBACK,
    UPDATE,
    OpenSite,
    Site,
    postback,
    say,
    sign,
)

HOOK_SECRET = "canary_secret_of_the_webhook"
CANARIES = {
    "bot_token": "1234567:canary-bot-token-canary-bot-token",
    "cryptocloud_api_key": "canary-api-key",
    "cryptocloud_secret_key": "canary-secret-of-the-project-32-bytes",
    "telegram_webhook_secret": HOOK_SECRET,
    "metrics_token": "canary-metrics-token",
    "database_url": f"postgresql://shop:{DATABASE_PASSWORD}@127.0.0.1/shop",
}
KNOWN = {"X-Telegram-Bot-Api-Secret-Token": HOOK_SECRET}
EVERYWHERE = [
    "/",
    "/payment/success",
    "/style.css",
    "/icon.svg",
    "/health",
    "/health/ready",
    "/metrics",
    "/no/such",
    POSTBACK,
]


class Gate:
    """Handles updates, once it is let."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.done = 0

    async def __call__(self, _: dict[str, Any]) -> None:
        self.entered.set()
        await self.open.wait()
        self.done += 1


# Headers


@pytest.mark.parametrize("accept", ["text/html", "*/*"])
async def test_every_answer_is_protected(open_site: OpenSite, no_database: Database, accept: str) -> None:
    site = await open_site(no_database)
    for path in EVERYWHERE:
        async with site.get(path, headers={"Accept": accept}) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; "), path
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert "aiohttp" not in str(answer.headers)
            assert "Python" not in str(answer.headers)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nCANARY CANARY\r\n\r\n",
        b"CANARY\r\n\r\n",
        b"GET /CANARY" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nCANARY: " + b"x" * 20_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: CANARY\r\n\r\n",
        b"\x16\x03\x01\x02\x00CANARY\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:20]),
)
async def test_what_is_no_http_is_answered_in_few_words(
    open_site: OpenSite, no_database: Database, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    site = await open_site(no_database)
    with capture_logs() as logs:
        answer = await say(site, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    assert b"Content-Security-Policy" in head
    assert b"aiohttp" not in head
    assert body == b'{"message": "Bad Request"}'
    assert "CANARY" not in str(logs) + caplog.text


async def test_slow_headers_are_given_up(open_site: OpenSite, no_database: Database) -> None:
    site = await open_site(no_database, patience=0.2)
    assert await say(site, b"GET / HTTP/1.1\r\nHost:") == b""
    assert await say(site, b"") == b""


# Silence


async def test_bug_is_loud_in_the_log_and_silent_to_the_outside(
    open_site: OpenSite, no_database: Database
) -> None:
    async def stumble(_: dict[str, Any]) -> None:
        raise RuntimeError("CANARY")

    site = await open_site(no_database, handle_update=stumble, telegram_webhook_secret=HOOK_SECRET)
    with capture_logs() as logs:
        for accept, words in (
            ("*/*", "Internal Server Error"),
            ("text/html", "Something went wrong on our side"),
        ):
            async with site.post(UPDATE, json={}, headers=KNOWN | {"Accept": accept}) as answer:
                text = await answer.text()
            assert answer.status == 500
            assert words in text
            assert "CANARY" not in text + str(answer.headers)
            assert "Traceback" not in text
    assert [(entry["log_level"], entry["error"]) for entry in logs] == [("error", "RuntimeError")] * 2
    assert logs[0]["resource"] == UPDATE
    assert "in stumble" in logs[0]["traceback"]


async def test_no_secret_is_in_an_answer_or_the_log(
    open_site: OpenSite, no_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def stumble(_: dict[str, Any]) -> None:
        raise RuntimeError(" ".join(CANARIES.values()))

    caplog.set_level(logging.DEBUG)
    site = await open_site(no_database, handle_update=stumble, **CANARIES)
    token = sign("ILRAJE1Q", secret=CANARIES["cryptocloud_secret_key"])
    bearer = {"Authorization": f"Bearer {CANARIES['metrics_token']}"}
    told: list[str] = []

    async def note(answer: aiohttp.ClientResponse) -> None:
        async with answer:
            told.append(str(answer.headers) + await answer.text())

    with capture_logs() as logs:
        for path in EVERYWHERE:
            for headers in ({}, bearer, {"Accept": "text/html"}):
                await note(await site.get(path + f"?token={token}", headers=headers))
        await note(await site.post(UPDATE, json={"text": token}, headers=KNOWN))
        await note(await site.post(UPDATE, json={"text": token}))
        for body in (postback("ILRAJE1Q", token), postback("ABCDEFGH", token), {"token": token}):
            await note(await site.post(POSTBACK, json=body))
            await note(await site.post(POSTBACK, data=body))
            await asyncio.sleep(1)
        told.append((await say(site, f"GET / HTTP/1.1\r\n{token}\r\n\r\n".encode())).decode())
    assert len(logs) > 3
    ours = [
        record.getMessage() + str(record.exc_text) for record in caplog.records if record.name != "asyncio"
    ]
    everything = "".join(told) + str(logs) + "".join(ours)
    for secret in (*CANARIES.values(), DATABASE_PASSWORD, token):
        assert secret not in everything


# Start and stop


async def test_taken_port_is_one_line_that_says_how_to_mend_it(
    open_site: OpenSite, no_database: Database, make_settings: Callable[..., Settings], site: Site
) -> None:
    with pytest.raises(SettingsError, match=f"^HTTP_PORT {site.port} is taken: .*$"):
        await open_site(no_database, http_port=site.port)


async def test_impossible_host_is_one_line(open_site: OpenSite, no_database: Database) -> None:
    with pytest.raises(SettingsError, match=r"^HTTP_HOST 192\.0\.2\.1 .*$"):
        await open_site(no_database, http_host="192.0.2.1")
    with pytest.raises(SettingsError, match=r"^HTTP_HOST no\.such\.invalid .*$"):
        await open_site(no_database, http_host="no.such.invalid")


async def test_stop_lets_what_is_in_flight_finish_and_takes_no_more(
    open_site: OpenSite, no_database: Database
) -> None:
    gate = Gate()
    site = await open_site(no_database, handle_update=gate, telegram_webhook_secret=HOOK_SECRET)
    in_flight = asyncio.create_task(site.post(UPDATE, json={}, headers=KNOWN).__aenter__())
    await gate.entered.wait()
    stopping = asyncio.create_task(site.server.stop())
    await asyncio.sleep(0.1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", site.port)).close()
    assert not stopping.done()
    gate.open.set()
    assert (await in_flight).status == 200
    await stopping
    assert gate.done == 1


async def test_stop_does_not_wait_for_ever(open_site: OpenSite, no_database: Database) -> None:
    site = await open_site(no_database, handle_update=Gate(), telegram_webhook_secret=HOOK_SECRET)
    hanging = asyncio.create_task(site.post(UPDATE, json={}, headers=KNOWN).__aenter__())
    await asyncio.sleep(0.2)
    async with asyncio.timeout(10):
        await site.server.stop()
    with pytest.raises(aiohttp.ClientError):
        await hanging


async def test_sender_that_hangs_up_does_not_stop_its_update(
    open_site: OpenSite, no_database: Database
) -> None:
    gate = Gate()
    site = await open_site(no_database, handle_update=gate, telegram_webhook_secret=HOOK_SECRET)
    sender = asyncio.create_task(site.post(UPDATE, json={}, headers=KNOWN).__aenter__())
    await gate.entered.wait()
    sender.cancel()
    await asyncio.sleep(0.1)
    gate.open.set()
    await asyncio.sleep(0.1)
    assert gate.done == 1


async def test_server_may_be_stopped_twice(open_site: OpenSite, no_database: Database) -> None:
    site = await open_site(no_database)
    await site.server.stop()
    await site.server.stop()
