"""The recount: what was paid and what was told, by the outside world's own records, beside what our tables say.

The books of the outside decide: an invoice counts as paid because CryptoCloud has the money, and a receipt as
told because it stands in the customer's chat.
"""

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import floor
from typing import Any
from uuid import UUID

from services import ledger
from services.ledger import Difference
from services.tiers import PriceList
from tests.chaos.customers import Crowd, Customer, Deal
from tests.chaos.diary import Diary
from tests.chaos.merchant import Merchant
from tests.chaos.replicas import Replicas
from tests.shop import rows

LEASE = 2.0
AFTERMATH = 15.0  # seconds in which a request may still suffer from an outage
_NUMBER = re.compile(r"\b[0-9A-F]{10}\b")
_RECEIPT = re.compile(r"\bis active\b|\bактивна\b")
# What may stand in the log as an error although nothing is wrong with our code.
BUGS = (
    "a worker's round failed",
    "a part of the process broke",
    "a payment could not be settled",
    "unhandled",
)

Row = dict[str, Any]


@dataclass
class Books:
    """What our tables hold, read once."""

    payments: dict[str, Row]
    ledger: list[Row]
    subscriptions: dict[int, Row]
    notifications: dict[str, Row]
    differences: list[Difference]
    stuck: list[Row]
    reviews: int
    unclaimed: int


@dataclass
class Verdicts:
    """What was found; `wrong` is empty where the promise was kept."""

    figures: list[tuple[str, object]] = field(default_factory=list)
    wrong: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def figure(self, name: str, value: object) -> None:
        self.figures.append((name, value))

    def complain(self, about: str, what: str) -> None:
        self.wrong[about].append(what)


async def read_books(crowd: Crowd) -> Books:
    """Read our tables through a fresh connection."""
    db = crowd.play.db
    return Books(
        payments={
            one["invoice_uuid"]: one
            for one in await rows(db, "SELECT * FROM payments WHERE invoice_uuid IS NOT NULL")
        },
        ledger=await rows(db, "SELECT * FROM subscription_ledger ORDER BY id"),
        subscriptions={
            one["telegram_id"]: one
            for one in await rows(db, "SELECT telegram_id, tier, state, ends_at FROM entitlements")
        },
        notifications={one["key"]: one for one in await rows(db, "SELECT * FROM notifications")},
        differences=await ledger.check(db),
        stuck=await rows(
            db,
            """
            SELECT 'payment' AS what, id::text AS id FROM payments
             WHERE lease_until < now() - interval '15 s' AND next_check_at < now() - interval '15 s'
            UNION ALL SELECT 'notification', key FROM notifications
             WHERE state = 'due' AND lease_until < now() - interval '15 s' AND next_at < now() - interval '15 s'
            """,
        ),
        reviews=(await rows(db, "SELECT count(*) AS n FROM payments WHERE review"))[0]["n"],
        unclaimed=(await rows(db, "SELECT count(*) AS n FROM unclaimed_invoices WHERE payment_id IS NULL"))[
            0
        ]["n"],
    )


async def is_drained(crowd: Crowd) -> bool:
    """Whether everything that was paid is granted and everything is said."""
    paid = [deal.invoice.uuid for deal in crowd.deals.values() if deal.invoice.is_settled]
    open_ones = await rows(
        crowd.play.db,
        """
        SELECT (SELECT count(*) FROM payments WHERE invoice_uuid = ANY(:paid) AND status = 'paid') AS paid,
               (SELECT count(*) FROM notifications WHERE state IN ('due', 'undeliverable')) AS unsaid,
               (SELECT count(*) FROM unclaimed_invoices WHERE payment_id IS NULL) AS unclaimed
        """,
        paid=paid,
    )
    return open_ones == [{"paid": len(paid), "unsaid": 0, "unclaimed": 0}]


