"""The console as a process: what it prints, how it ends, and that it says what is wrong in one line."""

import asyncio
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, text

from sandbox import checkout
from sandbox.app import Sandbox, running
from sandbox.invoices import Invoice
from sandbox.world import Credentials, World
from services import events
from services.config import Settings
from services.cryptocloud import CryptoCloud
from services.db import Database
from services.migrate import head_revision
from services.postbacks import Postback
from services.settlement import settle
from tests.console import ROOT, SECRETS, Console
from tests.shop import MONTH, customer, fact, invoice, payment, row, rows


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with running(World(Credentials(api_key=SECRETS["CRYPTOCLOUD_API_KEY"], shop_id="S" * 16))) as box:
        yield box


@pytest.fixture
def console(database: URL, sandbox: Sandbox, tmp_path: Path) -> Console:
    return Console(tmp_path, database, CRYPTOCLOUD_API_URL=sandbox.url)


async def sold(sandbox: Sandbox, order_id: str) -> Invoice:
    """Let CryptoCloud have an invoice that was paid."""
    shop = CryptoCloud(
        api_url=sandbox.url,
        api_key=sandbox.world.credentials.api_key,
        shop_id=sandbox.world.credentials.shop_id,
    )
    made = await shop.create_invoice(order_id=order_id, amount=Decimal(99), currency="USD", locale="en")
    await shop.aclose()
    found = sandbox.world.invoices[made.uuid]
    await checkout.pay(sandbox.world, sandbox.client, found, wait=True)
    return found


async def test_what_is_wrong_at_start_is_one_line_and_2(
    tmp_path: Path, database: URL, empty_database: URL
) -> None:
    console = Console(tmp_path, database)
    (tmp_path / "tiers.toml").write_text("currency = ")

    settings, tiers, behind, nowhere = await asyncio.gather(
        console("ledger", "check", BOT_TOKEN=None, ADMIN_IDS="me"),
        console("tiers", "check", "tiers.toml"),
        Console(tmp_path, empty_database)("ledger", "check"),
        console("ledger", "check", DATABASE_URL="", DATA_DIR="here"),
    )

    assert settings.refused(2).startswith("BOT_TOKEN is required; ADMIN_IDS must be")
    assert tiers.refused(2).startswith("tiers.toml: not valid TOML")
    assert "run python -m services migrate" in behind.refused(2)
    assert "there is no database in here yet" in nowhere.refused(2)
    assert not (tmp_path / "here").exists()


async def test_prices_are_shown_without_any_other_setting(tmp_path: Path) -> None:
    nothing = Console(tmp_path)
    nothing.settings = {}
    (tmp_path / ".env").write_text("TIERS_FILE=ours.toml\n")
    shutil.copy(ROOT / "tiers.toml", tmp_path / "ours.toml")
    (tmp_path / "other.toml").write_text((ROOT / "tiers.toml").read_text().replace("price = 99", "price = 7"))

    ours, other = await asyncio.gather(
        nothing("tiers", "check", "--json"), nothing("tiers", "check", "other.toml")
    )

    assert (ours.code, ours.json["currency"], ours.json["periods"]["year"]["days"]) == (0, "USD", 365)
    prices = {tier["code"]: tier["prices"] for tier in ours.json["tiers"]}
    assert prices["pro"] == {"month": "99.00", "quarter": "282.15", "year": "950.40"}
    assert prices["free"] == {}
    assert (other.code, other.out.splitlines()[0].split()[:3]) == (0, ["TIER", "TITLE", "REQUESTS"])
    pro = next(line for line in other.out.splitlines() if line.startswith("pro "))
    assert pro.split() == ["pro", "Pro", "100000", "7.00", "19.95", "67.20"]


async def test_migrations_are_applied_and_tried(tmp_path: Path, empty_database: URL) -> None:
    changed = tmp_path / "changed"
    for folder in ("services", "migrations"):
        shutil.copytree(ROOT / folder, changed / folder, ignore=shutil.ignore_patterns("__pycache__"))
    with (changed / "services" / "models.py").open("a") as models:
        models.write('\nusers.append_column(Column("shoe_size", Integer, comment="Not in any migration"))\n')
    nothing = Console(tmp_path)
    nothing.settings = {}

    applied, agree, differ = await asyncio.gather(
        Console(tmp_path, empty_database)("migrate", "--json"),
        nothing("migrate", "--check"),
        nothing("migrate", "--check", "--json", PYTHONPATH=str(changed)),
    )

    assert (applied.code, applied.json) == (0, {"revision": head_revision()})
    assert (agree.code, agree.err) == (0, "")
    assert "up, down and up again" in agree.out
    assert (differ.code, len(differ.json)) == (1, 1)
    assert "shoe_size" in differ.json[0]
    assert "differ in 1 places" in differ.err


