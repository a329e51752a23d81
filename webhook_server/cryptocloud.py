"""The postback's door: what CryptoCloud signed is kept and wakes its payment, and nothing is granted here.

Everything else is refused in few words and, however much of it comes, in at most one log line a second.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, assert_never

from aiohttp import web

from services import events
from services.errors import DatabaseUnavailable, ShopError, UntrustedPostback
from services.events import Outcome
from services.postbacks import LARGEST_POSTBACK, read_postback
from webhook_server.bodies import read_body
from webhook_server.keys import DB, METRICS, ON_HINT, ON_UNKNOWN_INVOICE, SETTINGS
from webhook_server.refusals import Refusals

PATH: Final = "/api/webhook/payment"
# A flood of postbacks must leave connections to the database for the customers.
AT_ONCE: Final = 6
PATIENCE_SECONDS: Final = 5.0
# What the metrics call a refusal; a postback that was kept goes by its outcome.
RESULTS: Final = {
    400: "malformed",
    401: "untrusted",
    408: "slow",
    413: "too_large",
    415: "unsupported",
    503: "database_away",
}

_QUEUE = web.AppKey("queue", asyncio.Semaphore)
_REFUSALS = web.AppKey("refused_postbacks", Refusals)


def add_to(app: web.Application) -> None:
    """Let CryptoCloud in."""
    app[_QUEUE] = asyncio.Semaphore(AT_ONCE)
    app[_REFUSALS] = Refusals("postbacks")
    app.router.add_post(PATH, receive_postback)


async def receive_postback(request: web.Request) -> web.Response:
    """Keep a postback and answer 200 once it is committed; raises `ShopError` with the status to answer."""
    app = request.app
    result = "error"
    try:
        body = await read_body(request, LARGEST_POSTBACK)
        postback = read_postback(
            body,
            request.headers.get("Content-Type", ""),
            app[SETTINGS].cryptocloud_secret_key.get_secret_value(),
        )
        async with _place_in(app[_QUEUE]):
            recorded = await events.record_postback(app[DB], postback)
        result = recorded.outcome
        if recorded.woken:
            app[ON_HINT]()
        match recorded.outcome:
            case Outcome.WOKEN:
                pass
            case Outcome.UNKNOWN:
                app[ON_UNKNOWN_INVOICE]()
            case Outcome.EXPIRED:
                raise UntrustedPostback("the token has expired")
            case _:
                assert_never(recorded.outcome)
    except ShopError as error:
        if result == "error":
            result = RESULTS.get(error.status, "error")
        app[_REFUSALS].note(error)
        raise
    finally:
        app[METRICS].postback(result)
    return web.json_response({"message": "Postback received"})


@asynccontextmanager
async def _place_in(queue: asyncio.Semaphore) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await queue.acquire()
    except TimeoutError:
        raise DatabaseUnavailable("too many postbacks wait for the database") from None
    try:
        yield
    finally:
        queue.release()
