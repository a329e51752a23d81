"""The web server: its limits and its last resort. What it serves is in the files beside it.

Nothing that goes wrong is told to the outside in more than a few words, and nothing secret is logged.
"""

import asyncio
import errno
import traceback
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from aiohttp import web

from services.config import Settings
from services.db import Database
from services.errors import DatabaseUnavailable, SettingsError, ShopError
from services.metrics import Metrics
from services.tiers import PriceList
from services.vitals import Vitals
from webhook_server import cryptocloud, health, pages, telegram
from webhook_server import metrics as metrics_page
from webhook_server.keys import (
    DB,
    METRICS,
    ON_HINT,
    ON_UNKNOWN_INVOICE,
    PATIENCE,
    PRICE_LIST,
    SETTINGS,
    VITALS,
)

PATIENCE_SECONDS: Final = 10.0
LINGERING_SECONDS: Final = 2.0
SHUTDOWN_SECONDS: Final = 3.5  # aiohttp waits that long twice
RETRY_AFTER_SECONDS: Final = 5
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Server": "web",
    "X-Content-Type-Options": "nosniff",
}
_KEPT: Final = ("Allow", "WWW-Authenticate")

log = structlog.get_logger(__name__)


def create_app(
    *,
    db: Database,
    settings: Settings,
    price_list: PriceList,
    vitals: Vitals,
    metrics: Metrics,
    on_hint: Callable[[], None],
    on_unknown_invoice: Callable[[], None],
    handle_update: Callable[[dict[str, Any]], Awaitable[None]] | None,
    patience: float = PATIENCE_SECONDS,
) -> web.Application:
    """Build the web application.

    `on_hint` is called when a payment was woken, `on_unknown_invoice` when a well-signed postback named no
    payment of ours. `handle_update` takes Telegram's updates; without it they have no address here.
    `patience` is how many seconds a request's headers, its body and an idle connection may take.
    """
    app = web.Application(middlewares=[answer_in_few_words])
    app[DB] = db
    app[SETTINGS] = settings
    app[PRICE_LIST] = price_list
    app[VITALS] = vitals
    app[METRICS] = metrics
    app[ON_HINT] = on_hint
    app[ON_UNKNOWN_INVOICE] = on_unknown_invoice
    app[PATIENCE] = patience
    cryptocloud.add_to(app)
    if handle_update is not None:
        telegram.add_to(app, handle_update)
    health.add_to(app)
    metrics_page.add_to(app)
    pages.add_to(app)
    app.on_response_prepare.append(_protect)
    return app


async def _protect(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")


@web.middleware
async def answer_in_few_words(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn whatever went wrong into a status and a word or two."""
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        kept = {name: refusal.headers[name] for name in _KEPT if name in refusal.headers}
        return _refuse(request, refusal.status, kept)
    except DatabaseUnavailable:
        return _refuse(request, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})
    except ShopError as error:
        return _refuse(request, error.status)
    except Exception as error:  # noqa: BLE001 - the last resort: loud in the log, silent to the outside
        # An error's own words may quote what was sent, so only its kind and its place are told.
        resource = request.match_info.route.resource
        log.error(
            "a request failed",
            error=type(error).__name__,
            resource=resource.canonical if resource else None,
            traceback="".join(traceback.format_tb(error.__traceback__)),
        )
        return _refuse(request, 500)


def _refuse(request: web.Request, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    if "text/html" in request.headers.get("Accept", ""):
        response = pages.show_refusal(request, status)
    else:
        response = _few_words(status)
    response.headers.update(headers or {})
    return response


def _few_words(status: int) -> web.Response:
    return web.json_response({"message": HTTPStatus(status).phrase}, status=status)


class Connection(web.RequestHandler):
    """A connection that answers a request it cannot parse without quoting it, and never outlives its own bugs."""

    __slots__ = ()

    async def start(self) -> None:
        """Serve requests until the connection ends, or aiohttp trips over one: its parser may lose an address."""
        try:
            await super().start()
        except Exception as error:  # noqa: BLE001 - left alone, the connection would stay open for ever
            log.debug("a request could not be parsed", error=type(error).__name__)
            self.force_close()
            if self.transport is not None:
                self.transport.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer in general words and close."""
        log.debug("a request could not be parsed", error=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("half an answer is sent already")
        if isinstance(exc, UnicodeEncodeError) and "Expect" in request.headers:
            status = 417  # aiohttp wanted to say an expectation back that is no text
        response = _few_words(status)
        response.headers.update(HEADERS)
        response.force_close()
        return response


class WebServer:
    """A web server that listens; `port` is the one it got."""

    def __init__(self, runner: web.AppRunner, listener: asyncio.Server, port: int) -> None:
        self._runner = runner
        self._listener = listener
        self.port = port

    async def stop(self) -> None:
        """Take no more requests and let those in flight finish, within ten seconds."""
        self._listener.close()
        await self._runner.cleanup()


async def serve(app: web.Application, settings: Settings) -> WebServer:
    """Listen on HTTP_HOST and HTTP_PORT; raises `SettingsError` when that cannot be."""
    runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    server = runner.server
    assert server is not None  # noqa: S101 - set by setup()
    loop = asyncio.get_running_loop()

    def connection() -> Connection:
        return Connection(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type] # documented: None means no access log
            keepalive_timeout=app[PATIENCE],
            lingering_time=LINGERING_SECONDS,
            auto_decompress=False,
        )

    host, port = settings.http_host, settings.http_port
    try:
        listener = await loop.create_server(connection, host, port)
    except OSError as error:
        await runner.cleanup()
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"HTTP_PORT {port} is taken: stop what listens there or choose another"
            ) from None
        raise SettingsError(
            f"HTTP_HOST {host} with HTTP_PORT {port} cannot be opened: {error.strerror}"
        ) from None
    return WebServer(runner, listener, listener.sockets[0].getsockname()[1])
