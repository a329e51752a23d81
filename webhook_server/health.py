"""How the process is doing, for whoever decides whether to send it traffic: in full only to its operator."""

import asyncio
import hmac
import ipaddress
import time
from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import web
from sqlalchemy import text

from services import notifications, payments
from services.db import Database
from services.errors import DatabaseUnavailable
from services.vitals import OK
from webhook_server.keys import DB, SETTINGS, VITALS

DATABASE_PATIENCE_SECONDS: Final = 2.0
FRESH_SECONDS: Final = 1.0
# A proxy on this machine speaks from loopback too; these are how it says for whom.
_FORWARDED: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """`ok` or what is wrong, and the two ages in seconds where they are known."""

    word: str
    oldest_unsettled_s: float | None = None
    outbox_age_s: float | None = None


class DatabaseWatch:
    """Asks the database how it is, one question at a time and at most once a second, whoever polls."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._question: asyncio.Task[DatabaseState] | None = None
        self._asked_at = float("-inf")

    async def look(self) -> DatabaseState:
        """Tell the database's state, at most a second old, within two seconds."""
        question = self._question
        if question is None or (question.done() and time.monotonic() - self._asked_at >= FRESH_SECONDS):
            question = self._question = asyncio.create_task(self._ask())
            self._asked_at = time.monotonic()
        # A question that hangs is left to its own limits: the next to poll waits for that same one.
        await asyncio.wait({question}, timeout=DATABASE_PATIENCE_SECONDS)
        if not question.done():
            return DatabaseState(f"no answer within {DATABASE_PATIENCE_SECONDS:g} s")
        return question.result()

    async def stop(self) -> None:
        """Give up a question that is still open."""
        if self._question is not None:
            self._question.cancel()
            await asyncio.wait({self._question})

    async def _ask(self) -> DatabaseState:
        try:
            async with self._db.begin() as session:
                if await session.scalar(text("SELECT current_setting('transaction_read_only')::bool")):
                    return DatabaseState("read-only")
                return DatabaseState(
                    OK,
                    oldest_unsettled_s=round(await payments.oldest_unsettled_age(session), 3),
                    outbox_age_s=round(await notifications.oldest_due_age(session), 3),
                )
        except DatabaseUnavailable:
            return DatabaseState("away")
        except Exception as error:  # noqa: BLE001 - whatever it is, the database does not serve us
            log.warning("the database fails the health check", error=type(error).__name__)
            return DatabaseState(f"fails: {type(error).__name__}")


WATCH = web.AppKey("watch", DatabaseWatch)


def add_to(app: web.Application) -> None:
    """Let anybody ask whether we live, and whether we are ready."""
    watch = app[WATCH] = DatabaseWatch(app[DB])

    async def stop(_: web.Application) -> None:
        await watch.stop()

    app.on_cleanup.append(stop)
    app.router.add_get("/health", live)
    app.router.add_get("/health/ready", ready)


async def live(_: web.Request) -> web.Response:
    """Say that the process answers; asks nobody."""
    return web.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """Answer 200 when this process can sell and settle, else 503; the reasons are for the operator."""
    vitals = request.app[VITALS]
    database = await request.app[WATCH].look()
    neighbours = {
        "database": database.word,
        "migrations": vitals.migrations,
        "telegram": vitals.telegram,
        "cryptocloud": vitals.cryptocloud,
        "workers": vitals.workers,
    }
    fine = all(word == OK for word in neighbours.values())
    answer: dict[str, str | float | None] = {"status": OK if fine else "unavailable"}
    if is_on_this_machine(request) or has_metrics_token(request):
        answer |= neighbours
        answer |= {"oldest_unsettled_s": database.oldest_unsettled_s, "outbox_age_s": database.outbox_age_s}
    return web.json_response(answer, status=200 if fine else 503)


def has_metrics_token(request: web.Request) -> bool:
    """Tell whether the request carries the bearer METRICS_TOKEN; never when none is set."""
    token = request.app[SETTINGS].metrics_token.get_secret_value()
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    return (
        bool(token)
        and kind.lower() == "bearer"
        and hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    )


def is_on_this_machine(request: web.Request) -> bool:
    """Tell whether the request comes from this machine itself, and not through a proxy on it."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        peer = ipaddress.ip_address(request.remote or "")
    except ValueError:
        return False
    mapped = peer.ipv4_mapped if isinstance(peer, ipaddress.IPv6Address) else None
    return (mapped or peer).is_loopback