async def test_time_is_given_once_for_a_key_and_taken_with_a_reason(console: Console, db: Database) -> None:
    await customer(db, 7)
    give = ("grant", "7", "pro", "month", "--reason", "a prize", "--key", "prize-7", "--json")

    first = await console(*give)
    again = await console(*give)
    shown = await console("ledger", "show", "7", "--json")
    taken = await console("revoke", "7", "--reason", "a mistake")

    assert (first.code, first.json) == (again.code, again.json)
    assert (first.json["user_id"], first.json["tier"], first.json["key"]) == (7, "pro", "prize-7")
    (entry,) = shown.json["entries"]
    assert (entry["kind"], entry["seconds"], entry["actor"], entry["reason"]) == (
        "grant", MONTH, "console", "a prize",
    )  # fmt: skip
    assert shown.json["ends_at"] == first.json["ends_at"] == entry["ends_at"]
    assert entry["ends_at"].endswith("+00:00")
    assert (taken.code, taken.out) == (0, "7 has no paid time any more\n")
    assert [one["kind"] for one in await rows(db, "SELECT kind FROM subscription_ledger ORDER BY id")] == [
        "grant",
        "revoke",
    ]
    assert [one["actor"] for one in await rows(db, "SELECT actor FROM admin_audit")] == ["console"] * 2


async def test_what_cannot_be_done_is_refused_with_1(console: Console, db: Database) -> None:
    await customer(db, 7)

    stranger, poor, unknown, event, reason = await asyncio.gather(
        console("grant", "8", "pro", "month", "--reason", "x"),
        console("revoke", "7", "--reason", "x"),
        console("payment", "show", "INV-NOTHING1"),
        console("events", "replay", "1"),
        console("revoke", "7", "--reason", "  "),
    )

    assert "Telegram id 8" in stranger.refused()
    assert "no time left" in poor.refused()
    assert "there is no payment INV-NOTHING1" in unknown.refused()
    assert "there is no event 1" in event.refused()
    assert (reason.code, "it must say something" in reason.err) == (2, True)
    assert await rows(db, "SELECT id FROM admin_audit") == []


async def test_a_payment_is_shown_by_any_of_its_names_with_all_that_happened(
    console: Console, db: Database, settings: Settings
) -> None:
    await customer(db, 7)
    payment_id, uuid = await invoice(db, 7)
    said = {"amount": 2.1, "invoice_info": {"status": "paid\x1b[31m\nforged line"}}
    await events.record_postback(db, Postback(uuid, None, "paid", said, expired=False))
    await settle(db, [fact(uuid, amount_paid=Decimal("99.5"), coin="USDT_TRC20")], settings)

    by_invoice, by_number = await asyncio.gather(
        console("payment", "show", f"INV-{uuid}", "--json"),
        console("payment", "show", payment_id.hex[:10].upper()),
    )

    told: dict[str, Any] = by_invoice.json
    assert (told["id"], told["number"], told["status"], told["amount"], told["currency"]) == (
        str(payment_id), payment_id.hex[:10].upper(), "paid", "99.00", "USD",
    )  # fmt: skip
    assert told["provider"]["amount_paid"] == "99.5"
    assert [change["new_status"] for change in told["history"]] == ["pending", "paid"]
    assert [entry["kind"] for entry in told["ledger"]] == ["payment"]
    assert [event["outcome"] for event in told["events"]] == ["woken"]
    assert f"receipt:{payment_id}" in [one["key"] for one in told["notifications"]]
    assert (by_number.code, by_number.err) == (0, "")
    lines = by_number.out.splitlines()
    assert {"status    paid", "price     99.00 USD", "received  99.5 USDT_TRC20"} <= set(lines[:12])
    for title in ("history", "ledger", "postbacks", "notifications", "cryptocloud"):
        assert title in lines
    assert "\x1b" not in by_number.out
    assert not any(line.startswith("forged") for line in lines)


async def test_asking_now_settles_once(console: Console, db: Database, sandbox: Sandbox) -> None:
    await customer(db, 7)
    payment_id, _ = await invoice(db, 7)
    paid = await sold(sandbox, str(payment_id))
    async with db.begin() as session:
        await session.execute(text("UPDATE payments SET invoice_uuid = :uuid"), {"uuid": paid.uuid})

    first = await console("payment", "check", str(payment_id))
    again = await console("payment", "check", str(payment_id), "--json")
    sandbox.world.faults.add("cryptocloud", "down", times=None)
    away = await console("payment", "check", str(payment_id))

    assert (first.code, first.out.splitlines()) == (0, ["before: pending", "after:  paid"])
    assert (again.json["before"]["status"], again.json["after"]["status"]) == ("paid", "paid")
    assert len(await rows(db, "SELECT id FROM subscription_ledger")) == 1
    assert "CryptoCloud info" in away.refused()