@dataclass
class Recount:
    """One comparison of the outside's records with our books."""

    crowd: Crowd
    books: Books
    merchant: Merchant
    replicas: Replicas
    diary: Diary
    price_list: PriceList
    found: Verdicts = field(default_factory=Verdicts)

    def run(self) -> Verdicts:
        """Compare everything."""
        self._count_grants()
        self._count_ends()
        self._count_receipts()
        self._count_leases_and_money()
        self._count_answers()
        self._read_logs()
        return self.found

    @property
    def _paid(self) -> list[Deal]:
        return [deal for deal in self.crowd.deals.values() if deal.invoice.is_settled]

    def _grants_of(self, deal: Deal) -> list[Row]:
        payment = self.books.payments.get(deal.invoice.uuid)
        return [
            one for one in self._payment_rows if payment is not None and one["payment_id"] == payment["id"]
        ]

    @property
    def _payment_rows(self) -> list[Row]:
        return [one for one in self.books.ledger if one["kind"] == "payment"]

    def _count_grants(self) -> None:
        found, paid = self.found, self._paid
        granted = Counter[UUID](one["payment_id"] for one in self._payment_rows)
        times = Counter[int]()
        for deal in paid:
            payment = self.books.payments.get(deal.invoice.uuid)
            count = granted[payment["id"]] if payment else 0
            times[count] += 1
            if count == 0:
                found.complain("granted never", f"{deal.invoice.uuid} of {deal.customer}: {deal.intention}")
            if count > 1:
                found.complain("granted twice", f"{deal.invoice.uuid} of {deal.customer}: {count} times")
        found.figure("invoices shown", len(self.crowd.deals))
        found.figure("invoices paid, by CryptoCloud's records", len(paid))
        by_person = Counter(deal.customer for deal in paid)
        found.figure("  of them on the 20 busiest customers", sum(n for _, n in by_person.most_common(20)))
        found.figure("customers", len(self.crowd.people))
        together = Counter((one["user_id"], one["created_at"]) for one in self._payment_rows)
        found.figure("pairs of one customer in one batch", sum(count // 2 for count in together.values()))
        found.figure("granted once", times[1])
        found.figure("granted twice", sum(n for count, n in times.items() if count > 1))
        found.figure("granted never", times[0])
        by_id = {one["id"]: one for one in self.books.payments.values()}
        for entry in self._payment_rows:
            payment = by_id.get(entry["payment_id"])
            bought = self.crowd.deals.get(payment["invoice_uuid"]) if payment else None
            if bought is None or not bought.invoice.is_settled:
                found.complain("I1", f"{entry['idempotency_key']} has no money behind it")
                continue
            _, period = self.price_list.on_sale(bought.tier, bought.period)
            said = (entry["user_id"], entry["tier"], entry["seconds"], entry["amount"], entry["currency"])
            ordered = (bought.customer, bought.tier, period.seconds, bought.invoice.amount_in_fiat, "USD")
            if said != ordered:
                found.complain("I1", f"{entry['idempotency_key']} gives {said}")
        for key, count in Counter(one["idempotency_key"] for one in self.books.ledger).items():
            if count > 1:
                found.complain("I2", f"{key} stands in the book {count} times")

    def _count_ends(self) -> None:
        wrong = 0
        for one in self.crowd.people.values():
            expected = self._end_of(one)
            stands = self.books.subscriptions.get(one.id)
            if (stands["ends_at"] if stands else None) != expected:
                wrong += 1
                self.found.complain("wrong end", f"{one.id}: {stands and stands['ends_at']}, not {expected}")
            if expected is not None and (stands is None or stands["state"] != "active"):
                self.found.complain("I6", f"{one.id} has paid and is not active")
        self.found.figure("wrong end dates (model recomputed)", wrong)
        for entry in self.books.ledger:
            if entry["kind"] in {"revoke", "refund"}:
                self.found.complain("I6", f"{entry['idempotency_key']} takes time away")
        for difference in self.books.differences:
            self.found.complain("I3", f"{difference.user_id}: {difference.what}")
        self.found.figure("ledger check", "in order" if not self.books.differences else "DIFFERS")

    def _end_of(self, one: Customer) -> datetime | None:
        """Recompute an end from what was paid; only the moments of granting are taken from our book."""
        deals = [deal for deal in self._paid if deal.customer == one.id]
        grants = [(entry, deal) for deal in deals for entry in self._grants_of(deal)]
        if not grants:
            return None
        grants.sort(key=lambda pair: pair[0]["id"])
        first: datetime = grants[0][0]["starts_at"]
        earliest = datetime.fromtimestamp(min(deal.invoice.finished or 0 for deal in deals), UTC)
        if not earliest - timedelta(seconds=1) <= first <= datetime.now(UTC):
            self.found.complain("wrong end", f"{one.id} starts at {first}, paid at {earliest}")
        if not one.mixed or len(deals) == 1:
            return first + sum((self._length(deal) for deal in deals), timedelta(0))
        (_, before), (_, after) = grants
        moved = [row for row in self.books.ledger if row["user_id"] == one.id and row["kind"] == "conversion"]
        if len(moved) != 1:
            self.found.complain("wrong end", f"{one.id} changed tiers with {len(moved)} conversions")
            return None
        changed: datetime = moved[0]["starts_at"]
        rest = first + self._length(before) - changed
        micros = Fraction(rest // timedelta(microseconds=1), 1_000_000)
        worth = micros * self._price_per_second(before) / self._price_per_second(after)
        return changed + timedelta(seconds=floor(worth)) + self._length(after)

    def _length(self, deal: Deal) -> timedelta:
        return timedelta(seconds=self.price_list.periods[deal.period].seconds)

    def _price_per_second(self, deal: Deal) -> Fraction:
        return Fraction(deal.invoice.amount_in_fiat) / int(self._length(deal).total_seconds())

    def _count_receipts(self) -> None:
        copies = self._receipts_in_the_journal()
        failed_sends = self._sends_that_failed()
        missing = duplicates = 0
        causes = Counter[str]()
        known = set[str]()
        for deal in self._paid:
            payment = self.books.payments.get(deal.invoice.uuid)
            numbers = {deal.number} | ({payment["id"].hex[:10].upper()} if payment else set())
            known |= numbers
            told = sorted(
                (copy for number in numbers for copy in copies.get((deal.customer, number), ())),
                key=lambda copy: float(copy["at"]),
            )
            if not told:
                missing += 1
                self.found.complain("receipt missing", f"{deal.invoice.uuid} of {deal.customer}")
            if payment is not None:
                self._check_receipt_job(payment)
            for before, after in pairwise(told):
                duplicates += 1
                cause = self._cause_of_copy(before, after, failed_sends, payment)
                causes[cause] += 1
                if cause == "unexplained":
                    when = datetime.fromtimestamp(before["at"], UTC), datetime.fromtimestamp(after["at"], UTC)
                    self.found.complain("duplicate receipt", f"{deal.number} of {deal.customer} at {when}")
                if before["arguments"]["text"] != after["arguments"]["text"] and cause != "restore":
                    self.found.complain("duplicate receipt", f"{deal.number} does not say the same twice")
        for person, number in copies:
            if number not in known:
                self.found.complain("I1", f"{person} got a receipt {number} for nothing")
        self.found.figure("receipts missing", missing)
        self.found.figure("duplicate receipts", duplicates)
        for cause, count in causes.most_common():
            self.found.figure(f"  {cause}", count)

    def _check_receipt_job(self, payment: Row) -> None:
        job = self.books.notifications.get(f"receipt:{payment['id']}")
        if job is None:
            self.found.complain("I4", f"no receipt is written for {payment['id']}")
        elif job["state"] not in {"sent", "undeliverable"}:
            self.found.complain("I5", f"{job['key']} is {job['state']}: {job['last_error']}")

    def _receipts_in_the_journal(self) -> dict[tuple[int, str], list[Row]]:
        found = defaultdict[tuple[int, str], list[Row]](list)
        for call in self.crowd.world.bot_calls:
            if (
                call["method"].lower() != "sendmessage"
                or call["status"] != 200
                or call.get("fault") in _NOT_DELIVERED
            ):
                continue
            words = str(call["arguments"].get("text", ""))
            number = _NUMBER.search(words)
            if number and _RECEIPT.search(words):
                found[(int(call["chat_id"]), number[0])].append(call)
        return found

    def _sends_that_failed(self) -> dict[str, list[float]]:
        """When which notification was not taken, or its sender was overtaken, in the words of the log."""
        found = defaultdict[str, list[float]](list)
        for entry in self._log_entries():
            if entry.get("event") in {
                "Telegram did not take a message",
                "somebody else took over a message that was sent",
            }:
                at = datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00")).timestamp()
                found[f"{entry['key']}|{entry['event']}"].append(at)
        return found

    def _cause_of_copy(
        self, before: Row, after: Row, failed_sends: dict[str, list[float]], payment: Row | None
    ) -> str:
        began, ended = float(before["at"]) - 0.2, float(after["at"])
        if began < self.merchant.restored_at < ended:
            return "restore"
        if before.get("fault") in {"deliver_then_close", "deliver_then_hang"}:
            return "answer lost"
        key = f"receipt:{payment['id']}" if payment else ""
        for words, cause in (
            ("Telegram did not take a message", "answer too late for the sender"),
            ("somebody else took over a message that was sent", "sender slower than its lease"),
        ):
            # A busy outside world reads a call after its caller has given it up.
            if any(
                began - LEASE <= at <= ended + LEASE + 10 for at in failed_sends.get(f"{key}|{words}", ())
            ):
                return cause
        soon = min(ended, began + float(before.get("took") or 0) + LEASE + 1.5)
        for kind, cause in (
            ("kill -9", "sender killed"),
            ("frozen", "sender frozen"),
            ("database", "database away at the mark"),
        ):
            if self.diary.between(kind, began, soon):
                return cause
        return "unexplained"

    def _count_leases_and_money(self) -> None:
        for one in self.books.stuck:
            self.found.complain("I8", f"{one['what']} {one['id']} is leased for ever")
        came = sum((deal.invoice.amount_in_fiat for deal in self._paid), Decimal(0))
        granted = sum((one["amount"] for one in self._payment_rows), Decimal(0))
        self.found.figure("money that came, money granted", f"{came} USD, {granted} USD")
        if came != granted or self.books.reviews or self.books.unclaimed:
            self.found.complain(
                "I7",
                f"{came} came, {granted} granted, {self.books.reviews} reviews, {self.books.unclaimed} unclaimed",
            )
        if self.merchant.restored_at:
            self.found.figure("orders given back by hand after the restore", len(self.merchant.adopted))
            self.found.figure("  of them accepted under another number", self.merchant.accepted)

    def _count_answers(self) -> None:
        answers = Counter[str]()
        for sent in self.crowd.world.postbacks:
            if sent["status"] is None:
                continue
            answers[f"{sent['status']}"] += 1
            if sent["status"] == 500:
                self.found.complain("I9", f"a postback was answered {sent['status']}")
            if sent["status"] == 503 and not self._is_suffering(sent):
                self.found.complain("I9", f"a postback was answered 503 at {sent['at']}")
            if sent["mode"] in {"forged", "no_token", "garbage"} and sent["status"] == 200:
                self.found.complain("I9", f"a {sent['mode']} postback was taken")
        self.found.figure("postbacks by answer", _list(answers))
        updates = Counter[str]()
        for call in self.crowd.world.bot_calls:
            if call["kind"] == "webhook" and call["status"] is not None:
                updates[str(call["status"])] += 1
                troubled = self._is_suffering(call) or self.diary.between(
                    "telegram", call["at"] - 12, call["at"] + 12
                )
                if call["status"] >= 500 and not troubled:
                    self.found.complain("I9", f"an update was answered {call['status']} at {call['at']}")
        self.found.figure("updates by answer", _list(updates))

    def _is_suffering(self, call: Row) -> bool:
        began, ended = call["at"] - AFTERMATH, call["at"] + float(call.get("took") or 0)
        return any(
            self.diary.between(kind, began, ended) for kind in ("database", "frozen", "restore", "kill")
        )

    def _log_entries(self) -> list[Row]:
        found = []
        for bot in self.replicas.play.bots:
            for line in bot.log:
                try:
                    entry = json.loads(line)
                except ValueError:
                    entry = {"event": line, "level": "none"}
                if isinstance(entry, dict):
                    found.append(entry)
        return found

    def _read_logs(self) -> None:
        errors = Counter[str]()
        for entry in self._log_entries():
            if entry.get("level") in {"error", "critical"}:
                errors[str(entry.get("event"))] += 1
                if any(words in str(entry.get("event")) for words in BUGS):
                    said = str(entry.get("exception") or entry.get("exc_info") or "")[-600:]
                    self.found.complain("bug in the log", f"{entry['event']}: {said}")
        self.found.figure("errors in the logs", _list(errors))


_NOT_DELIVERED = {"close", "down", "too_many_requests", "server_error", "bad_gateway", "empty"}


def _list(counted: Counter[str]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counted.most_common()) or "none"


def told_to_be_active(crowd: Crowd, since: float) -> set[int]:
    """Who was told by /status that they have something, by Telegram's records."""
    return {
        int(call["chat_id"])
        for call in crowd.world.bot_calls
        if call["at"] >= since
        and call["method"].lower() == "sendmessage"
        and call["status"] == 200
        and re.search(r"active until|активна до", str(call["arguments"].get("text", "")))
    }
