"""CryptoCloud's emulator: the shapes of its bodies, its refusals, its states and its postbacks."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sandbox.app import Sandbox
from tests.sandbox.conftest import Control, CryptoCloud, eventually


def names(text: str) -> set[str]:
    return set(text.split())


CREATED = names(
    "uuid created address expiry_date side_commission side_commission_service type_payments amount "
    "amount_usd amount_in_fiat fee fee_usd service_fee service_fee_usd fiat_currency status "
    "is_email_required link invoice_id currency project test_mode"
)
ROW = names(
    "uuid created address currency date_finished expiry_date side_commission side_commission_cc "
    "type_payments amount amount_usd amount_in_fiat fiat_currency amount_in_crypto amount_to_pay "
    "amount_to_pay_usd amount_paid amount_paid_usd fee fee_usd service_fee service_fee_usd received "
    "received_usd to_surcharge to_surcharge_usd status invoice_status order_id is_email_required link "
    "pay_url invoice_id project test_mode type user_email phone tx_list"
)
SPARSE = names(
    "uuid address expiry_date side_commission side_commission_cc amount amount_usd received received_usd "
    "fee fee_usd service_fee service_fee_usd status order_id currency project test_mode"
)
POSTBACK_INFO = names(
    "uuid created address currency date_finished expiry_date side_commission type_payments amount amount_ "
    "status invoice_status is_email_required project tx_list amount_in_crypto amount_in_fiat amount_usd "
    "amount_to_pay amount_to_pay_usd amount_paid amount_paid_usd fee fee_usd service_fee service_fee_usd "
    "received received_usd to_surcharge to_surcharge_usd total_rub step test_mode type aml_enabled "
    "aml_side aml_checks links_invoice"
)
COIN = names(
    "id code fullcode network name is_email_required stablecoin icon_base icon_network icon_qr order"
)


async def test_create_answers_the_captured_shape(sandbox: Sandbox, cryptocloud: CryptoCloud) -> None:
    made = await cryptocloud.create()
    assert set(made) == CREATED
    assert set(made["currency"]) == COIN
    assert set(made["project"]) == {"id", "name", "fail", "success", "logo"}
    assert re.fullmatch(r"INV-[A-Z0-9]{8}", made["uuid"])
    assert made["link"] == f"{sandbox.url}/pay/{made['uuid'].removeprefix('INV-')}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", made["expiry_date"])
    assert (made["amount_in_fiat"], made["fiat_currency"], made["status"]) == (99.0, "USD", "created")
    assert isinstance(made["amount_in_fiat"], float)


async def test_info_answers_the_documented_shapes(cryptocloud: CryptoCloud, control: Control) -> None:
    made = await cryptocloud.create()
    (row,) = await cryptocloud.info(made["uuid"])
    assert set(row) == ROW
    assert (row["order_id"], row["amount_in_fiat"], row["status"]) == ("order-1", 99.0, "created")
    assert row["project"]["success"] == ""
    await control("project", sparse_info=True)
    (row,) = await cryptocloud.info(made["uuid"].removeprefix("INV-"))
    assert set(row) == SPARSE


async def test_info_leaves_unknown_invoices_out_and_takes_a_hundred(cryptocloud: CryptoCloud) -> None:
    made = await cryptocloud.create()
    rows = await cryptocloud.info("INV-NOSUCHID", made["uuid"])
    assert [row["uuid"] for row in rows] == [made["uuid"]]
    assert await cryptocloud.info(*["INV-NOSUCHID"] * 100) == []
    status, answer = await cryptocloud("invoice/merchant/info", {"uuids": ["INV-NOSUCHID"] * 101})
    assert (status, answer) == (400, {"status": "error", "result": {"validate_error": "Max 100 uuids"}})


async def test_wrong_input_is_refused_field_by_field(cryptocloud: CryptoCloud) -> None:
    status, answer = await cryptocloud("invoice/create", {})
    assert (status, answer["result"]) == (
        400,
        {"amount": "amount not passed.", "shop_id": "shop_id not passed."},
    )
    shop_id = cryptocloud.sandbox.world.credentials.shop_id
    for amount in ("abc", -1, 0, True, "NaN"):
        status, answer = await cryptocloud("invoice/create", {"shop_id": shop_id, "amount": amount})
        assert (status, answer["result"]) == (400, {"amount": "Invalid value amount."})
    status, answer = await cryptocloud("invoice/create", {"shop_id": shop_id, "amount": 1, "currency": "XXX"})
    assert answer["result"]["currency"].startswith(
        "Invalid account currency specified. Available currencies 'USD', 'UZS', "
    )


async def test_three_kinds_of_wrong_keys_get_three_answers(cryptocloud: CryptoCloud) -> None:
    key = cryptocloud.sandbox.world.credentials.api_key
    unauthorized = {"status": "error", "result": {"authorization": "Unauthorized request."}}
    assert await cryptocloud("invoice/merchant/info", {"uuids": []}, "") == (401, unauthorized)
    assert await cryptocloud("invoice/merchant/info", {"uuids": []}, f"Bearer {key}") == (401, unauthorized)
    assert await cryptocloud("invoice/merchant/info", {"uuids": []}, "Token nonsense") == (
        403,
        {"detail": "Invalid header padding"},
    )
    assert await cryptocloud("invoice/merchant/info", {"uuids": []}, f"Token {key}x") == (
        403,
        {"detail": "Signature verification failed"},
    )


async def test_only_a_fresh_invoice_can_be_cancelled(cryptocloud: CryptoCloud) -> None:
    made = await cryptocloud.create()
    assert await cryptocloud("invoice/merchant/canceled", {"uuid": made["uuid"]}) == (
        200,
        {"status": "success", "result": ["ok"]},
    )
    assert await cryptocloud("invoice/merchant/canceled", {"uuid": made["uuid"]}) == (
        400,
        {"status": "error", "result": {"validate_error": "Invoice is not created"}},
    )


async def test_the_asked_lifetime_counts_and_unpaid_invoices_end_canceled(
    sandbox: Sandbox, cryptocloud: CryptoCloud, control: Control
) -> None:
    short = await cryptocloud.create(add_fields={"time_to_pay": {"hours": 1, "minutes": 30}})
    long = await cryptocloud.create()
    part = await cryptocloud.create(add_fields={"time_to_pay": {"hours": 2, "minutes": 0}})
    await control(f"invoices/{part['uuid']}/pay", amount=10)
    await control("jump", seconds=3 * 3600)
    rows = {
        row["uuid"]: row["status"]
        for row in await cryptocloud.info(*(one["uuid"] for one in (short, long, part)))
    }
    assert rows == {short["uuid"]: "canceled", long["uuid"]: "created", part["uuid"]: "canceled"}


async def test_partial_then_the_rest_then_too_much(cryptocloud: CryptoCloud, control: Control) -> None:
    uuid = (await cryptocloud.create())["uuid"]
    await control(f"invoices/{uuid}/pay", amount="40")
    (row,) = await cryptocloud.info(uuid)
    assert (row["status"], row["amount_paid"], row["amount_to_pay"]) == ("partial", 40.0, 100.4)
    assert row["to_surcharge"] == 60.4
    assert row["date_finished"] is None
    await control(f"invoices/{uuid}/pay")
    (row,) = await cryptocloud.info(uuid)
    assert (row["status"], row["invoice_status"], row["to_surcharge"]) == ("paid", "success", 0.0)
    assert row["received"] < row["amount_paid"]
    assert len(row["tx_list"]) == 2
    await control(f"invoices/{uuid}/pay", amount=5)
    (row,) = await cryptocloud.info(uuid)
    assert (row["status"], row["amount_paid"]) == ("overpaid", 105.4)


async def test_other_currencies_keep_what_was_asked(cryptocloud: CryptoCloud) -> None:
    made = await cryptocloud.create(amount="10", currency="RUB")
    assert (made["amount_in_fiat"], made["fiat_currency"], made["amount_usd"], made["amount"]) == (
        10.0,
        "RUB",
        0.11,
        0.11,
    )
    ether = await cryptocloud.create(amount=100, add_fields={"cryptocurrency": "ETH"})
    assert (ether["amount"], ether["currency"]["fullcode"]) == (0.025, "ETH")
    assert ether["address"]


async def test_lists_are_by_day_with_offset_and_count(cryptocloud: CryptoCloud) -> None:
    made = [(await cryptocloud.create(order_id=str(number)))["uuid"] for number in range(3)]
    today = time.strftime("%d.%m.%Y", time.gmtime())
    status, answer = await cryptocloud(
        "invoice/merchant/list", {"start": today, "end": today, "offset": 1, "limit": 1}
    )
    assert (status, answer["all_count"], [row["uuid"] for row in answer["result"]]) == (200, 3, [made[1]])
    assert set(answer["result"][0]) == ROW
    status, answer = await cryptocloud("invoice/merchant/list", {"start": "2026-01-01", "end": today})
    assert (status, set(answer["result"])) == (400, {"start"})
    status, answer = await cryptocloud("invoice/merchant/statistics", {"start": today, "end": today})
    assert answer["result"]["count"] == {
        "all": 3, "created": 3, "paid": 0, "overpaid": 0, "partial": 0, "canceled": 0,
    }  # fmt: skip


class Shop:
    """The shop's notification address: keeps what came and answers 200."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[tuple[str, bytes]] = []

    async def take(self, request: web.Request) -> web.Response:
        self.received.append((request.content_type, await request.read()))
        return web.json_response({"message": "Postback received"})


