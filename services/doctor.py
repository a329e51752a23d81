"""What `doctor` looks at: the settings, the price list, and every neighbour that the shop lives with.

Each look is bounded in time and takes nothing for granted from the others, so that one dead service hides nobody.
It changes nothing, with one exception: the test postback leaves a row among the events.
"""

import asyncio
import shutil
import time
import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import jwt
from sqlalchemy import text

from services import migrate, payments, reconcile
from services.config import Settings, is_loopback, read_settings, tiers_file
from services.cryptocloud import CryptoCloud, InvoiceFact
from services.db import Database
from services.errors import (
    CryptoCloudError,
    CryptoCloudRefused,
    CryptoCloudRejected,
    DatabaseUnavailable,
    SettingsError,
)
from services.open_database import is_made, open_database
from services.tiers import read_tiers

PATIENCE: Final = 8.0  # seconds for one question to a neighbour
DATABASE_PATIENCE: Final = 3.0
LARGEST_CLOCK_DIFFERENCE: Final = 5.0  # seconds
LEAST_FREE_BYTES: Final = 1 << 30
TOO_MANY_UPDATES: Final = 100
RECENT_SECONDS: Final = 3600
OLDEST_POSTGRES, NEWEST_POSTGRES = 15, 18
# Longer than any id that CryptoCloud makes, so that no invoice is meant.
IMPOSSIBLE_INVOICE: Final = "SUBGATEDOCTOR"


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `mend` says what to do about it."""

    level: Level
    check: str
    what: str
    mend: str = ""


async def examine() -> list[Finding]:
    """Look at everything; what cannot be looked at without settings is left out when they are wrong."""
    try:
        settings = read_settings()
    except SettingsError as error:
        return [_failure("settings", str(error)), _tiers()]
    looks: list[Callable[[Settings], Awaitable[list[Finding]]]] = [
        _database,
        _telegram,
        _cryptocloud,
        _notification_url,
    ]
    found = await asyncio.gather(*(look(settings) for look in looks))
    return [*_settings(settings), _tiers(), *(finding for findings in found for finding in findings)]


def _ok(check: str, what: str) -> Finding:
    return Finding(Level.OK, check, what)


def _warning(check: str, what: str, mend: str = "") -> Finding:
    return Finding(Level.WARNING, check, what, mend)


def _failure(check: str, what: str, mend: str = "") -> Finding:
    return Finding(Level.FAILURE, check, what, mend)


def _settings(settings: Settings) -> list[Finding]:
    found = [_warning("settings", warning) for warning in settings.warnings]
    if settings.cryptocloud_allow_test_mode and not is_loopback(settings.cryptocloud_api_url):
        found.append(
            _warning(
                "settings",
                "CRYPTOCLOUD_ALLOW_TEST_MODE is on: test invoices give away real subscriptions",
                "switch it off before you sell",
            )
        )
    return found or [_ok("settings", "complete")]


def _tiers() -> Finding:
    try:
        path = tiers_file()
        price_list = read_tiers(path)
    except SettingsError as error:
        return _failure("tiers", str(error))
    return _ok(
        "tiers",
        f"{path}: {len(price_list.paid_tiers)} paid tiers, {len(price_list.periods)} periods, "
        f"prices in {price_list.currency}",
    )


async def _database(settings: Settings) -> list[Finding]:
    found = []
    if not settings.database_url.get_secret_value():
        found.append(await asyncio.to_thread(_disk, settings.data_dir))
        if not is_made(settings):
            return [
                _warning(
                    "database",
                    f"there is none in {settings.data_dir} yet",
                    "start the bot, which makes it, or run python -m services migrate",
                ),
                *found,
            ]
    try:
        async with open_database(settings, patience=DATABASE_PATIENCE) as opened:
            return [*await _opened_database(opened.db), *found]
    except (SettingsError, DatabaseUnavailable) as error:
        return [_failure("database", str(error)), *found]


def _disk(data_dir: Path) -> Finding:
    place = (data_dir.expanduser() / "postgres").resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    what = f"{free / (1 << 30):.1f} GiB free at {place}"
    return _ok("disk", what) if free >= LEAST_FREE_BYTES else _warning("disk", what, "make room")


async def _opened_database(db: Database) -> list[Finding]:
    async with db.begin() as session:
        before = time.time()
        row = (
            await session.execute(
                text("""
                    SELECT extract(epoch FROM clock_timestamp()) AS now,
                           current_setting('server_version') AS version,
                           current_setting('server_version_num')::int / 10000 AS major
                """)
            )
        ).one()
        difference = (before + time.time()) / 2 - float(row.now)
    found = []
    version = f"PostgreSQL {row.version}"
    if OLDEST_POSTGRES <= row.major <= NEWEST_POSTGRES:
        found.append(_ok("database", version))
    else:
        found.append(
            _warning(
                "database",
                f"{version} was never tried",
                f"use PostgreSQL {OLDEST_POSTGRES} to {NEWEST_POSTGRES}",
            )
        )
    if abs(difference) <= LARGEST_CLOCK_DIFFERENCE:
        found.append(_ok("clock", f"{abs(difference):.1f} s from the database's"))
    else:
        found.append(
            _warning(
                "clock",
                f"this machine is {abs(difference):.0f} s {'ahead of' if difference > 0 else 'behind'} the database",
                "keep both clocks right, with NTP: postbacks and links are good for minutes only",
            )
        )
    return [*found, *await _schema(db)]


async def _schema(db: Database) -> list[Finding]:
    current, head = await migrate.current_revision(db), migrate.head_revision()
    if current != head and not migrate.is_newer(current):
        what = f"the schema is at {current}, not {head}" if current else "the database is empty"
        return [_failure("schema", what, "run python -m services migrate; the bot does it when it starts")]
    if current != head:
        return [_warning("schema", f"{current} is newer than this program's {head}", "update this program")]
    async with db.begin() as session:
        reviews = await payments.open_reviews(session)
        unclaimed = await reconcile.open_cases(session)
    found = [_ok("schema", f"at {current}")]
    found += [
        _warning(
            "cases",
            f"payment {one.receipt_number} waits for a decision: {one.review_reason}",
            f"python -m services payment accept|reject {one.receipt_number} --reason …",
        )
        for one in reviews
    ]
    found += [
        _warning(
            "cases",
            f"INV-{one.invoice_uuid} has money in it and belongs to nobody",
            f"python -m services payment adopt INV-{one.invoice_uuid} --user … --tier … --period …",
        )
        for one in unclaimed
    ]
    return found


class _NoAnswer(Exception):
    """A neighbour gave no usable answer; says why, without addresses."""


def _client(url: str) -> httpx.AsyncClient:
    try:
        # The operator's HTTPS_PROXY counts for the world, never for this machine.
        return httpx.AsyncClient(timeout=PATIENCE, trust_env=not is_loopback(url), follow_redirects=False)
    except (ImportError, ValueError, httpx.InvalidURL):
        raise _NoAnswer("HTTPS_PROXY or ALL_PROXY cannot be used") from None


async def _post(url: str, body: Mapping[str, object]) -> httpx.Response:
    try:
        async with asyncio.timeout(PATIENCE), _client(url) as client:
            return await client.post(url, json=body)
    except TimeoutError:
        raise _NoAnswer(f"no answer within {PATIENCE:g} s") from None
    except httpx.TimeoutException:
        raise _NoAnswer(f"no answer within {PATIENCE:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # The error's own words may quote the address, and with it the bot's token.
        cause = error.__cause__ or error.__context__
        raise _NoAnswer(f"no connection ({type(cause or error).__name__})") from None


async def _telegram(settings: Settings) -> list[Finding]:
    try:
        me = await _bot_api(settings, "getMe")
        hook = await _bot_api(settings, "getWebhookInfo")
    except _NoAnswer as error:
        host = urlsplit(settings.telegram_api_url).hostname
        return [_failure("telegram", f"{host}: {error}", _mend_telegram(error))]
    return [_ok("telegram", f"the bot is @{me.get('username', '?')}"), *_updates(settings, hook)]


def _mend_telegram(error: _NoAnswer) -> str:
    if "HTTP 401" in str(error) or "HTTP 404" in str(error):
        return "copy BOT_TOKEN again from BotFather"
    return "look at the network and TELEGRAM_API_URL, then ask again"


async def _bot_api(settings: Settings, method: str) -> Mapping[str, Any]:
    token = settings.bot_token.get_secret_value()
    response = await _post(f"{settings.telegram_api_url}/bot{token}/{method}", {})
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise _NoAnswer(f"{method}: HTTP {response.status_code} without a JSON object")
    result = answer.get("result")
    if not answer.get("ok") or not isinstance(result, dict):
        said = _without_secrets(str(answer.get("description", "no reason")), settings)
        raise _NoAnswer(f"{method}: HTTP {response.status_code}, {said}")
    return result


def _updates(settings: Settings, hook: Mapping[str, Any]) -> list[Finding]:
    found = []
    url = str(hook.get("url") or "")
    theirs = f"{urlsplit(url).scheme}://{urlsplit(url).hostname}"  # the rest may be somebody's secret
    ours = f"{settings.public_url}/api/webhook/telegram"
    if settings.telegram_updates == "polling" and url:
        found.append(
            _warning(
                "updates",
                f"TELEGRAM_UPDATES is polling, but Telegram delivers to {theirs}",
                "the bot takes that away when it starts; nothing else may use this token",
            )
        )
    elif settings.telegram_updates == "webhook" and not url:
        found.append(
            _warning("updates", "Telegram delivers to nobody yet", "start the bot, which sets the address")
        )
    elif settings.telegram_updates == "webhook" and url != ours:
        found.append(
            _failure(
                "updates",
                f"Telegram delivers to another address, at {theirs}",
                "start the bot, which sets the address; nothing else may use this token",
            )
        )
    pending = int(hook.get("pending_update_count") or 0)
    if pending > TOO_MANY_UPDATES:
        found.append(
            _warning("updates", f"{pending} updates wait to be handled", "see that the bot runs, and its log")
        )
    last_error = int(hook.get("last_error_date") or 0)
    if url and time.time() - last_error < RECENT_SECONDS:
        said = _without_secrets(str(hook.get("last_error_message", "no reason")), settings)
        at = datetime.fromtimestamp(last_error, UTC)
        found.append(
            _warning(
                "updates",
                f"Telegram could not deliver at {at:%H:%M:%S} UTC: {said}",
                "see that BASE_URL reaches the bot from outside",
            )
        )
    return found or [_ok("updates", f"{settings.telegram_updates}, {pending} waiting")]


def _without_secrets(said: str, settings: Settings) -> str:
    for secret in settings.secrets:
        said = said.replace(secret, "***")
    return said


async def _cryptocloud(settings: Settings) -> list[Finding]:
    try:
        cryptocloud = CryptoCloud(
            api_url=settings.cryptocloud_api_url,
            api_key=settings.cryptocloud_api_key.get_secret_value(),
            shop_id=settings.cryptocloud_shop_id,
            read_seconds=PATIENCE,
        )
    except SettingsError as error:
        return [_failure("cryptocloud", str(error))]
    try:
        balances = await cryptocloud.balances()
        newest = await _newest_invoice(cryptocloud)
    except CryptoCloudRefused as error:
        return [_failure("cryptocloud", str(error))]
    except CryptoCloudRejected as error:
        return [_failure("cryptocloud", str(error), "update this program, or tell its authors")]
    except CryptoCloudError as error:
        return [_failure("cryptocloud", str(error), "look at the network and CRYPTOCLOUD_API_URL")]
    finally:
        await cryptocloud.aclose()
    return [
        _ok("cryptocloud", f"the key is accepted; {len(balances)} coins on the account"),
        _test_mode(settings, newest),
    ]


async def _newest_invoice(cryptocloud: CryptoCloud) -> InvoiceFact | None:
    """Find the newest invoice on the first page of the last 30 days."""
    today = datetime.now(UTC).date()
    page: list[InvoiceFact] = []
    async for fact in cryptocloud.list_invoices(today - timedelta(days=30), today + timedelta(days=1)):
        page.append(fact)
        if len(page) == 100:
            break
    return max(page, key=lambda fact: fact.created_at or datetime.min.replace(tzinfo=UTC), default=None)


def _test_mode(settings: Settings, newest: InvoiceFact | None) -> Finding:
    switch = "switch test mode off in the project's settings at CryptoCloud"
    if newest is None:
        return _warning(
            "test mode",
            "unknown until the first invoice; a new project starts in it",
            f"{switch}, or set CRYPTOCLOUD_ALLOW_TEST_MODE while you try things out",
        )
    if not newest.test_mode:
        return _ok("test mode", f"off in the newest invoice, INV-{newest.uuid}")
    if settings.cryptocloud_allow_test_mode:
        return _warning("test mode", f"on in the newest invoice, INV-{newest.uuid}", f"to sell, {switch}")
    return _failure(
        "test mode", f"on in the newest invoice, INV-{newest.uuid}: nothing can be sold like that", switch
    )


async def _notification_url(settings: Settings) -> list[Finding]:
    """Send a postback as CryptoCloud would, about an invoice that cannot exist.

    Its token is good, because a refusal of a bad one proves nothing: any web server can answer 401. What comes
    back shows that the address leads to this bot, that both have the same secret and that it reaches its
    database. The price is one row `unknown` among the events, and a reconcile.
    """
    url = f"{settings.public_url}/api/webhook/payment"
    enter = f"enter {url} as Notification URL in the project's settings at CryptoCloud"
    found = []
    local = is_loopback(settings.public_url)
    if local:
        found.append(
            _warning(
                "notifications",
                f"CryptoCloud cannot reach {settings.public_url}; "
                f"payments are still found within {settings.check_seconds:f} s",
                "set BASE_URL to the public https:// address of this bot to be told at once",
            )
        )
    try:
        response = await _post(url, _test_postback(settings))
    except _NoAnswer as error:
        level = Level.WARNING if local else Level.FAILURE
        return [
            *found,
            Finding(
                level, "notifications", f"{url}: {error}", "start the bot, and look at the proxy before it"
            ),
        ]
    match response.status_code:
        case 200 if "Postback received" in response.text:
            if local:
                found.append(_ok("notifications", f"the bot takes postbacks at {url}"))
            else:
                found.append(_ok("notifications", f"the bot takes postbacks; {enter}"))
        case 401:
            found.append(
                _failure(
                    "notifications",
                    f"{url}: the bot there has another CRYPTOCLOUD_SECRET_KEY",
                    "restart it with these settings",
                )
            )
        case 503:
            found.append(
                _failure("notifications", f"{url}: the bot cannot reach its database", "see its log")
            )
        case status:
            found.append(
                _failure(
                    "notifications",
                    f"{url}: HTTP {status}, which is not the bot's answer",
                    "let BASE_URL and the proxy lead to the bot, without a redirect",
                )
            )
    return found


def _test_postback(settings: Settings) -> dict[str, object]:
    secret = settings.cryptocloud_secret_key.get_secret_value()
    claims = {"id": IMPOSSIBLE_INVOICE, "exp": int(time.time()) + 300}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)  # the settings have said it
        token = jwt.encode(claims, secret, algorithm="HS256")
    return {
        "status": "success",
        "invoice_id": IMPOSSIBLE_INVOICE,
        "amount_crypto": 0,
        "currency": "USDT_TRC20",
        "order_id": None,
        "token": token,
    }
