"""The CryptoCloud client against a server that speaks the documented bodies, and every fault we know of."""

import asyncio
import gzip
import json
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.cryptocloud import (
    LARGEST_ANSWER,
    MOST_PAGES,
    Balance,
    CreatedInvoice,
    CryptoCloud,
    InvoiceFact,
    ProviderStatus,
    read_invoice_id,
    short_invoice_id,
)
from services.errors import (
    CryptoCloudError,
    CryptoCloudRefused,
    CryptoCloudRejected,
    CryptoCloudUnavailable,
    SettingsError,
)

BODIES = Path(__file__).parent / "provider_bodies"
KEY = "eyJ0eXAi.the-api-key.of-this-project"
SHOP = "shop000000000001"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def body_of(name: str) -> str:
    return (BODIES / name).read_text()


def small_bodies() -> dict[str, str]:
    lines = body_of("errors_and_small.txt").splitlines()
    return {title.removeprefix("# "): body for title, body in zip(lines[::2], lines[1::2], strict=True)}


class FakeCryptoCloud:
    """Answers with what a test put in line, the last answer for ever, and remembers what it was asked."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.observed: list[tuple[str, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path_qs, dict(request.headers), await request.read()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)

    def will_say(self, *bodies: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        for body in bodies:
            text = body if isinstance(body, str | bytes) else json.dumps(body)

            async def answer(request: web.Request, text: str | bytes = text) -> web.Response:
                data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
                return web.Response(
                    body=data, status=status, headers=headers, content_type="application/json"
                )

            self.answers.append(answer)

    def will_list(self, *rows: object) -> None:
        self.will_say({"status": "success", "result": list(rows)})

    def will_do(self, answer: Answer) -> None:
        self.answers.append(answer)

    @property
    def sent(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.requests]


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[tuple[FakeCryptoCloud, str]]:
    fake = FakeCryptoCloud()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    running = TestServer(app)
    await running.start_server()
    try:
        yield fake, str(running.make_url("")).rstrip("/")
    finally:
        await running.close()


@pytest.fixture
def fake(server: tuple[FakeCryptoCloud, str]) -> FakeCryptoCloud:
    fake, _ = server
    fake.forget()
    return fake


@pytest.fixture(scope="module")
async def client(server: tuple[FakeCryptoCloud, str]) -> AsyncIterator[CryptoCloud]:
    fake, url = server
    client = CryptoCloud(
        api_url=url,
        api_key=KEY,
        shop_id=SHOP,
        observe=lambda method, result: fake.observed.append((method, result)),
        create_seconds=2,
        read_seconds=3,
    )
    yield client
    await client.aclose()


async def create(client: CryptoCloud, amount: str = "950.40", locale: str = "en") -> CreatedInvoice:
    return await client.create_invoice(
        order_id="0199b8a4-6f0e-7c3b-9a52-3f1c2d4e5a60", amount=Decimal(amount), currency="USD", locale=locale
    )


def row(**fields: object) -> dict[str, object]:
    """A row as the field tables of info and list describe it, paid in full."""
    return {
        "uuid": "INV-AAAA0001",
        "created": "2026-01-27 09:03:58.958133",
        "address": "TAddress",
        "currency": {"id": 4, "code": "USDT", "fullcode": "USDT_TRC20", "network": {"code": "TRC20"}},
        "date_finished": "2026-01-27 09:10:00.000001",
        "expiry_date": "2026-01-28 09:03:57",
        "side_commission": "client",
        "type_payments": "crypto",
        "amount": 99.0,
        "amount_usd": 99.0,
        "amount_in_fiat": 99.0,
        "fiat_currency": "USD",
        "amount_in_crypto": None,
        "amount_to_pay": 100.4,
        "amount_to_pay_usd": 100.4,
        "amount_paid": 102.0,
        "amount_paid_usd": 102.01,
        "fee": 1.499999996212864e-06,
        "service_fee": 0,
        "received": 99.7952,
        "to_surcharge": 0.0,
        "to_surcharge_usd": 0.0,
        "status": "paid",
        "invoice_status": "success",
        "order_id": "0199b8a4-6f0e-7c3b-9a52-3f1c2d4e5a60",
        "link": "",
        "invoice_id": None,
        "project": {"id": 362100, "name": "Shop", "logo": "None"},
        "test_mode": False,
        "type": "up",
        "user_email": None,
        "phone": None,
        "tx_list": ["0xabc", "", {"tx_id": "0xdef"}, {"other": 1}, None, 5, "0xabc"],
        **fields,
    }


async def fact_of(fake: FakeCryptoCloud, client: CryptoCloud, **fields: object) -> InvoiceFact:
    fake.will_list(row(**fields))
    (fact,) = await client.invoice_facts(["AAAA0001"])
    return fact


# Making an invoice


async def test_create_says_whose_what_and_how_much(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    fake.will_say(body_of("create_2025.json"))

    await create(client, locale="ru")

    ((path, headers, body),) = fake.requests
    assert path == "/v2/invoice/create?locale=ru"
    assert headers["Authorization"] == f"Token {KEY}"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {
        "shop_id": SHOP,
        "amount": 950.4,
        "currency": "USD",
        "order_id": "0199b8a4-6f0e-7c3b-9a52-3f1c2d4e5a60",
    }
    assert fake.observed == [("create", "ok")]


async def test_language_that_the_pay_page_does_not_speak_is_english(
    fake: FakeCryptoCloud, client: CryptoCloud
) -> None:
    fake.will_say(body_of("create_2025.json"))
    await create(client, locale="de&x=1")
    assert fake.requests[0][0] == "/v2/invoice/create?locale=en"


@pytest.mark.parametrize("amount", ["0.01", "0.07", "99", "950.40", "1E+2", "1234567.89", "9999999999999.99"])
async def test_amount_is_sent_exactly(fake: FakeCryptoCloud, client: CryptoCloud, amount: str) -> None:
    fake.will_say(body_of("create_2025.json"))
    await create(client, amount)
    assert json.loads(fake.requests[0][2], parse_float=Decimal)["amount"] == Decimal(amount)


@pytest.mark.parametrize(
    "amount", ["0", "-1", "NaN", "Infinity", "0.1234567890123456789", "99999999999999999.99"]
)
async def test_amount_that_would_lose_something_is_not_sent(
    fake: FakeCryptoCloud, client: CryptoCloud, amount: str
) -> None:
    with pytest.raises(ValueError):
        await create(client, amount)
    assert fake.requests == []


@pytest.mark.parametrize(
    ("name", "invoice"),
    [
        (
            "create_2025.json",
            CreatedInvoice(
                uuid="H5LY5T6R",
                link="https://pay.cryptocloud.plus/H5LY5T6R",
                expires_at=datetime(2025, 1, 27, 13, 5, 50, 367824, UTC),
                amount_in_fiat=Decimal("100.0"),
                fiat_currency="USD",
                test_mode=True,
            ),
        ),
        (
            "create_2024_rub_test_mode.json",
            CreatedInvoice(
                uuid="9VBKMAQR",
                link="https://pay.cryptocloud.plus/9VBKMAQR",
                expires_at=datetime(2024, 3, 19, 12, 46, 17, 718070, UTC),
                amount_in_fiat=Decimal("10.0"),
                fiat_currency="RUB",
                test_mode=True,
            ),
        ),
        (
            "create_2026_eth_preselected.json",
            CreatedInvoice(
                uuid="89UX09KA",
                link="https://pay.trybit.com/89UX09KA",
                expires_at=datetime(2026, 1, 28, 9, 3, 57, 493361, UTC),
                amount_in_fiat=Decimal("100.0"),
                fiat_currency="USD",
                test_mode=False,
            ),
        ),
        (
            "create_2023_documented.json",
            CreatedInvoice(
                uuid="XXXXXXXX",
                link="https://pay.cryptocloud.plus/XXXXXXXX",
                expires_at=datetime(2023, 1, 2, 12, 0, 0, 0, UTC),
                amount_in_fiat=Decimal("100.0"),
                fiat_currency="USD",
                test_mode=False,
            ),
        ),
    ],
)
async def test_create_answer_is_read(
    fake: FakeCryptoCloud, client: CryptoCloud, name: str, invoice: CreatedInvoice
) -> None:
    fake.will_say(body_of(name))
    assert await create(client) == invoice


def created(**fields: object) -> dict[str, object]:
    answer: dict[str, Any] = json.loads(body_of("create_2025.json"))
    answer["result"].update(fields)
    return answer


@pytest.mark.parametrize(
    ("sent", "link"),
    [
        ("pay.cryptocloud.plus/H5LY5T6R", "https://pay.cryptocloud.plus/H5LY5T6R"),
        ("//pay.cryptocloud.plus/H5LY5T6R", "https://pay.cryptocloud.plus/H5LY5T6R"),
        (" https://pay.trybit.com/H5LY5T6R?lang=en ", "https://pay.trybit.com/H5LY5T6R?lang=en"),
        ("http://127.0.0.1:8090/pay/H5LY5T6R", "http://127.0.0.1:8090/pay/H5LY5T6R"),
        ("http://localhost:8090/pay/H5LY5T6R", "http://localhost:8090/pay/H5LY5T6R"),
    ],
)
async def test_link_always_has_a_scheme(
    fake: FakeCryptoCloud, client: CryptoCloud, sent: str, link: str
) -> None:
    fake.will_say(created(link=sent))
    assert (await create(client)).link == link


@pytest.mark.parametrize(
    "link",
    [
        None,
        "",
        "None",
        5,
        True,
        {},
        "javascript:alert(1)",
        "ftp://pay.cryptocloud.plus/x",
        "tg://resolve?domain=x",
        "https://",
        "https:///path",
        "https://pay.cryptocloud.plus:99999/x",
        "https://user@pay.cryptocloud.plus/x",
        "https://pay.cryptocloud.plus/a b",
        "https://[pay/x",
        "https://pay.cryptocloud.plus/\ud800",
        "https://pay.cryptocloud.plus/" + "x" * 3000,
    ],
)
async def test_invoice_without_a_usable_link_is_no_answer(
    fake: FakeCryptoCloud, client: CryptoCloud, link: object
) -> None:
    fake.will_say(created(link=link))
    with pytest.raises(CryptoCloudUnavailable):
        await create(client)
    assert fake.observed == [("create", "unavailable")]


@pytest.mark.parametrize(
    "expiry", [None, "", "soon", 5, "0001-01-01 00:00:00", "9999-12-31 23:59:59", "2025-01-27"]
)
async def test_unreadable_expiry_is_a_day_after_the_providers_creation_time(
    fake: FakeCryptoCloud, client: CryptoCloud, expiry: object
) -> None:
    fake.will_say(created(expiry_date=expiry))
    assert (await create(client)).expires_at == datetime(2025, 1, 27, 13, 5, 50, 381108, UTC)


async def test_invoice_without_any_time_is_no_answer(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    fake.will_say(created(expiry_date="soon", created=None))
    with pytest.raises(CryptoCloudUnavailable):
        await create(client)


@pytest.mark.parametrize(
    "fields",
    [
        {"uuid": None},
        {"uuid": True},
        {"uuid": "INV-"},
        {"uuid": "../../etc"},
        {"amount_in_fiat": True},
        {"amount_in_fiat": "much"},
        {"amount_in_fiat": float("nan")},
        {"amount_in_fiat": -5},
        {"amount_in_fiat": 10**400},
        {"fiat_currency": 840},
        {"test_mode": "perhaps"},
    ],
)
async def test_invoice_that_cannot_be_compared_with_the_order_is_no_answer(
    fake: FakeCryptoCloud, client: CryptoCloud, fields: dict[str, object]
) -> None:
    fake.will_say(created(**fields))
    with pytest.raises(CryptoCloudUnavailable):
        await create(client)


@pytest.mark.parametrize("absent", [None, "", 0, "0.00"])
async def test_absent_amount_is_none(fake: FakeCryptoCloud, client: CryptoCloud, absent: object) -> None:
    fake.will_say(created(amount_in_fiat=absent, fiat_currency=None))
    invoice = await create(client)
    assert (invoice.amount_in_fiat, invoice.fiat_currency) == (None, None)


# Asking about invoices


async def test_documented_info_answer_is_read(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    fake.will_say(body_of("info_documented.json"))

    (fact,) = await client.invoice_facts(["XXXXXXXX", "inv-bbbb0002"])

    assert fact.uuid == "XXXXXXXX"
    assert (fact.status, fact.status_word) == (ProviderStatus.OVERPAID, "overpaid")
    assert fact.order_id == "1111"
    assert (fact.amount_in_fiat, fact.fiat_currency) == (None, None)
    assert fact.expires_at == datetime(2023, 1, 1, 12, tzinfo=UTC)
    assert (fact.created_at, fact.finished_at, fact.coin) == (None, None, "USDT_TRC20")
    assert (fact.amount_paid, fact.transactions, fact.test_mode, fact.project_id) == (None, (), False, "1")
    assert fake.requests[0][0] == "/v2/invoice/merchant/info"
    assert fake.sent == [{"uuids": ["INV-XXXXXXXX", "INV-BBBB0002"]}]


async def test_rich_row_is_read_exactly(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    assert await fact_of(fake, client) == InvoiceFact(
        uuid="AAAA0001",
        status=ProviderStatus.PAID,
        status_word="paid",
        order_id="0199b8a4-6f0e-7c3b-9a52-3f1c2d4e5a60",
        amount_in_fiat=Decimal("99.0"),
        fiat_currency="USD",
        test_mode=False,
        created_at=datetime(2026, 1, 27, 9, 3, 58, 958133, UTC),
        expires_at=datetime(2026, 1, 28, 9, 3, 57, 0, UTC),
        finished_at=datetime(2026, 1, 27, 9, 10, 0, 1, UTC),
        coin="USDT_TRC20",
        amount_paid=Decimal("102.0"),
        amount_paid_usd=Decimal("102.01"),
        amount_to_pay=Decimal("100.4"),
        amount_to_pay_usd=Decimal("100.4"),
        to_surcharge=Decimal("0.0"),
        to_surcharge_usd=Decimal("0.0"),
        transactions=("0xabc", "0xdef"),
        project_id="362100",
    )


async def test_amounts_keep_every_digit_of_the_answer(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    text = json.dumps({"status": "success", "result": [row(amount_paid=0)]})
    fake.will_say(text.replace('"amount_paid": 0', '"amount_paid": 0.12345678901234567890'))
    (fact,) = await client.invoice_facts(["AAAA0001"])
    assert str(fact.amount_paid) == "0.12345678901234567890"


@pytest.mark.parametrize("word", ["created", "partial", "canceled", "paid", "overpaid"])
async def test_documented_words_are_known(fake: FakeCryptoCloud, client: CryptoCloud, word: str) -> None:
    assert (await fact_of(fake, client, status=word)).status == ProviderStatus(word)


@pytest.mark.parametrize("word", ["success", "refunded", "", "paid!", "x" * 1000, "\0\ud800"])
async def test_other_words_are_unknown_and_kept(
    fake: FakeCryptoCloud, client: CryptoCloud, word: str
) -> None:
    fact = await fact_of(fake, client, status=word)
    assert fact.status is ProviderStatus.UNKNOWN
    assert fact.status_word == word.replace("\0", "?").replace("\ud800", "?")[:64]


@pytest.mark.parametrize(
    ("sent", "order_id"),
    [
        (None, None),
        ("", None),
        ("None", None),
        (" None ", None),
        (17, "17"),
        (10**30, "1" + "0" * 30),
        ("a", "a"),
    ],
)
async def test_order_id_is_text_or_nothing(
    fake: FakeCryptoCloud, client: CryptoCloud, sent: object, order_id: str | None
) -> None:
    assert (await fact_of(fake, client, order_id=sent)).order_id == order_id


async def test_missing_fields_are_none(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    fake.will_list({"uuid": "AAAA0001", "status": "created"})
    (fact,) = await client.invoice_facts(["AAAA0001"])
    assert (fact.order_id, fact.amount_in_fiat, fact.expires_at, fact.to_surcharge, fact.coin) == (None,) * 5
    assert (fact.test_mode, fact.transactions) == (False, ())


@pytest.mark.parametrize("odd", [True, "much", -1, 1e300, float("inf"), float("nan"), [], {}, 10**4000])
async def test_odd_amount_that_only_informs_is_none(
    fake: FakeCryptoCloud, client: CryptoCloud, odd: object
) -> None:
    fact = await fact_of(fake, client, amount_paid=odd, to_surcharge_usd=odd)
    assert (fact.status, fact.to_surcharge_usd) == (ProviderStatus.PAID, None)


@pytest.mark.parametrize(("sent", "amount"), [("99.10", "99.10"), (99, "99"), (1.5e-06, "0.0000015")])
async def test_amount_may_be_text(
    fake: FakeCryptoCloud, client: CryptoCloud, sent: object, amount: str
) -> None:
    assert (await fact_of(fake, client, amount_paid=sent)).amount_paid == Decimal(amount)


@pytest.mark.parametrize(
    ("sent", "moment"),
    [
        ("2026-01-27 09:10:00", datetime(2026, 1, 27, 9, 10, tzinfo=UTC)),
        ("2026-01-27T09:10:00Z", datetime(2026, 1, 27, 9, 10, tzinfo=UTC)),
        ("2026-01-27T12:10:00+03:00", datetime(2026, 1, 27, 9, 10, tzinfo=UTC)),
        ("2026-01-27 09:10:00.5", datetime(2026, 1, 27, 9, 10, 0, 500000, UTC)),
        ("2026-02-30 09:10:00", None),
        ("27.01.2026 09:10:00", None),
        ("2026-01-27", None),
        ("", None),
        (1769504600, None),
        (True, None),
    ],
)
async def test_times_are_utc_or_nothing(
    fake: FakeCryptoCloud, client: CryptoCloud, sent: object, moment: datetime | None
) -> None:
    fact = await fact_of(fake, client, date_finished=sent)
    assert fact.finished_at == moment
    assert moment is None or (fact.finished_at is not None and fact.finished_at.tzinfo is UTC)


@pytest.mark.parametrize(
    ("sent", "coin"),
    [
        ({"code": "TRX"}, "TRX"),
        ("BTC", "BTC"),
        ({"fullcode": None, "code": "ETH"}, "ETH"),
        ({}, None),
        (4, None),
    ],
)
async def test_coin_is_its_fullest_code(
    fake: FakeCryptoCloud, client: CryptoCloud, sent: object, coin: str | None
) -> None:
    assert (await fact_of(fake, client, currency=sent)).coin == coin


@pytest.mark.parametrize(
    ("sent", "test_mode"), [(True, True), (False, False), (1, True), ("true", True), (None, False)]
)
async def test_test_mode_is_yes_or_no(
    fake: FakeCryptoCloud, client: CryptoCloud, sent: object, test_mode: bool
) -> None:
    assert (await fact_of(fake, client, test_mode=sent)).test_mode is test_mode


@pytest.mark.parametrize(
    "broken",
    [
        None,
        "row",
        [],
        {},
        {"uuid": "INV-AAAA0002"},
        row(uuid=None),
        row(uuid=13),
        row(status=None),
        row(status=True),
        row(order_id=True),
        row(order_id=["a"]),
        row(order_id=1.5),
        row(amount_in_fiat=True),
        row(amount_in_fiat="much"),
        row(amount_in_fiat=float("inf")),
        row(amount_in_fiat=10**4000),
        row(fiat_currency=5),
        row(test_mode="perhaps"),
        row(test_mode=2),
    ],
    ids=range(19),
)
async def test_one_broken_row_does_not_spoil_the_other_99(
    fake: FakeCryptoCloud, client: CryptoCloud, broken: object
) -> None:
    good = [row(uuid=f"INV-BBBB{number:04}") for number in range(99)]
    fake.will_list(*good[:50], broken, *good[50:])

    with structlog.testing.capture_logs() as logs:
        facts = await client.invoice_facts(["AAAA0002"])

    assert [fact.uuid for fact in facts] == [f"BBBB{number:04}" for number in range(99)]
    assert [line["event"] for line in logs] == ["cryptocloud_row_left_out"]


async def test_answer_without_one_readable_row_is_no_answer(
    fake: FakeCryptoCloud, client: CryptoCloud
) -> None:
    fake.will_list({}, None)
    with pytest.raises(CryptoCloudUnavailable):
        await client.invoice_facts(["AAAA0001"])


async def test_unknown_invoices_are_absent(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    fake.will_list()
    assert await client.invoice_facts(["AAAA0001"]) == []


async def test_question_about_nothing_is_not_asked(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    assert await client.invoice_facts([]) == []
    assert fake.requests == []


async def test_more_than_100_invoices_in_one_question_are_a_bug(client: CryptoCloud) -> None:
    with pytest.raises(ValueError):
        await client.invoice_facts(["AAAA0001"] * 101)


odd_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(sorted(row())), odd_json, max_size=8))
async def test_any_row_is_read_or_left_out(
    fake: FakeCryptoCloud, client: CryptoCloud, fields: dict[str, object]
) -> None:
    fake.answers.clear()
    fake.will_list(row(uuid="INV-BBBB0001"), row(**fields))
    assert (await client.invoice_facts(["BBBB0001"]))[0].uuid == "BBBB0001"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | odd_json.map(json.dumps), st.sampled_from([200, 201, 302, 400, 404, 429]))
async def test_any_answer_is_read_or_an_expected_failure(
    fake: FakeCryptoCloud, client: CryptoCloud, body: object, status: int
) -> None:
    fake.answers.clear()
    fake.will_say(body, status=status)
    with pytest.raises(CryptoCloudError):
        await client.invoice_facts(["BBBB0001"])


# What failures mean


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (
            401,
            small_bodies()["auth page -- HTTP (not stated on the page; 401 in one test)"],
            CryptoCloudRefused,
        ),
        (403, small_bodies()["garbled API key -- HTTP 403"], CryptoCloudRefused),
        (403, small_bodies()["wrong API key signature -- HTTP 403"], CryptoCloudRefused),
        (401, '{"message": "Unauthenticated."}', CryptoCloudRefused),
        (401, "", CryptoCloudRefused),
        (403, "<html>no</html>", CryptoCloudRefused),
        (
            200,
            '{"status": "error", "result": {"authorization": "Unauthorized request."}}',
            CryptoCloudRefused,
        ),
        (400, '{"detail": "Invalid header padding"}', CryptoCloudRefused),
        (500, '{"detail": "Signature verification failed"}', CryptoCloudRefused),
        (400, small_bodies()["create, nothing passed -- HTTP 400"], CryptoCloudRejected),
        (400, small_bodies()["create, bad amount -- HTTP 400"], CryptoCloudRejected),
        (400, small_bodies()["create, bad currency -- HTTP 400"], CryptoCloudRejected),
        (200, '{"status": "error", "result": {"amount": "Invalid value amount."}}', CryptoCloudRejected),
        (200, '{"status": "error", "result": "no"}', CryptoCloudRejected),
        (200, '{"status": "error"}', CryptoCloudRejected),
        (404, '{"detail": "Not found."}', CryptoCloudRejected),
        (400, '{"status": "success", "result": {}}', CryptoCloudRejected),
        (404, "<html>Not found</html>", CryptoCloudUnavailable),
        (429, "", CryptoCloudUnavailable),
        (429, '{"status": "error", "result": {"limit": "slow down"}}', CryptoCloudUnavailable),
        (500, "", CryptoCloudUnavailable),
        (502, "<html>Bad gateway</html>", CryptoCloudUnavailable),
        (503, '{"status": "error", "result": {"amount": "Invalid value amount."}}', CryptoCloudUnavailable),
        (200, "", CryptoCloudUnavailable),
        (200, "<html>maintenance</html>", CryptoCloudUnavailable),
        (200, "{", CryptoCloudUnavailable),
        (200, "[]", CryptoCloudUnavailable),
        (200, "null", CryptoCloudUnavailable),
        (200, "{}", CryptoCloudUnavailable),
        (200, '{"status": "success"}', CryptoCloudUnavailable),
        (200, '{"status": "success", "result": null}', CryptoCloudUnavailable),
        (200, '{"status": "success", "result": []}', CryptoCloudUnavailable),
        (200, '{"status": "ok", "result": {}}', CryptoCloudUnavailable),
        (200, '{"result": {}}', CryptoCloudUnavailable),
        (200, "[" * 100_000, CryptoCloudUnavailable),
        (200, b"\xff\xfe", CryptoCloudUnavailable),
        (204, "", CryptoCloudUnavailable),
    ],
)
async def test_each_failure_says_whose_turn_it_is(
    fake: FakeCryptoCloud, client: CryptoCloud, status: int, body: object, failure: type[CryptoCloudError]
) -> None:
    fake.will_say(body, status=status)

    with pytest.raises(failure):
        await create(client)

    assert fake.observed == [("create", failure.__name__.removeprefix("CryptoCloud").lower())]
    assert len(fake.requests) == 1


async def test_rejection_names_the_wrong_fields(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    fake.will_say(small_bodies()["create, nothing passed -- HTTP 400"], status=400)
    with pytest.raises(CryptoCloudRejected) as rejection:
        await create(client)
    assert rejection.value.fields == {"amount": "amount not passed.", "shop_id": "shop_id not passed."}
    assert "shop_id not passed." in str(rejection.value)


async def test_redirect_is_not_followed(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    for status in (301, 302, 307, 308):
        fake.answers.clear()
        fake.requests.clear()
        fake.will_say("", status=status, headers={"Location": "/elsewhere"})
        with pytest.raises(CryptoCloudUnavailable, match="redirect"):
            await client.invoice_facts(["AAAA0001"])
        assert [path for path, _, _ in fake.requests] == ["/v2/invoice/merchant/info"]


@pytest.mark.parametrize("packed", [False, True])
async def test_answer_above_8_mib_is_refused(
    fake: FakeCryptoCloud, client: CryptoCloud, packed: bool
) -> None:
    rows = json.dumps({"status": "success", "result": []}).encode()
    too_large = rows + b" " * (LARGEST_ANSWER - len(rows) + 1)
    if packed:
        fake.will_say(gzip.compress(too_large), headers={"Content-Encoding": "gzip"})
    else:
        fake.will_say(too_large)
    with pytest.raises(CryptoCloudUnavailable, match="too large"):
        await client.invoice_facts(["AAAA0001"])

    fake.answers.clear()
    fake.will_say(too_large[:-1])
    assert await client.invoice_facts(["AAAA0001"]) == []


async def cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while request.transport is not None and not request.transport.is_closing():
        await response.write(b" ")
        await asyncio.sleep(0.1)
    return response


async def test_reading_question_is_asked_once_more_after_a_failure_of_the_moment(
    fake: FakeCryptoCloud, client: CryptoCloud
) -> None:
    fake.will_say("", status=502)
    fake.will_list(row())
    assert len(await client.invoice_facts(["AAAA0001"])) == 1
    assert fake.observed == [("info", "unavailable"), ("info", "ok")]

    fake.answers.clear()
    fake.will_do(cut)
    fake.will_list(row())
    assert len(await client.invoice_facts(["AAAA0001"])) == 1


async def test_reading_question_is_not_asked_three_times(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    fake.will_say("", status=502)
    with pytest.raises(CryptoCloudUnavailable, match="502"):
        await client.balances()
    assert fake.observed == [("balance", "unavailable")] * 2


@pytest.mark.parametrize(
    ("status", "body"), [(200, "<html>"), (429, "{}"), (400, '{"detail": "no"}'), (401, "{}"), (302, "")]
)
async def test_lasting_failure_is_not_asked_again(
    fake: FakeCryptoCloud, client: CryptoCloud, status: int, body: str
) -> None:
    fake.will_say(body, status=status)
    with pytest.raises(CryptoCloudError):
        await client.invoice_facts(["AAAA0001"])
    assert len(fake.requests) == 1


async def test_create_and_cancel_are_never_repeated(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    fake.will_do(cut)
    with pytest.raises(CryptoCloudUnavailable):
        await create(client)
    with pytest.raises(CryptoCloudUnavailable):
        await client.cancel_invoice("AAAA0001")
    assert len(fake.requests) == 2


async def test_answer_that_never_ends_is_left(
    fake: FakeCryptoCloud, server: tuple[FakeCryptoCloud, str]
) -> None:
    fake.will_do(drip)
    client = CryptoCloud(api_url=server[1], api_key=KEY, shop_id=SHOP, create_seconds=0.5, read_seconds=0.5)
    async with asyncio.timeout(10):
        with pytest.raises(CryptoCloudUnavailable, match=r"within 0\.5 s"):
            await create(client)
        with pytest.raises(CryptoCloudUnavailable, match=r"within 0\.5 s"):
            await client.invoice_facts(["AAAA0001"])
    await client.aclose()


async def test_nobody_listening_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = CryptoCloud(api_url=f"http://127.0.0.1:{unused.getsockname()[1]}", api_key=KEY, shop_id=SHOP)
        with pytest.raises(CryptoCloudUnavailable, match="ConnectError"):
            await client.balances()
        await client.aclose()


# The key


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, json.dumps({"status": "error", "result": {KEY: f"key {KEY} is wrong"}})),
        (401, json.dumps({"detail": f"Invalid header: Token {KEY}"})),
        (404, json.dumps({"detail": [KEY]})),
        (400, json.dumps({"status": "error", "result": f"Token {KEY}"})),
        (500, KEY),
        (200, KEY),
    ],
)
async def test_key_is_in_no_failure(
    fake: FakeCryptoCloud, client: CryptoCloud, status: int, body: str
) -> None:
    fake.will_say(body, status=status)
    with pytest.raises(CryptoCloudError) as failure:
        await create(client)
    shown = (
        "".join(traceback.format_exception(failure.value)) + repr(failure.value) + repr(vars(failure.value))
    )
    assert KEY not in shown
    assert KEY not in repr(client)


@pytest.mark.parametrize("key", ["two\nlines-of-a-key", "ключ-от-кассы", "with a-space", "tab\t-in-key", ""])
async def test_key_that_no_header_can_carry_is_refused_unseen(
    fake: FakeCryptoCloud, server: tuple[FakeCryptoCloud, str], key: str
) -> None:
    client = CryptoCloud(api_url=server[1], api_key=key, shop_id=SHOP)
    with pytest.raises(CryptoCloudRefused) as failure:
        await client.balances()
    await client.aclose()
    shown = "".join(traceback.format_exception(failure.value))
    assert not key or key not in shown
    assert "CRYPTOCLOUD_API_KEY" in shown
    assert fake.requests == []


# Cancelling, listing, balances


async def test_cancel_closes_an_open_invoice(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    fake.will_say(small_bodies()["cancel ok -- HTTP 200"])
    assert await client.cancel_invoice("aaaa0001") is True
    assert fake.requests[0][0] == "/v2/invoice/merchant/canceled"
    assert fake.sent == [{"uuid": "INV-AAAA0001"}]


async def test_cancel_of_an_invoice_that_is_no_longer_open_is_false(
    fake: FakeCryptoCloud, client: CryptoCloud
) -> None:
    fake.will_say(small_bodies()["cancel of a non-created invoice -- HTTP 400"], status=400)
    assert await client.cancel_invoice("AAAA0001") is False


async def test_other_rejection_of_a_cancel_is_raised(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    fake.will_say(small_bodies()["cancel without uuid -- HTTP 400"], status=400)
    with pytest.raises(CryptoCloudRejected):
        await client.cancel_invoice("AAAA0001")


def pages_of(total: int, *, largest: int = 100) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        first = asked["offset"]
        rows = [
            row(uuid=f"INV-{number:08}")
            for number in range(first, min(first + min(asked["limit"], largest), total))
        ]
        return web.json_response({"status": "success", "result": rows, "all_count": total})

    return answer


async def listed(client: CryptoCloud) -> list[str]:
    return [fact.uuid async for fact in client.list_invoices(date(2026, 1, 5), date(2026, 11, 23))]


@pytest.mark.parametrize("total", [0, 1, 99, 100, 101, 250])
async def test_list_goes_through_all_pages(fake: FakeCryptoCloud, client: CryptoCloud, total: int) -> None:
    fake.will_do(pages_of(total))
    assert await listed(client) == [f"{number:08}" for number in range(total)]
    assert fake.requests[0][0] == "/v2/invoice/merchant/list"
    assert fake.sent[0] == {"start": "05.01.2026", "end": "23.11.2026", "offset": 0, "limit": 100}


async def test_service_with_smaller_pages_loses_nothing(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    fake.will_do(pages_of(35, largest=10))
    assert await listed(client) == [f"{number:08}" for number in range(35)]


async def test_list_that_repeats_itself_ends(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    fake.will_list(row())
    assert await listed(client) == ["AAAA0001"]
    assert len(fake.requests) == 2


async def test_list_without_an_end_is_left_with_a_warning(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    fake.will_do(pages_of(10**9, largest=1))
    with structlog.testing.capture_logs() as logs:
        assert len(await listed(client)) == MOST_PAGES
    assert [line["event"] for line in logs] == ["cryptocloud_list_is_too_long"]


async def test_list_that_breaks_off_says_so(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    fake.will_do(pages_of(250))
    fake.will_say("", status=500)
    seen = []

    async def look() -> None:
        async for fact in client.list_invoices(date(2026, 1, 5), date(2026, 1, 6)):
            seen.append(fact.uuid)

    with pytest.raises(CryptoCloudUnavailable):
        await look()
    assert len(seen) == 100


async def test_balances_name_the_full_coin(fake: FakeCryptoCloud, client: CryptoCloud) -> None:
    coin = {"id": 4, "code": "USDT_TRC20", "short_code": "USDT", "obj_network": {"code": "TRC20"}}
    fake.will_list(
        {
            "currency": coin,
            "balance_crypto": 10.25,
            "balance_usd": 10.24,
            "available_balance": 8,
            "available_balance_usd": None,
        },
        "odd",
        {"currency": None},
    )
    assert await client.balances() == [
        Balance("USDT_TRC20", Decimal("10.25"), Decimal("10.24"), Decimal(8), None)
    ]
    assert fake.requests[0][0] == "/v2/merchant/wallet/balance/all"


# The way to the service


async def test_operators_proxy_leads_to_the_world_and_not_to_this_machine(
    fake: FakeCryptoCloud, server: tuple[FakeCryptoCloud, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.will_list(row())
    asked_proxy: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked_proxy.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    proxy = await asyncio.start_server(refuse, "127.0.0.1", 0)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    near = CryptoCloud(api_url=server[1], api_key=KEY, shop_id=SHOP)
    assert len(await near.invoice_facts(["AAAA0001"])) == 1
    assert asked_proxy == []

    far = CryptoCloud(api_url="https://api.cryptocloud.example", api_key=KEY, shop_id=SHOP)
    with pytest.raises(CryptoCloudUnavailable):
        await create(far)
    assert [request.split(b"\r\n")[0] for request in asked_proxy] == [
        b"CONNECT api.cryptocloud.example:443 HTTP/1.1"
    ]
    assert KEY.encode() not in asked_proxy[0]

    await near.aclose()
    await far.aclose()
    proxy.close()
    await proxy.wait_closed()


@pytest.mark.parametrize("proxy", ["socks5://user:hush@127.0.0.1:1", "gopher://user:hush@127.0.0.1:1"])
async def test_proxy_of_another_kind_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    with pytest.raises(SettingsError, match="ALL_PROXY") as error:
        CryptoCloud(api_url="https://api.cryptocloud.example", api_key=KEY, shop_id=SHOP)
    assert "hush" not in "".join(traceback.format_exception(error.value))


# Ids


@pytest.mark.parametrize("text", ["AAAA0001", "INV-AAAA0001", "inv-aaaa0001", " INV-AAAA0001\n"])
def test_an_invoice_id_has_one_spelling(text: str) -> None:
    assert short_invoice_id(text) == "AAAA0001"
    assert read_invoice_id(text) == "AAAA0001"


@pytest.mark.parametrize(
    "value", [None, 13, True, "", "INV-", "INV-INV-AAAA0001", "AAA", "A" * 33, "ßßßß", "a b c d"]
)
def test_what_is_no_invoice_id_is_none(value: object) -> None:
    assert read_invoice_id(value) is None