@pytest.fixture
async def shop(sandbox: Sandbox) -> AsyncIterator[Shop]:
    shop = Shop()
    app = web.Application()
    app.router.add_post("/api/webhook/payment", shop.take)
    async with TestServer(app) as server:
        shop.url = sandbox.world.project.notification_url = str(server.make_url("/api/webhook/payment"))
        yield shop


async def paid(
    cryptocloud: CryptoCloud, control: Control, **postback: Any
) -> tuple[str, list[dict[str, Any]]]:
    uuid = (await cryptocloud.create())["uuid"]
    answer = await control(f"invoices/{uuid}/pay", wait=True, postback=postback)
    return uuid, answer["postbacks"]


async def test_a_paid_invoice_sends_one_documented_postback(
    sandbox: Sandbox, cryptocloud: CryptoCloud, control: Control, shop: Shop
) -> None:
    uuid, (entry,) = await paid(cryptocloud, control)
    body = entry["body"]
    assert len(shop.received) == 1
    assert (entry["status"], entry["answer"]) == (200, '{"message": "Postback received"}')
    assert set(body) == {
        "status", "invoice_id", "amount_crypto", "currency", "order_id", "token", "invoice_info",
    }  # fmt: skip
    assert body["invoice_id"] == uuid.removeprefix("INV-")
    assert set(body["invoice_info"]) == POSTBACK_INFO
    assert (body["invoice_info"]["uuid"], body["invoice_info"]["status"]) == (uuid, "paid")
    claims = jwt.decode(body["token"], sandbox.world.credentials.secret_key, algorithms=["HS256"])
    assert set(claims) == {"id", "exp"}
    assert claims["id"] == body["invoice_id"]
    assert 290 <= claims["exp"] - time.time() <= 300


