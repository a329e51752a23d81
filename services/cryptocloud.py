"""The client of CryptoCloud's invoices: asks, checks the shape of the answer, and hands on what it says.

It refuses answers that it cannot read for certain. Money is `Decimal` from the text of the answer, times are
UTC, ids are short (without `INV-`), and one odd row does not spoil its neighbours. It knows no database.
"""

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import structlog

from services.config import is_loopback
from services.errors import CryptoCloudRefused, CryptoCloudRejected, CryptoCloudUnavailable, SettingsError

LARGEST_BATCH = 100  # documented for info and for a page of the list
LARGEST_ANSWER = 8 * 1024 * 1024
CONNECT_SECONDS = 5.0
MOST_PAGES = 1_000
USUAL_LIFETIME = timedelta(hours=24)  # what real invoices have when no lifetime was asked for

_Answer = TypeVar("_Answer")
_log = structlog.get_logger(__name__)

_INVOICE_ID = re.compile(r"(?:INV-)?[A-Z0-9]{4,32}", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"-?\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,4})?", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\S*", re.ASCII)
_REFUSAL = re.compile(r"header padding|signature|unauthenticated|unauthorized|credentials", re.IGNORECASE)
_TRANSACTION_KEYS = ("tx_id", "txid", "tx_hash", "hash", "tx")


class ProviderStatus(StrEnum):
    """The provider's word for an invoice; `UNKNOWN` is any word that is not documented."""

    CREATED = "created"
    PARTIAL = "partial"
    CANCELED = "canceled"
    PAID = "paid"
    OVERPAID = "overpaid"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class CreatedInvoice:
    """A new invoice as the provider confirmed it; `uuid` is short, `expires_at` is UTC."""

    uuid: str
    link: str
    expires_at: datetime
    amount_in_fiat: Decimal | None
    fiat_currency: str | None
    test_mode: bool


@dataclass(frozen=True, slots=True)
class InvoiceFact:
    """What the provider says of one invoice at this moment; what it does not say is None.

    Amounts without `usd` or `fiat` in their name are in the coin `coin`; all times are UTC.
    """

    uuid: str
    status: ProviderStatus
    status_word: str
    order_id: str | None
    amount_in_fiat: Decimal | None
    fiat_currency: str | None
    test_mode: bool
    created_at: datetime | None
    expires_at: datetime | None
    finished_at: datetime | None
    coin: str | None
    amount_paid: Decimal | None
    amount_paid_usd: Decimal | None
    amount_to_pay: Decimal | None
    amount_to_pay_usd: Decimal | None
    to_surcharge: Decimal | None
    to_surcharge_usd: Decimal | None
    transactions: tuple[str, ...]
    project_id: str | None


@dataclass(frozen=True, slots=True)
class Balance:
    """What lies on the merchant's account in one coin (`USDT_TRC20`); `available` may be withdrawn now."""

    coin: str
    amount: Decimal | None
    amount_usd: Decimal | None
    available: Decimal | None
    available_usd: Decimal | None


class _Hiccup(CryptoCloudUnavailable):
    """A failure of the moment (connection, 5xx): a read-only question is asked once more at once."""


class _UnreadableError(ValueError):
    """A value that is present but means nothing we know."""


def short_invoice_id(text: str) -> str:
    """Write an invoice id the one way we compare and store it: upper case, without `INV-`."""
    return text.strip().upper().removeprefix("INV-")


def read_invoice_id(value: object) -> str | None:
    """Give the short id, or None where the value cannot be an invoice id at all."""
    if isinstance(value, str) and _INVOICE_ID.fullmatch(value.strip()):
        return short_invoice_id(value)
    return None


class CryptoCloud:
    """One merchant project at CryptoCloud.

    Every method raises `CryptoCloudUnavailable` (no usable answer, ask again later), `CryptoCloudRefused`
    (the key is not accepted, a person has to look) or `CryptoCloudRejected` (this request is wrong, and
    `.fields` say why). A call ends within `create_seconds` or `read_seconds`, whatever happens.
    `observe(method, result)` is told of each request: result is ok, unavailable, refused or rejected.
    """

    def __init__(
        self,
        *,
        api_url: str,
        api_key: str,
        shop_id: str,
        observe: Callable[[str, str], None] = lambda method, result: None,
        create_seconds: float = 8.0,
        read_seconds: float = 15.0,
    ) -> None:
        self._api_key = api_key
        self._shop_id = shop_id
        self._observe = observe
        self._create_seconds = create_seconds
        self._read_seconds = read_seconds
        try:
            self._http = httpx.AsyncClient(
                base_url=api_url.rstrip("/") + "/v2/",
                headers={
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                    "User-Agent": "Subgate",
                },
                timeout=httpx.Timeout(read_seconds, connect=CONNECT_SECONDS),
                follow_redirects=False,
                # The operator's HTTPS_PROXY and SSL_CERT_FILE count for the world, never for this machine.
                trust_env=not is_loopback(api_url),
            )
        except (ImportError, ValueError, httpx.InvalidURL):
            raise SettingsError(
                "HTTPS_PROXY or ALL_PROXY cannot be used: it must be an http:// or https:// address"
            ) from None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def create_invoice(
        self, *, order_id: str, amount: Decimal, currency: str, locale: str
    ) -> CreatedInvoice:
        """Make an invoice for `amount` in the fiat `currency`; its pay page speaks `locale` (en or ru).

        Asked once only: behind a lost answer there may be an invoice. Raises ValueError for an amount that
        JSON cannot carry exactly.
        """
        # The newest documentation takes numbers only. The shortest text of a float is the amount itself up to
        # 15 digits, which this checks.
        number = float(amount)
        if not amount.is_finite() or amount <= 0 or Decimal(repr(number)) != amount:
            raise ValueError(f"an amount of {amount} cannot be sent exactly")
        return await self._ask(
            "create",
            f"invoice/create?locale={'ru' if locale == 'ru' else 'en'}",
            {"shop_id": self._shop_id, "amount": number, "currency": currency, "order_id": order_id},
            _read_created,
            seconds=self._create_seconds,
            tries=1,
        )

    async def invoice_facts(self, uuids: Sequence[str]) -> list[InvoiceFact]:
        """Ask about at most 100 invoices; the answer has its own order, and unknown invoices are absent."""
        if len(uuids) > LARGEST_BATCH:
            raise ValueError(f"at most {LARGEST_BATCH} invoices in one question, not {len(uuids)}")
        if not uuids:
            return []
        return await self._ask(
            "info",
            "invoice/merchant/info",
            {"uuids": [f"INV-{short_invoice_id(uuid)}" for uuid in uuids]},
            lambda answer: _read_rows(answer)[0],
        )

    async def cancel_invoice(self, uuid: str) -> bool:
        """Cancel an unpaid invoice; False when it is no longer open (paid, expired or canceled before)."""
        try:
            await self._ask(
                "cancel",
                "invoice/merchant/canceled",
                {"uuid": f"INV-{short_invoice_id(uuid)}"},
                lambda answer: None,
                tries=1,  # after a lost answer the second try would say "not created" of our own success
            )
        except CryptoCloudRejected as rejection:
            if any("is not created" in said.lower() for said in rejection.fields.values()):
                return False
            raise
        return True

    async def list_invoices(self, start: date, end: date) -> AsyncIterator[InvoiceFact]:
        """Go through all invoices created from `start` to `end`, both days included, page by page.

        Whose midnight ends a day is not documented: ask for a day more on either side. An invoice may come twice
        when new ones are made meanwhile.
        """
        offset = 0
        page_before: list[str] = []
        for _ in range(MOST_PAGES):
            facts, rows = await self._ask(
                "list",
                "invoice/merchant/list",
                {
                    "start": start.strftime("%d.%m.%Y"),
                    "end": end.strftime("%d.%m.%Y"),
                    "offset": offset,
                    "limit": LARGEST_BATCH,
                },
                _read_rows,
            )
            page = [fact.uuid for fact in facts]
            if page and page == page_before:
                _log.warning("cryptocloud_list_repeats_itself", offset=offset)
                return
            for fact in facts:
                yield fact
            offset += rows
            page_before = page
            if not rows:  # only an empty page is the end: a service with smaller pages loses nothing
                return
        _log.warning("cryptocloud_list_is_too_long", start=str(start), end=str(end), read=offset)

    async def balances(self) -> list[Balance]:
        """Say what lies on the account, coin by coin."""
        return await self._ask("balance", "merchant/wallet/balance/all", None, _read_balances)

    async def _ask(
        self,
        method: str,
        path: str,
        payload: Mapping[str, object] | None,
        read: Callable[[Mapping[str, object]], _Answer],
        *,
        seconds: float | None = None,
        tries: int = 2,
    ) -> _Answer:
        """Ask within `seconds`, all tries and the pause between them included."""
        seconds = self._read_seconds if seconds is None else seconds
        try:
            async with asyncio.timeout(seconds):
                while True:
                    tries -= 1
                    try:
                        return await self._ask_once(method, path, payload, read)
                    except _Hiccup:
                        if not tries:
                            raise
                    await asyncio.sleep(random.uniform(0.2, 0.6))  # noqa: S311 - spreads load, hides nothing
        except TimeoutError:
            self._observe(method, "unavailable")
            raise CryptoCloudUnavailable(f"CryptoCloud {method}: no answer within {seconds:g} s") from None

    async def _ask_once(
        self,
        method: str,
        path: str,
        payload: Mapping[str, object] | None,
        read: Callable[[Mapping[str, object]], _Answer],
    ) -> _Answer:
        try:
            status, body = await self._post(method, path, payload)
            answer = read(self._open_envelope(method, status, body))
        except _UnreadableError as error:
            self._observe(method, "unavailable")
            raise CryptoCloudUnavailable(f"CryptoCloud {method}: the answer has {error}") from None
        except CryptoCloudUnavailable:
            self._observe(method, "unavailable")
            raise
        except CryptoCloudRefused:
            self._observe(method, "refused")
            raise
        except CryptoCloudRejected:
            self._observe(method, "rejected")
            raise
        self._observe(method, "ok")
        return answer

    async def _post(self, method: str, path: str, payload: Mapping[str, object] | None) -> tuple[int, bytes]:
        if re.fullmatch(r"[!-~]+", self._api_key) is None:
            # httpx would print such a key in its own error.
            raise CryptoCloudRefused(
                "CRYPTOCLOUD_API_KEY holds characters that no key has: copy it again from CryptoCloud"
            )
        body = bytearray()
        try:
            async with self._http.stream(
                "POST", path, json=payload, headers={"Authorization": f"Token {self._api_key}"}
            ) as response:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > LARGEST_ANSWER:
                        raise CryptoCloudUnavailable(f"CryptoCloud {method}: the answer is too large")
        except httpx.HTTPError as error:
            what = self._quote(f"{type(error).__name__} {error}")
            raise _Hiccup(f"CryptoCloud {method}: {what}") from None
        return response.status_code, bytes(body)

    def _open_envelope(self, method: str, status: int, body: bytes) -> Mapping[str, object]:
        """Give the answer of a request that succeeded, or raise what its failure means."""
        answer = _read_json(body)
        said = self._fields(answer)
        words = "; ".join(f"{name}: {text}" for name, text in said.items())
        if status == 429:
            raise CryptoCloudUnavailable(f"CryptoCloud {method}: too many requests")
        if status in {401, 403} or _is_refusal(said):
            raise CryptoCloudRefused(
                f"CryptoCloud {method}: the key is not accepted (HTTP {status}, {words or 'no reason'}): "
                "check CRYPTOCLOUD_API_KEY, and whether the project is active"
            )
        if status >= 500:
            raise _Hiccup(f"CryptoCloud {method}: HTTP {status}")
        if 300 <= status < 400:
            raise CryptoCloudUnavailable(
                f"CryptoCloud {method}: HTTP {status}, a redirect, is not followed: check CRYPTOCLOUD_API_URL"
            )
        if answer is None:
            raise CryptoCloudUnavailable(f"CryptoCloud {method}: HTTP {status} without a JSON object")
        if status == 408:
            raise CryptoCloudUnavailable(f"CryptoCloud {method}: HTTP {status}")
        if status >= 400 or answer.get("status") == "error":
            raise CryptoCloudRejected(f"CryptoCloud {method}: HTTP {status}, {words or 'no reason'}", said)
        if answer.get("status") != "success" or "result" not in answer:
            raise CryptoCloudUnavailable(f"CryptoCloud {method}: HTTP {status} without a result")
        return answer

    def _fields(self, answer: Mapping[str, object] | None) -> dict[str, str]:
        """What the service says of a failure, by field; empty for a success."""
        if answer is None or answer.get("status") == "success":
            return {}
        result = answer.get("result")
        if not isinstance(result, Mapping):
            result = {} if result is None else {"result": result}
        said = {**result, **{name: answer[name] for name in ("detail", "message") if name in answer}}
        return {
            self._quote(str(name))[:100]: self._quote(str(text))[:500]
            for name, text in list(said.items())[:20]
        }

    def _quote(self, text: str) -> str:
        return storable_text(text).replace(self._api_key, "***")


def storable_text(text: str) -> str:
    """Replace what PostgreSQL does not store in a text: NUL and lone surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")


def _is_refusal(said: Mapping[str, str]) -> bool:
    return "authorization" in said or any(
        _REFUSAL.search(said[name]) for name in ("detail", "message") if name in said
    )


def _read_json(body: bytes) -> Mapping[str, object] | None:
    """Parse an answer with exact numbers; None for anything but a JSON object."""

    def number(text: str) -> Decimal:
        try:
            return Decimal(text)
        except InvalidOperation:  # an exponent beyond everything
            return Decimal("NaN")

    try:
        answer = json.loads(body.decode("utf-8"), parse_float=number, parse_int=number, parse_constant=number)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _read_created(answer: Mapping[str, object]) -> CreatedInvoice:
    row = answer["result"]
    if not isinstance(row, Mapping):
        raise _UnreadableError("no invoice")
    uuid = read_invoice_id(row.get("uuid"))
    if uuid is None:
        raise _UnreadableError("no invoice id")
    created_at, expires_at = _read_moment(row.get("created")), _read_moment(row.get("expiry_date"))
    if expires_at is None and created_at is not None:
        # An invoice without a lifetime of its own lives a day, counted from the provider's clock.
        expires_at = created_at + USUAL_LIFETIME
    if expires_at is None:
        raise _UnreadableError("neither an expiry nor a creation time")
    return CreatedInvoice(
        uuid=uuid,
        link=_read_link(row.get("link")),
        expires_at=expires_at,
        amount_in_fiat=_read_price(row.get("amount_in_fiat")),
        fiat_currency=_read_fiat(row.get("fiat_currency")),
        test_mode=_read_flag(row.get("test_mode")),
    )


def _read_rows(answer: Mapping[str, object]) -> tuple[list[InvoiceFact], int]:
    """Read the rows that can be read; with them how many the answer had."""
    rows = answer["result"]
    if not isinstance(rows, list):
        raise _UnreadableError("no list of invoices")
    facts = []
    for row in rows:
        try:
            facts.append(_read_row(row))
        except _UnreadableError as error:
            uuid = read_invoice_id(row.get("uuid")) if isinstance(row, Mapping) else None
            _log.warning("cryptocloud_row_left_out", invoice_uuid=uuid, reason=str(error))
    if rows and not facts:
        raise _UnreadableError("not one readable row")
    return facts, len(rows)


def _read_row(row: object) -> InvoiceFact:
    if not isinstance(row, Mapping):
        raise _UnreadableError("a row that is no object")
    uuid = read_invoice_id(row.get("uuid"))
    if uuid is None:
        raise _UnreadableError("no invoice id")
    status_word = row.get("status")
    if not isinstance(status_word, str):
        raise _UnreadableError("no status")
    try:
        status = ProviderStatus(status_word.strip().lower())
    except ValueError:
        status = ProviderStatus.UNKNOWN
    project = row.get("project")
    return InvoiceFact(
        uuid=uuid,
        status=status,
        status_word=storable_text(status_word)[:64],
        order_id=read_order_id(row.get("order_id")),
        amount_in_fiat=_read_price(row.get("amount_in_fiat")),
        fiat_currency=_read_fiat(row.get("fiat_currency")),
        test_mode=_read_flag(row.get("test_mode")),
        created_at=_read_moment(row.get("created")),
        expires_at=_read_moment(row.get("expiry_date")),
        finished_at=_read_moment(row.get("date_finished")),
        coin=_read_coin(row.get("currency")),
        amount_paid=_read_amount(row.get("amount_paid")),
        amount_paid_usd=_read_amount(row.get("amount_paid_usd")),
        amount_to_pay=_read_amount(row.get("amount_to_pay")),
        amount_to_pay_usd=_read_amount(row.get("amount_to_pay_usd")),
        to_surcharge=_read_amount(row.get("to_surcharge")),
        to_surcharge_usd=_read_amount(row.get("to_surcharge_usd")),
        transactions=_read_transactions(row.get("tx_list")),
        project_id=_read_project(project.get("id") if isinstance(project, Mapping) else None),
    )


def _read_balances(answer: Mapping[str, object]) -> list[Balance]:
    rows = answer["result"]
    if not isinstance(rows, list):
        raise _UnreadableError("no list of balances")
    return [
        Balance(
            coin=coin,
            amount=_read_amount(row.get("balance_crypto")),
            amount_usd=_read_amount(row.get("balance_usd")),
            available=_read_amount(row.get("available_balance")),
            available_usd=_read_amount(row.get("available_balance_usd")),
        )
        for row in rows
        if isinstance(row, Mapping) and (coin := _read_coin(row.get("currency"))) is not None
    ]


def read_order_id(value: object) -> str | None:
    """Read the merchant's order id as the provider returns it; absent, null, empty and `None` are None.

    Raises ValueError for a value that is neither text nor a whole number.
    """
    match value:
        case None:
            return None
        case str():
            text = storable_text(value).strip()
            return None if text in {"", "None", "null"} else text
        case bool():
            pass
        case int():
            return str(value)
        case Decimal() if value.is_finite() and value == value.to_integral_value() and value.adjusted() < 64:
            return format(value, "f")
    raise _UnreadableError("an order id that is neither text nor a whole number")


def _read_amount(value: object) -> Decimal | None:
    """Read an amount that informs; None where there is none to be had."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = Decimal(value.strip())
    if not isinstance(value, Decimal) or not value.is_finite() or value.is_signed():
        return None
    # Wider than any sum of money, and what a numeric column holds without effort.
    exponent = value.as_tuple().exponent
    return value if isinstance(exponent, int) and exponent >= -40 and value.adjusted() <= 18 else None


def _read_price(value: object) -> Decimal | None:
    """Read the amount that ties an invoice to its price: None when absent or zero, never a guess."""
    if value is None or value == "":
        return None
    amount = _read_amount(value)
    if amount is None:
        raise _UnreadableError("an amount_in_fiat that is no amount")
    return amount or None


def _read_fiat(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _UnreadableError("a fiat_currency that is no text")
    return storable_text(value).strip().upper()[:16] or None


def _read_flag(value: object) -> bool:
    match value:
        case None | False:
            return False
        case True:
            return True
        case Decimal() | str() if str(value).strip().lower() in {"0", "1", "true", "false"}:
            return str(value).strip().lower() in {"1", "true"}
    raise _UnreadableError("a test_mode that is neither yes nor no")


def _read_moment(value: object) -> datetime | None:
    if not isinstance(value, str) or _MOMENT.fullmatch(value.strip()) is None:
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    if not 2000 <= moment.year < 2200:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _read_link(value: object) -> str:
    """Read the pay page's address; it has been documented without its scheme too."""
    link = value.strip() if isinstance(value, str) else ""
    if "://" not in link:
        link = "https://" + link.lstrip("/")
    if re.fullmatch(r"https?://[!-~]{4,2000}", link) is None:
        raise _UnreadableError("no usable link")
    try:
        parts = urlsplit(link)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _UnreadableError("no usable link") from None
    if port == 0 or "@" in parts.netloc or not ("." in host or is_loopback(link)):
        raise _UnreadableError("no usable link")
    return link


def _read_coin(value: object) -> str | None:
    """Read the full code of a coin; in balances `code` is the full one, in invoices `fullcode`."""
    if isinstance(value, Mapping):
        value = value.get("fullcode") or value.get("code")
    return storable_text(value).strip()[:32] or None if isinstance(value, str) else None


def _read_transactions(value: object) -> tuple[str, ...]:
    found = []
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, Mapping):
            entry = next((entry[key] for key in _TRANSACTION_KEYS if entry.get(key)), None)
        if isinstance(entry, str) and 0 < len(text := storable_text(entry).strip()) <= 200:
            found.append(text)
    return tuple(dict.fromkeys(found))


def _read_project(value: object) -> str | None:
    try:
        return read_order_id(value)
    except _UnreadableError:
        return None
