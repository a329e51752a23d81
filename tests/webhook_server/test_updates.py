"""Telegram's updates in webhook mode."""

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest

from services.config import Settings
from services.db import Database
from services.errors import DatabaseUnavailable, SettingsError
from services.metrics import Metrics
from services.tiers import PriceList
from services.vitals import Vitals
from tests.webhook_server.conftest import UPDATE, OpenSite, Site, say
from webhook_server.app import create_app

SECRET = "a_secret_that_only_telegram_knows"
HEADER = "X-Telegram-Bot-Api-Secret-Token"
KNOWN = {HEADER: SECRET}


class Desk:
    """Takes updates, and fails as it was told to."""

    def __init__(self) -> None:
        self.handled: list[dict[str, Any]] = []
        self.failure: Exception | None = None

    async def __call__(self, update: dict[str, Any]) -> None:
        if self.failure is not None:
            raise self.failure
        self.handled.append(update)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def hooked(open_site: OpenSite, no_database: Database, desk: Desk) -> Site:
    return await open_site(
        no_database,
        handle_update=desk,
        telegram_updates="webhook",
        telegram_webhook_secret=SECRET,
        base_url="https://shop.example",
    )


async def test_update_is_answered_after_it_was_handled(hooked: Site, desk: Desk) -> None:
    async with hooked.post(UPDATE, json={"update_id": 7}, headers=KNOWN) as answer:
        assert answer.status == 200
    assert desk.handled == [{"update_id": 7}]


@pytest.mark.parametrize("given", [None, "", "wrong", SECRET + "x", "ключ", "\udcff\udcfe"], ids=ascii)
async def test_update_without_the_secret_is_unauthorized(hooked: Site, desk: Desk, given: str | None) -> None:
    header = b"" if given is None else f"{HEADER}: {given}\r\n".encode("utf-8", "surrogateescape")
    head = f"POST {UPDATE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n".encode()
    assert (await say(hooked, head + header + b"\r\n{}")).startswith(b"HTTP/1.1 401")
    assert desk.handled == []


async def test_secret_is_asked_before_the_body_is_read(hooked: Site) -> None:
    head = f"POST {UPDATE} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    assert (await say(hooked, head.encode())).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"1", b"[" * 100_000, b"\xff"], ids=lambda body: repr(body[:9])
)
async def test_what_is_no_update_is_a_bad_request(hooked: Site, desk: Desk, body: bytes) -> None:
    async with hooked.post(UPDATE, data=body, headers=KNOWN) as answer:
        assert answer.status == 400
    assert desk.handled == []


async def test_update_above_a_mebibyte_is_too_large(hooked: Site, desk: Desk) -> None:
    update = {"update_id": 1, "text": ""}
    update["text"] = "x" * (1024 * 1024 - len(json.dumps(update)))
    body = json.dumps(update).encode()
    async with hooked.post(UPDATE, data=BytesIO(body), headers=KNOWN) as answer:
        assert answer.status == 200
    async with hooked.post(UPDATE, data=BytesIO(body + b" "), headers=KNOWN) as answer:
        assert answer.status == 413
    assert len(desk.handled) == 1


async def test_without_the_database_telegram_is_asked_to_come_again(hooked: Site, desk: Desk) -> None:
    desk.failure = DatabaseUnavailable("the database is away")
    async with hooked.post(UPDATE, json={}, headers=KNOWN) as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0


async def test_update_that_fails_is_not_acknowledged(hooked: Site, desk: Desk) -> None:
    desk.failure = RuntimeError("a bug")
    async with hooked.post(UPDATE, json={}, headers=KNOWN) as answer:
        assert answer.status == 500
        assert await answer.json() == {"message": "Internal Server Error"}


async def test_without_webhook_mode_there_is_no_such_address(site: Site) -> None:
    async with site.post(UPDATE, json={}, headers=KNOWN) as answer:
        assert answer.status == 404


def test_webhook_mode_without_a_secret_is_refused(
    db: Database, make_settings: Callable[..., Settings], price_list: PriceList, desk: Desk
) -> None:
    with pytest.raises(SettingsError, match="TELEGRAM_WEBHOOK_SECRET"):
        create_app(
            db=db,
            settings=make_settings(),
            price_list=price_list,
            vitals=Vitals(),
            metrics=Metrics(),
            on_hint=lambda: None,
            on_unknown_invoice=lambda: None,
            handle_update=desk,
        )