async def test_a_form_postback_may_carry_its_token_as_a_bytes_literal(
    sandbox: Sandbox, cryptocloud: CryptoCloud, control: Control, shop: Shop
) -> None:
    await paid(cryptocloud, control, format="form", bytes_token=True)
    ((content_type, raw),) = shop.received
    fields = {name: values[0] for name, values in parse_qs(raw.decode()).items()}
    assert content_type == "application/x-www-form-urlencoded"
    assert set(fields) == {"status", "invoice_id", "amount_crypto", "currency", "order_id", "token"}
    assert fields["token"].startswith("b'")
    jwt.decode(fields["token"][2:-1], sandbox.world.credentials.secret_key, algorithms=["HS256"])


@pytest.mark.parametrize(
    ("mode", "error"), [("forged", jwt.InvalidSignatureError), ("expired", jwt.ExpiredSignatureError)]
)
async def test_bad_tokens_are_bad_in_the_named_way(
    sandbox: Sandbox,
    cryptocloud: CryptoCloud,
    control: Control,
    shop: Shop,
    mode: str,
    error: type[Exception],
) -> None:
    _, (entry,) = await paid(cryptocloud, control, mode=mode)
    with pytest.raises(error):
        jwt.decode(
            entry["body"]["token"], sandbox.world.credentials.secret_key, algorithms=["HS256"], leeway=60
        )


async def test_another_invoices_token_is_well_signed(
    sandbox: Sandbox, cryptocloud: CryptoCloud, control: Control, shop: Shop
) -> None:
    uuid, (entry,) = await paid(cryptocloud, control, mode="other_token")
    claims = jwt.decode(entry["body"]["token"], sandbox.world.credentials.secret_key, algorithms=["HS256"])
    assert claims["id"] != uuid.removeprefix("INV-")


