"""CryptoCloud's API under /v2: create, info, list, canceled, balance, statistics, and every fault that is planned."""

import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from sandbox.faults import Fault
from sandbox.invoices import COINS, DEFAULT_COIN, UNITS_FOR_ONE_USD, Invoice, new_address, new_uuid
from sandbox.keys import WORLD
from sandbox.wire import cut, hang, html_502, pause
from sandbox.world import Json, World

DAY = 24 * 3600.0
MOST_UUIDS = 100
Answer = tuple[int, Json]
Step = Callable[[World, Json, str, Fault | None], Awaitable[Answer]]


def routes() -> list[web.RouteDef]:
    return [
        web.post(path, _door(name, step))
        for path, name, step in (
            ("/v2/invoice/create", "create", _create),
            ("/v2/invoice/merchant/info", "info", _info),
            ("/v2/invoice/merchant/list", "list", _list),
            ("/v2/invoice/merchant/canceled", "canceled", _cancel),
            ("/v2/merchant/wallet/balance/all", "balance", _balance),
            ("/v2/invoice/merchant/statistics", "statistics", _statistics),
        )
    ]


def _door(name: str, step: Step) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def called(request: web.Request) -> web.StreamResponse:
        world = request.app[WORLD]
        body = await _read(request)
        entry = world.write_down(world.provider_calls, kind="provider", method=name, body=body)
        try:
            return await _answered(request, world, name, step, body, entry)
        finally:
            entry["took"] = time.time() - entry["at"]
            world.show(entry)

    return called


async def _answered(
    request: web.Request, world: World, name: str, step: Step, body: Json | None, entry: Json
) -> web.StreamResponse:
    uuids = tuple(_short(one) for one in (body or {}).get("uuids") or () if isinstance(one, str))
    fault = world.faults.take("cryptocloud", name, uuids=uuids)
    if fault is not None:
        entry["fault"] = fault.kind
        planned = await _planned(request, world, fault)
        if planned is not None:
            entry["status"] = None if fault.kind == "down" else planned.status
            return planned
    refused = _unauthorized(world, request.headers.get("Authorization", ""))
    if refused is not None:
        status, answer = refused
    elif body is None:
        status, answer = 400, _error(validate_error="Invalid request body")
    else:
        status, answer = await step(world, body, f"http://{request.host}", fault)
    entry |= {"status": status, "answer": answer}
    if fault is not None and fault.kind == "hang":
        return await hang(request, world)
    return web.json_response(answer, status=status)


async def _planned(request: web.Request, world: World, fault: Fault) -> web.Response | None:
    match fault.kind:
        case "down":
            return cut(request)
        case "slow":
            await pause(world, float(fault.options.get("seconds", 1)))
        case "html_502":
            return html_502()
        case "unauthorized":
            return web.json_response(_error(authorization="Unauthorized request."), status=401)
        case "forbidden":
            return web.json_response({"detail": "Signature verification failed"}, status=403)
        case "server_error":
            return web.Response(status=500, text="Internal Server Error")
        case "too_many_requests":
            seconds = str(fault.options.get("retry_after", 5))
            return web.json_response(
                {"detail": "Too many requests."}, status=429, headers={"Retry-After": seconds}
            )
        case "redirect":
            return web.Response(status=302, headers={"Location": str(fault.options.get("location", "/"))})
        case "error_in_200":
            return web.json_response(_error(validate_error="Something went wrong"))
    return None


def _error(**messages: str) -> Json:
    return {"status": "error", "result": messages}


def _success(result: Any, **beside: Any) -> Json:
    return {"status": "success", "result": result, **beside}


def _unauthorized(world: World, header: str) -> Answer | None:
    word, _, key = header.partition(" ")
    if word != "Token" or not key:
        return 401, _error(authorization="Unauthorized request.")
    if key == world.credentials.api_key:
        return None
    return 403, {
        "detail": "Signature verification failed" if key.count(".") == 2 else "Invalid header padding"
    }