async def test_a_review_is_closed_by_a_person_once(console: Console, db: Database) -> None:
    await customer(db, 7)
    good, _ = await invoice(db, 7, review=True, review_reason="the invoice is in EUR")
    bad, _ = await invoice(db, 7, review=True, review_reason="the invoice is for 1")

    accepted, rejected = await asyncio.gather(
        console("payment", "accept", str(good), "--reason", "the customer wrote"),
        console("payment", "reject", str(bad), "--reason", "a test", "--json"),
    )
    again = await console("payment", "reject", str(good), "--reason", "no")

    assert (accepted.code, accepted.out) == (0, f"{good.hex[:10].upper()}: paid\n")
    assert (rejected.json["status"], rejected.json["verdict"]) == ("canceled", "rejected")
    assert "waits for no decision" in again.refused()
    entry = await row(db, "SELECT payment_id, actor, reason FROM subscription_ledger")
    assert entry == {"payment_id": good, "actor": "console", "reason": "the customer wrote"}


async def test_money_without_a_payment_is_found_and_given_to_its_customer(
    console: Console, db: Database, sandbox: Sandbox
) -> None:
    await customer(db, 7)
    lost = await sold(sandbox, "an order from before the backup")
    name = f"INV-{lost.uuid}"

    found = await console("reconcile")
    adopted = await console("payment", "adopt", name, "--user", "7", "--tier", "pro", "--period", "month")
    settled = await console("payment", "check", name, "--json")
    after = await console("reconcile", "--json")

    assert (found.code, name in found.out, "payment adopt" in found.err) == (1, True, True)
    assert (adopted.code, "python -m services payment check" in adopted.out) == (0, True)
    after_check = settled.json["after"]
    assert (after_check["user_id"], after_check["invoice_uuid"]) == (7, lost.uuid)
    assert (after.code, after.json["unclaimed"], after.json["new"]) == (0, [], [])


async def test_postbacks_are_listed_and_can_wake_their_payment_again(console: Console, db: Database) -> None:
    await customer(db, 7)
    payment_id, uuid = await invoice(db, 7)
    for about in (uuid, "STRANGER"):
        await events.record_postback(db, Postback(about, None, "paid", {"status": "success"}, expired=False))
    known, unknown = (one["id"] for one in await rows(db, "SELECT id FROM webhook_events ORDER BY id"))

    all_of_them, of_one, woken, lost = await asyncio.gather(
        console("events", "list"),
        console("events", "list", "--invoice", f"inv-{uuid}", "--limit", "5", "--json"),
        console("events", "replay", str(known)),
        console("events", "replay", str(unknown)),
    )

    assert [line.split()[0] for line in all_of_them.out.splitlines()] == ["ID", str(unknown), str(known)]
    assert [(event["id"], event["outcome"]) for event in of_one.json] == [(known, "woken")]
    assert "is woken" in woken.out
    assert (await payment(db, payment_id))["wake"] == 2
    assert "no payment of ours has INV-STRANGER" in lost.refused()


async def test_books_that_do_not_add_up_are_listed_with_1(
    console: Console, db: Database, settings: Settings
) -> None:
    await customer(db, 7)
    _, uuid = await invoice(db, 7)
    await settle(db, [fact(uuid)], settings)

    well = await console("ledger", "check", "--json")
    async with db.begin() as session:
        await session.execute(text("UPDATE subscriptions SET tier = 'business' WHERE user_id = 7"))
    ill = await console("ledger", "check")

    assert (well.code, well.json) == (0, [])
    assert (ill.code, ill.out.splitlines()[1].split()[:3]) == (1, ["7", "has", "business"])
    assert ill.err == "the books differ in 1 places\n"


async def test_whoever_is_interrupted_leaves_without_a_traceback(tmp_path: Path) -> None:
    console = Console(tmp_path, DATABASE_URL="postgresql://shop:canary@127.0.0.1:9/shop")
    started = await asyncio.gather(console.start("migrate"), console.start("migrate"))
    for process, told in zip(started, (signal.SIGINT, signal.SIGTERM), strict=True):
        assert process.stderr is not None
        assert b"waiting for the database" in await process.stderr.readline()
        process.send_signal(told)
    for process in started:
        out, err = await process.communicate()
        assert (process.returncode, out, err) == (130, b"", b"interrupted\n")


async def test_the_console_knows_nothing_of_the_bots_framework(tmp_path: Path) -> None:
    asked = (
        "import sys, services.__main__ as console; print('aiogram' in sys.modules, 'aiohttp' in sys.modules)"
    )

    ran = await Console(tmp_path)(program=(sys.executable, "-c", asked))

    assert (ran.code, ran.out) == (0, "False False\n")
