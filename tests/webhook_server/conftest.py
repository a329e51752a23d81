"""The web server on a port of its own, and a sender who signs as CryptoCloud does."""

import asyncio
import base64
import hmac
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from services.config import Settings
from services.db import Database
from services.metrics import Metrics
from services.tiers import PriceList
from services.vitals import OK, Vitals
from webhook_server.app import PATIENCE_SECONDS, WebServer, create_app, serve

POSTBACK = "/api/webhook/payment"
UPDATE = "/api/webhook/telegram"
DATABASE_PASSWORD = "canary-password-of-the-database"
SECRET = "a-secret-of-the-project-of-32-bytes-or-more"


def _segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(
    invoice: object,
    *,
    expires_in: float = 300,
    secret: str = SECRET,
    header: dict[str, Any] | None = None,
    digest: str = "sha256",
    **claims: Any,
) -> str:
    """Make a token by hand, as CryptoCloud makes one."""
    told = {"id": invoice, "exp": int(time.time() + expires_in)} | claims
    signed = ".".join(
        _segment(json.dumps(part).encode()) for part in (header or {"alg": "HS256", "typ": "JWT"}, told)
    )
    return f"{signed}.{_segment(hmac.new(secret.encode(), signed.encode(), digest).digest())}"


def postback(invoice: str, token: str | None = None, **fields: Any) -> dict[str, Any]:
    """What CryptoCloud posts about an invoice."""
    return {
        "status": "success",
        "invoice_id": invoice,
        "amount_crypto": 2.1,
        "currency": "USDT_TRC20",
        "order_id": "an-order",
        "token": sign(invoice) if token is None else token,
    } | fields


@dataclass
class Site:
    """A running web server, and what it told the rest of the process."""

    url: str
    client: aiohttp.ClientSession
    server: WebServer
    vitals: Vitals
    metrics: Metrics
    hints: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def numbers(self) -> str:
        """The metrics as Prometheus would read them."""
        return self.metrics.render().decode()

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(self.url + path, **options)

    def post(self, path: str, **options: Any) -> Any:
        return self.client.post(self.url + path, **options)


OpenSite = Callable[..., Awaitable[Site]]


@pytest.fixture
async def open_site(make_settings: Callable[..., Settings], price_list: PriceList) -> AsyncIterator[OpenSite]:
    """Open a web server with given settings; everything about it is as after a good start."""
    async with AsyncExitStack() as stack:

        async def open_it(
            db: Database,
            *,
            handle_update: Callable[[dict[str, Any]], Awaitable[None]] | None = None,
            vitals: Vitals | None = None,
            patience: float = PATIENCE_SECONDS,
            **settings: Any,
        ) -> Site:
            settings_here = make_settings(**({"http_port": 0} | settings))
            client = await stack.enter_async_context(
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
            )
            vitals = vitals or Vitals(telegram=OK, cryptocloud=OK, migrations=OK, bot_username="shop_bot")
            hints: list[str] = []
            metrics = Metrics()
            app = create_app(
                db=db,
                settings=settings_here,
                price_list=price_list,
                vitals=vitals,
                metrics=metrics,
                on_hint=lambda: hints.append("hint"),
                on_unknown_invoice=lambda: hints.append("unknown"),
                handle_update=handle_update,
                patience=patience,
            )
            server = await serve(app, settings_here)
            stack.push_async_callback(server.stop)
            return Site(f"http://127.0.0.1:{server.port}", client, server, vitals, metrics, hints)

        yield open_it


@pytest.fixture
async def no_database() -> AsyncIterator[Database]:
    """The way to a database whose server is not there."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        away = Database(f"postgresql://shop:{DATABASE_PASSWORD}@127.0.0.1:{port}/shop")
        yield away
        await away.dispose()


@pytest.fixture
async def site(db: Database, open_site: OpenSite) -> Site:
    """A web server over this test's database."""
    return await open_site(db)


async def say(site: Site, sent: bytes, *, within: float = 10) -> bytes:
    """Send bytes as they are, and read until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    try:
        writer.write(sent)
        await writer.drain()
        async with asyncio.timeout(within):
            return await reader.read()
    finally:
        writer.close()
