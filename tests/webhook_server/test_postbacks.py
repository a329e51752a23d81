"""CryptoCloud's postbacks as they come over the wire."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from services.db import Database
from tests import shop
from tests.webhook_server.conftest import POSTBACK, OpenSite, Site, postback, say, sign

BODIES = Path(__file__).parent.parent / "services" / "provider_bodies"
INVOICE = "ILRAJE1Q"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def payment_id(db: Database) -> UUID:
    await shop.customer(db)
    payment_id, _ = await shop.invoice(db, uuid=INVOICE)
    return payment_id


async def answer_to(site: Site, **request: Any) -> tuple[int, dict[str, str]]:
    async with site.post(POSTBACK, **request) as answer:
        return answer.status, await answer.json()


async def events(db: Database) -> list[dict[str, Any]]:
    return await shop.rows(db, "SELECT invoice_uuid, body, outcome FROM webhook_events ORDER BY id")


async def wakes(db: Database, payment_id: UUID) -> int:
    return int((await shop.payment(db, payment_id))["wake"])


def count_of(site: Site, result: str) -> int:
    found = re.search(rf'^subgate_postbacks_total{{result="{result}"}} (\S+)$', site.numbers, re.MULTILINE)
    return int(float(found[1])) if found else 0


# Kept


async def test_signed_postback_wakes_its_payment(site: Site, db: Database, payment_id: UUID) -> None:
    assert await answer_to(site, json=postback(INVOICE)) == (200, {"message": "Postback received"})

    assert await wakes(db, payment_id) == 1
    assert site.hints == ["hint"]
    (event,) = await events(db)
    assert (event["invoice_uuid"], event["outcome"]) == (INVOICE, "woken")
    assert "token" not in event["body"]
    assert count_of(site, "woken") == 1


async def test_postback_grants_nothing(site: Site, db: Database, payment_id: UUID) -> None:
    await answer_to(site, json=postback(INVOICE, status="success", amount=1_000_000))
    assert (await shop.payment(db, payment_id))["status"] == "pending"
    assert await shop.rows(db, "SELECT * FROM subscription_ledger") == []


async def test_changed_body_under_a_good_token_changes_nothing_but_the_wake(
    site: Site, db: Database, payment_id: UUID
) -> None:
    before = await shop.payment(db, payment_id)
    status, _ = await answer_to(
        site, json=postback(INVOICE, order_id="another", currency="EUR", status="no such status", extra=[1])
    )
    after = await shop.payment(db, payment_id)
    assert status == 200
    changing = {"wake", "next_check_at", "updated_at"}
    assert {k: v for k, v in before.items() if k not in changing} == {
        k: v for k, v in after.items() if k not in changing
    }


async def test_documented_json_postback_is_taken(site: Site, db: Database) -> None:
    await shop.customer(db)
    payment_id, _ = await shop.invoice(db, uuid="XXXXXXXX")
    printed = (BODIES / "postback_2024_documented.txt").read_text()
    quoted = json.dumps(f"b'{sign('XXXXXXXX')}'")
    status, _ = await answer_to(site, data=printed.replace('b"token"', quoted).encode(), headers=JSON)
    assert status == 200
    assert await wakes(db, payment_id) == 1


async def test_documented_form_postback_is_taken(site: Site, db: Database, payment_id: UUID) -> None:
    printed = (BODIES / "postback_form.txt").read_text().strip()
    body = printed.replace("{JWT}", sign(f"INV-{INVOICE}"))
    status, _ = await answer_to(site, data=body.encode(), headers=FORM)
    assert status == 200
    assert await wakes(db, payment_id) == 1


async def test_documented_postback_as_printed_is_malformed(site: Site, db: Database) -> None:
    body = (BODIES / "postback_2024_documented.txt").read_bytes()
    assert await answer_to(site, data=body, headers=JSON) == (400, {"message": "Bad Request"})
    assert await events(db) == []


async def test_unknown_invoice_is_kept_and_asks_for_a_reconcile_without_saying_so(
    site: Site, db: Database, payment_id: UUID
) -> None:
    known = await answer_to(site, json=postback(INVOICE))
    assert await answer_to(site, json=postback("STRANGER")) == known
    assert site.hints == ["hint", "unknown"]
    assert [event["outcome"] for event in await events(db)] == ["woken", "unknown"]
    assert count_of(site, "unknown") == 1


async def test_fifty_at_once_are_all_taken_and_wake_one_payment(
    site: Site, db: Database, payment_id: UUID
) -> None:
    other, _ = await shop.invoice(db, period="year")
    bodies = [postback(INVOICE, sign(INVOICE, nonce=number)) for number in range(50)]
    answers = await asyncio.gather(*(answer_to(site, json=body) for body in bodies))
    assert answers == [(200, {"message": "Postback received"})] * 50
    assert await wakes(db, payment_id) == 50
    assert await wakes(db, other) == 0


# Expired


async def test_expired_postback_is_refused_but_wakes_its_payment(
    site: Site, db: Database, payment_id: UUID
) -> None:
    body = postback(INVOICE, sign(INVOICE, expires_in=-86_400 * 30))
    assert await answer_to(site, json=body) == (401, {"message": "Unauthorized"})
    assert await wakes(db, payment_id) == 1
    assert site.hints == ["hint"]
    assert [event["outcome"] for event in await events(db)] == ["expired"]
    assert count_of(site, "expired") == 1


async def test_expired_postback_that_wakes_nobody_leaves_no_trace(
    site: Site, db: Database, payment_id: UUID
) -> None:
    await shop.rows(db, "UPDATE payments SET asked_at = now() RETURNING id")
    for invoice in (INVOICE, "STRANGER"):
        status, _ = await answer_to(site, json=postback(invoice, sign(invoice, expires_in=-3600)))
        assert status == 401
    assert await wakes(db, payment_id) == 0
    assert site.hints == []
    assert await events(db) == []


# Refused


FORGED = {
    "no token": {"invoice_id": INVOICE},
    "null": postback(INVOICE) | {"token": None},
    "empty": postback(INVOICE, ""),
    "number": postback(INVOICE) | {"token": 13},
    "list": postback(INVOICE) | {"token": [sign(INVOICE)]},
    "long": postback(INVOICE, "x" * 50_000),
    "words": postback(INVOICE, "пароль"),
    "another secret": postback(INVOICE, sign(INVOICE, secret="another secret of at least thirty-two bytes")),
    "unsigned": postback(INVOICE, sign(INVOICE, header={"alg": "none"})),
    "no signature": postback(INVOICE, sign(INVOICE, header={"alg": "none"}).rpartition(".")[0] + "."),
    "HS512": postback(INVOICE, sign(INVOICE, header={"alg": "HS512"}, digest="sha512")),
    "RS256": postback(INVOICE, sign(INVOICE, header={"alg": "RS256"})),
    "another invoice": postback(INVOICE, sign("ABCDEFGH")),
    "no expiry": postback(INVOICE, sign(INVOICE, exp=None)),
    "expiry in words": postback(INVOICE, sign(INVOICE, exp="soon")),
    "endless expiry": postback(INVOICE, sign(INVOICE, exp=10**400)),
    "far expiry": postback(INVOICE, sign(INVOICE, expires_in=86_400)),
}


async def test_forged_postbacks_are_unauthorized_and_leave_no_trace(
    site: Site, db: Database, payment_id: UUID
) -> None:
    for how, body in FORGED.items():
        assert await answer_to(site, json=body) == (401, {"message": "Unauthorized"}), how
    assert await events(db) == []
    assert await wakes(db, payment_id) == 0
    assert site.hints == []
    assert count_of(site, "untrusted") == len(FORGED)


def signed_with(more: str) -> bytes:
    return f'{{"invoice_id": "{INVOICE}", "token": "{sign(INVOICE)}", {more}}}'.encode()


MALFORMED = {
    "nothing": b"",
    "words": b"hello",
    "list": b"[]",
    "cut": signed_with('"a": 1')[:-1],
    "key twice": signed_with('"status": "success", "status": "fail"'),
    "NaN": signed_with('"amount": NaN'),
    "huge fraction": signed_with('"amount": 1e400'),
    "5,000 digits": signed_with('"amount": ' + "9" * 5_000),
    "deep": signed_with('"a": ' + "[" * 30_000 + "]" * 30_000),
    "no UTF-8": signed_with('"a": "\N{LATIN SMALL LETTER E WITH ACUTE}"').decode().encode("latin-1"),
    "lone surrogate": signed_with('"a": "\\ud800"'),
    "NUL": signed_with('"a": "\\u0000"'),
    "two invoices": signed_with('"invoice_info": {"uuid": "INV-ABCDEFGH"}'),
}


async def test_malformed_postbacks_are_bad_requests_and_leave_no_trace(
    site: Site, db: Database, payment_id: UUID
) -> None:
    for how, body in MALFORMED.items():
        assert await answer_to(site, data=body, headers=JSON) == (400, {"message": "Bad Request"}), how
    assert await events(db) == []
    assert await wakes(db, payment_id) == 0
    assert count_of(site, "malformed") == len(MALFORMED)


async def test_only_post_is_allowed(site: Site) -> None:
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"):
        async with site.client.request(method, site.url + POSTBACK) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST"), method


async def test_other_content_types_are_unsupported(site: Site, db: Database) -> None:
    body = json.dumps(postback(INVOICE)).encode()
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/json; charset=utf-16"):
        refused = await answer_to(site, data=body, headers={"Content-Type": kind})
        assert refused == (415, {"message": "Unsupported Media Type"}), kind
    assert await events(db) == []


async def test_compressed_postback_is_unsupported_and_never_unpacked(site: Site, db: Database) -> None:
    bomb = gzip.compress(bytes(20_000_000))
    for encoding in ("gzip", "deflate", "br", "x-unknown"):
        status, _ = await answer_to(site, data=bomb, headers=JSON | {"Content-Encoding": encoding})
        assert status == 415, encoding
    assert await events(db) == []


async def test_64_kib_are_taken_and_a_byte_more_is_too_large(
    site: Site, db: Database, payment_id: UUID
) -> None:
    token = sign(INVOICE)
    room = 64 * 1024 - len(json.dumps(postback(INVOICE, token, padding="")))
    largest = json.dumps(postback(INVOICE, token, padding="x" * room)).encode()
    assert len(largest) == 64 * 1024

    assert (await answer_to(site, data=largest, headers=JSON))[0] == 200
    assert await answer_to(site, data=largest + b" ", headers=JSON) == (
        413,
        {"message": HTTPStatus(413).phrase},
    )
    assert count_of(site, "too_large") == 1


async def test_body_without_a_length_is_counted_as_it_comes(site: Site, db: Database) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 8_192

    status, _ = await answer_to(site, data=endless(), headers=JSON)
    assert status == 413
    assert await events(db) == []


async def test_too_large_by_its_own_word_is_refused_before_the_body_comes(site: Site) -> None:
    head = f"POST {POSTBACK} HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n"
    assert (await say(site, head.encode())).startswith(b"HTTP/1.1 413")


async def test_slow_body_is_given_up_and_its_connection_closed(open_site: OpenSite, db: Database) -> None:
    site = await open_site(db, patience=0.2)
    head = f"POST {POSTBACK} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    assert (await say(site, head.encode())).startswith(b"HTTP/1.1 408")
    assert count_of(site, "slow") == 1


async def test_body_that_breaks_off_is_no_bug(site: Site, db: Database) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", site.port)
    head = f"POST {POSTBACK} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    with capture_logs() as logs:
        writer.write(head.encode())
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        async with asyncio.timeout(5):
            while not count_of(site, "malformed"):  # noqa: ASYNC110 - nobody is left to be answered
                await asyncio.sleep(0.01)
    assert [entry["log_level"] for entry in logs] == ["warning"]


# The database is away


async def test_without_the_database_the_sender_is_asked_to_come_again(
    open_site: OpenSite, no_database: Database
) -> None:
    site = await open_site(no_database)
    async with site.post(POSTBACK, json=postback(INVOICE)) as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert await answer.json() == {"message": "Service Unavailable"}
    assert site.hints == []
    assert count_of(site, "database_away") == 1


async def test_forged_postbacks_never_reach_the_database(open_site: OpenSite, no_database: Database) -> None:
    site = await open_site(no_database)
    assert (await answer_to(site, json=postback(INVOICE, "forged")))[0] == 401


async def test_flood_leaves_connections_for_the_customers(open_site: OpenSite) -> None:
    """Of a database that accepts and then says nothing, a flood takes six connections and no more."""
    waiting = 0
    enough = asyncio.Event()

    async def keep_waiting(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting
        waiting += 1
        await enough.wait()
        writer.close()

    async with await asyncio.start_server(keep_waiting, "127.0.0.1", 0) as server:
        db = Database(f"postgresql://x@127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
        site = await open_site(db)
        flood = [asyncio.create_task(answer_to(site, json=postback(INVOICE))) for _ in range(30)]
        await asyncio.sleep(1)
        assert waiting == 6
        enough.set()
        assert await asyncio.gather(*flood) == [(503, {"message": "Service Unavailable"})] * 30
        await db.dispose()


async def test_read_only_database_acknowledges_nothing(site: Site, db: Database, payment_id: UUID) -> None:
    name = (await shop.row(db, "SELECT current_database() AS name"))["name"]
    async with db.begin() as session:
        await session.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    await db.dispose()
    status, _ = await answer_to(site, json=postback(INVOICE))
    assert status == 503
    assert site.hints == []


# The log


async def test_flood_of_forgeries_is_one_line_without_their_tokens(site: Site) -> None:
    forged = sign(INVOICE, secret="another secret of at least thirty-two bytes")
    with capture_logs() as logs:
        await asyncio.gather(*(answer_to(site, json=postback(INVOICE, forged)) for _ in range(30)))
        await asyncio.sleep(1.1)
        await answer_to(site, json=postback(INVOICE, forged))
    assert len(logs) <= 3
    assert sum(entry["count"] for entry in logs) == 31
    assert forged not in str(logs)
