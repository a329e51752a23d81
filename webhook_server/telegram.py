"""The door for Telegram's updates in webhook mode: opened by the secret header, before a byte of the body is read."""

import hmac
import json
from typing import Any, Final

from aiohttp import web

from services.errors import SettingsError, ShopError
from webhook_server.bodies import BrokenBody, read_body
from webhook_server.keys import HANDLE_UPDATE, SETTINGS, UpdateHandler
from webhook_server.refusals import Refusals

PATH: Final = "/api/webhook/telegram"
SECRET_HEADER: Final = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - the header's name
LARGEST_UPDATE: Final = 1024 * 1024

_REFUSALS = web.AppKey("refused_updates", Refusals)


class UntrustedUpdate(ShopError):
    """Whoever sent this does not know the secret that we told Telegram."""

    status = 401


def add_to(app: web.Application, handle_update: UpdateHandler) -> None:
    """Let Telegram in; raises `SettingsError` without a secret to know it by."""
    if not app[SETTINGS].telegram_webhook_secret.get_secret_value():
        raise SettingsError("TELEGRAM_WEBHOOK_SECRET is required when TELEGRAM_UPDATES=webhook")
    app[HANDLE_UPDATE] = handle_update
    app[_REFUSALS] = Refusals("updates")
    app.router.add_post(PATH, receive_update)


async def receive_update(request: web.Request) -> web.Response:
    """Have an update handled and answer 200 only then: whatever else we answer, Telegram sends it again."""
    try:
        _check_sender(request)
        update = _read_update(await read_body(request, LARGEST_UPDATE))
        await request.app[HANDLE_UPDATE](update)
    except ShopError as error:
        request.app[_REFUSALS].note(error)
        raise
    return web.json_response({})


def _check_sender(request: web.Request) -> None:
    secret = request.app[SETTINGS].telegram_webhook_secret.get_secret_value()
    given = request.headers.get(SECRET_HEADER, "")
    # Bytes, because comparing text that is not ASCII raises.
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode()):
        raise UntrustedUpdate("the secret header is missing or wrong")


def _read_update(body: bytes) -> dict[str, Any]:
    try:
        update = json.loads(body)
    except (ValueError, RecursionError):
        update = None
    if not isinstance(update, dict):
        raise BrokenBody("the body is no JSON object")
    return update