@pytest.mark.parametrize(("mode", "count"), [("none", 0), ("once", 1), ("twice", 2), ("burst", 5)])
async def test_a_mode_sends_as_many_as_it_says(
    cryptocloud: CryptoCloud, control: Control, shop: Shop, mode: str, count: int
) -> None:
    await paid(cryptocloud, control, mode=mode)
    assert len(shop.received) == count


async def test_a_partial_payment_sends_nothing_and_a_top_up_sends_once(
    cryptocloud: CryptoCloud, control: Control, shop: Shop
) -> None:
    uuid = (await cryptocloud.create())["uuid"]
    await control(f"invoices/{uuid}/pay", amount=1, wait=True)
    assert shop.received == []
    await control(f"invoices/{uuid}/pay", wait=True)
    assert len(shop.received) == 1


async def test_an_unreachable_shop_is_written_down(
    sandbox: Sandbox, cryptocloud: CryptoCloud, control: Control
) -> None:
    sandbox.world.project.notification_url = "http://127.0.0.1:9/api/webhook/payment"
    _, (entry,) = await paid(cryptocloud, control)
    assert entry["status"] is None
    assert "ClientConnectorError" in entry["answer"]


async def test_an_invoice_can_be_made_that_nobody_hears_of(
    sandbox: Sandbox, cryptocloud: CryptoCloud, control: Control
) -> None:
    await control("faults", place="cryptocloud", method="create", kind="hang")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(cryptocloud.create(), 0.3)
    assert len(sandbox.world.invoices) == 1
    assert sandbox.world.provider_calls[-1]["status"] == 200


async def test_planned_faults_hit_the_calls_they_name(cryptocloud: CryptoCloud, control: Control) -> None:
    first, second = [(await cryptocloud.create())["uuid"] for _ in range(2)]
    await control("faults", place="cryptocloud", method="info", kind="poison", uuid=first, times=None)
    assert [row["uuid"] for row in await cryptocloud.info(second)] == [second]
    assert (await cryptocloud("invoice/merchant/info", {"uuids": [second, first]}))[0] == 400
    await control("faults/clear")
    await control("faults", place="cryptocloud", method="info", kind="other_order")
    assert [row["uuid"] for row in await cryptocloud.info(first, second)] == [second, first]
    await control("faults", place="cryptocloud", method="info", kind="leave_out", uuid=first)
    assert [row["uuid"] for row in await cryptocloud.info(first, second)] == [second]
    await control("faults", place="cryptocloud", method="info", kind="other_amount", amount=5)
    assert [row["amount_in_fiat"] for row in await cryptocloud.info(first)] == [5.0]
    await control("faults", place="cryptocloud", method="create", kind="test_mode")
    assert (await cryptocloud.create())["test_mode"] is True
    await control("faults", place="cryptocloud", kind="error_in_200")
    assert (await cryptocloud("invoice/merchant/info", {"uuids": [first]}))[1]["status"] == "error"
    await control("faults", place="cryptocloud", kind="down")
    with pytest.raises(aiohttp.ClientError):
        await cryptocloud.info(first)
    assert len(await cryptocloud.info(first)) == 1


async def test_the_checkout_pays_without_javascript(
    sandbox: Sandbox, cryptocloud: CryptoCloud, shop: Shop
) -> None:
    made = await cryptocloud.create(order_id="<script>")
    async with sandbox.client.get(made["link"]) as response:
        html = await response.text()
    assert "100.40" in html
    assert html.count("<script") == 1  # the page's own
    assert "&lt;script&gt;" in html
    origin = {"Origin": sandbox.url}
    async with sandbox.client.post(
        made["link"], data={"action": "part", "amount": "abc"}, headers=origin
    ) as response:
        assert response.status == 400
    async with sandbox.client.post(
        made["link"], data={"action": "part", "amount": "40"}, headers=origin
    ) as response:
        assert "60.40" in await response.text()
    async with sandbox.client.post(made["link"], data={"action": "rest"}, headers=origin) as response:
        assert "Thank you" in await response.text()
    invoice = sandbox.world.invoices[made["uuid"].removeprefix("INV-")]
    assert (invoice.status, invoice.paid) == ("paid", Decimal("100.40"))
    await eventually(lambda: shop.received)