async def _read(request: web.Request) -> Json | None:
    if request.content_type in {"application/x-www-form-urlencoded", "multipart/form-data"}:
        return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    raw = await request.read()
    if not raw.strip():
        return {}
    try:
        body = json.loads(raw, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _short(uuid: str) -> str:
    return uuid.removeprefix("INV-")


def find(world: World, uuid: str) -> Invoice | None:
    """Look an invoice up by its id, with or without INV-, as it stands now."""
    invoice = world.invoices.get(_short(uuid))
    if invoice is not None and invoice.expire_if_due():
        world.tell("invoices")
    return invoice


def _lifetime(body: Json) -> float:
    fields = body.get("add_fields")
    asked = fields.get("time_to_pay") if isinstance(fields, dict) else None
    if not isinstance(asked, dict):
        return DAY
    try:
        seconds = int(asked.get("hours", 0)) * 3600.0 + int(asked.get("minutes", 0)) * 60.0
    except (TypeError, ValueError):
        return DAY
    return seconds if seconds > 0 else DAY


def _amount(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount > 0 else None


async def _create(world: World, body: Json, base_url: str, fault: Fault | None) -> Answer:
    trouble: dict[str, str] = {}
    amount = _amount(body.get("amount"))
    currency = body.get("currency") or "USD"
    if body.get("amount") in (None, ""):
        trouble["amount"] = "amount not passed."
    elif amount is None:
        trouble["amount"] = "Invalid value amount."
    if not body.get("shop_id"):
        trouble["shop_id"] = "shop_id not passed."
    elif body["shop_id"] != world.credentials.shop_id:
        trouble["shop_id"] = "Project not found."
    if currency not in UNITS_FOR_ONE_USD:
        known = ", ".join(f"'{code}'" for code in UNITS_FOR_ONE_USD)
        trouble["currency"] = f"Invalid account currency specified. Available currencies {known}."
    if trouble or amount is None:
        return 400, _error(**trouble)
    fields = body.get("add_fields")
    asked_coin = fields.get("cryptocurrency") if isinstance(fields, dict) else None
    uuid = new_uuid()
    created = time.time()
    invoice = Invoice(
        uuid=uuid,
        order_id=None if body.get("order_id") is None else str(body["order_id"]),
        amount_in_fiat=amount,
        fiat_currency=currency,
        coin=asked_coin if asked_coin in COINS else DEFAULT_COIN,
        link=f"{base_url}/pay/{uuid}",
        test_mode=world.project.test_mode,
        created=created,
        expires=created + _lifetime(body) - 0.0133,
        transfer_fee_paid_by=world.project.transfer_fee_paid_by,
        service_fee_paid_by=world.project.service_fee_paid_by,
        email=body.get("email"),
        address=new_address(COINS[asked_coin]) if asked_coin in COINS else "",
    )
    world.invoices[uuid] = invoice
    world.tell("invoices")
    return 200, _success(_bent(invoice.created_answer(world.project), fault))


def _bent(row: Json, fault: Fault | None) -> Json:
    """Let an answer lie, where a fault asks for it."""
    match fault and fault.kind:
        case "other_amount":
            row["amount_in_fiat"] = float(fault.options.get("amount", 1)) if fault else 1.0
        case "other_currency":
            row["fiat_currency"] = fault.options.get("currency", "EUR") if fault else "EUR"
        case "test_mode":
            row["test_mode"] = True
        case "other_order_id" if "order_id" in row:
            row["order_id"] = fault.options.get("order_id", "somebody-else") if fault else ""
        case "unknown_status":
            row["status"] = fault.options.get("word", "frozen") if fault else ""
    return row


async def _info(world: World, body: Json, _: str, fault: Fault | None) -> Answer:
    uuids = body.get("uuids")
    if not isinstance(uuids, list) or not all(isinstance(one, str) for one in uuids):
        return 400, _error(validate_error="uuids is required")
    if len(uuids) > MOST_UUIDS:
        return 400, _error(validate_error="Max 100 uuids")
    if fault is not None and fault.kind == "poison":
        return 400, _error(validate_error="Invalid uuid")
    found = [invoice for one in uuids if (invoice := find(world, one)) is not None]
    wanted = _short(str(fault.options.get("uuid", ""))) if fault else ""
    if fault is not None and fault.kind == "leave_out" and found:
        found.remove(next((one for one in found if one.uuid == wanted), found[0]))
    rows = []
    for invoice in found:
        row = invoice.sparse_row(world.project) if world.project.sparse_info else invoice.row(world.project)
        rows.append(_bent(row, fault) if wanted in {"", invoice.uuid} else row)
    if fault is not None and fault.kind == "other_order":
        rows.reverse()
    return 200, _success(rows)


def _day(text: Any) -> datetime | None:
    try:
        return datetime.strptime(str(text), "%d.%m.%Y").replace(tzinfo=UTC)
    except ValueError:
        return None


def _between(world: World, body: Json) -> tuple[list[Invoice], dict[str, str]]:
    start, end = _day(body.get("start")), _day(body.get("end"))
    trouble = {name: "Invalid date format." for name, day in (("start", start), ("end", end)) if day is None}
    if start is None or end is None:
        return [], trouble
    if end < start:
        return [], {"end": "The end date is before the start date."}
    until = (end + timedelta(days=1)).timestamp()
    uuids = [one.uuid for one in world.invoices.values() if start.timestamp() <= one.created < until]
    found = [invoice for uuid in uuids if (invoice := find(world, uuid)) is not None]
    return sorted(found, key=lambda one: one.created, reverse=True), {}


async def _list(world: World, body: Json, _: str, fault: Fault | None) -> Answer:
    found, trouble = _between(world, body)
    try:
        offset, limit = int(body.get("offset", 0)), int(body.get("limit", 10))
    except (TypeError, ValueError):
        offset, limit = -1, 0
    if offset < 0:
        trouble["offset"] = "Invalid value offset."
    if not 1 <= limit <= MOST_UUIDS:
        trouble["limit"] = "Invalid value limit."
    if trouble:
        return 400, _error(**trouble)
    rows = [_bent(invoice.row(world.project), fault) for invoice in found[offset : offset + limit]]
    return 200, _success(rows, all_count=len(found))


async def _cancel(world: World, body: Json, _: str, __: Fault | None) -> Answer:
    if not isinstance(body.get("uuid"), str) or not body["uuid"]:
        return 400, _error(validate_error="uuid is required")
    invoice = find(world, body["uuid"])
    if invoice is None or invoice.status != "created":
        return 400, _error(validate_error="Invoice is not created")
    invoice.status = "canceled"
    world.tell("invoices")
    return 200, _success(["ok"])


async def _balance(world: World, _: Json, __: str, ___: Fault | None) -> Answer:
    rows = []
    for coin in COINS.values():
        held = sum(
            (
                one.received
                for one in world.invoices.values()
                if one.coin == coin.fullcode and not one.test_mode
            ),
            Decimal(0),
        )
        shown = coin.as_json()
        described = {
            **{key: value for key, value in shown.items() if key not in {"network", "fullcode"}},
            "code": coin.fullcode,
            "short_code": coin.code,
            "obj_network": shown["network"],
            "enable": True,
        }
        usd = float(round(held * coin.usd, 2))
        rows.append(
            {
                "currency": described,
                "balance_crypto": float(held),
                "balance_usd": usd,
                "available_balance": float(held),
                "available_balance_usd": usd,
            }
        )
    return 200, _success(rows)


async def _statistics(world: World, body: Json, _: str, __: Fault | None) -> Answer:
    found, trouble = _between(world, body)
    if trouble:
        return 400, _error(**trouble)
    count: dict[str, int] = {"all": len(found)}
    amount: dict[str, float] = {"all": float(sum((one.amount_usd for one in found), Decimal(0)))}
    for status in ("created", "paid", "overpaid", "partial", "canceled"):
        these = [one for one in found if one.status == status]
        count[status] = len(these)
        amount[status] = float(sum((one.amount_usd for one in these), Decimal(0)))
    return 200, _success({"count": count, "amount": amount})
