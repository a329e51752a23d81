"""The tables, as SQLAlchemy Core: what is stored, what it means, and the query for which each index exists.

There are no ORM entities. Triggers and the `entitlements` view stand in the migrations.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata: Final = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)


def _now(name: str, comment: str) -> Column[Any]:
    return Column(
        name, DateTime(timezone=True), nullable=False, server_default=text("now()"), comment=comment
    )


def _moment(name: str, comment: str) -> Column[Any]:
    return Column(name, DateTime(timezone=True), comment=comment)


def _flag(name: str, comment: str) -> Column[Any]:
    return Column(name, Boolean, nullable=False, server_default=text("false"), comment=comment)


def _one_of(column: str, *words: str) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(word) for word in words)})", name=f"{column}_known")


def _is_money(column: str) -> CheckConstraint:
    return CheckConstraint(f"{column} >= 0 AND {column} <> 'NaN'", name=f"{column}_is_money")


users = Table(
    "users",
    metadata,
    Column("telegram_id", BigInteger, primary_key=True, autoincrement=False, comment="Telegram's user id"),
    Column("username", Text, comment="@name without the @, as last seen"),
    Column("first_name", Text, nullable=False, server_default="", comment="As last seen; never trusted"),
    Column("language", Text, nullable=False, server_default="en", comment="Language of our texts"),
    _flag("language_chosen", "The person chose the language with /language, so Telegram's is not followed"),
    Column(
        "reachable",
        Boolean,
        nullable=False,
        server_default=text("true"),
        comment="False after Telegram said blocked, deactivated or never started",
    ),
    _moment("parked_until", "Telegram asked us not to write to this chat before"),
    _now("created_at", "First seen"),
    _now("updated_at", "Last change; kept by trigger"),
    _one_of("language", "en", "ru"),
    comment="Everybody who has ever spoken to the bot, and its admins",
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column(
        "user_id",
        BigInteger,
        ForeignKey("users.telegram_id", ondelete="RESTRICT"),
        primary_key=True,
        autoincrement=False,
        comment="Whose",
    ),
    Column("tier", Text, nullable=False, comment="Code of the tier last paid for or granted"),
    _moment("ends_at", "End of paid time; null for the free tier. Active means now() < ends_at"),
    _now("created_at", "First /start"),
    _now("updated_at", "Last change; kept by trigger"),
    comment="Where each customer stands; rebuilt from subscription_ledger by `ledger check`",
)

payments = Table(
    "payments",
    metadata,
    Column("id", Uuid, primary_key=True, comment="Also the order id that CryptoCloud knows"),
    Column(
        "user_id",
        BigInteger,
        ForeignKey("users.telegram_id", ondelete="RESTRICT"),
        nullable=False,
        comment="Who pays",
    ),
    Column("tier", Text, nullable=False, comment="Tier bought, frozen at the order"),
    Column("period", Text, nullable=False, comment="Code of the period bought, frozen at the order"),
    Column("period_seconds", BigInteger, nullable=False, comment="Length bought, frozen at the order"),
    Column("amount", Numeric, nullable=False, comment="Price, frozen at the order"),
    Column("currency", Text, nullable=False, comment="Fiat code of the price, frozen at the order"),
    Column("status", Text, nullable=False, server_default="creating", comment="See services.payments.Status"),
    _flag("overpaid", "More arrived than was due"),
    _flag("late", "Paid after it had expired or was canceled"),
    _flag("review", "A person has to decide; nothing is granted until then"),
    Column("review_reason", Text, comment="Why a person has to decide"),
    Column("verdict", Text, comment="What the person decided; a rejected payment is never granted"),
    Column("invoice_uuid", Text, unique=True, comment="CryptoCloud's id without INV-"),
    Column("invoice_url", Text, comment="CryptoCloud's link for the customer"),
    _moment("expires_at", "When the invoice ends, in CryptoCloud's words"),
    _moment("next_check_at", "When to ask CryptoCloud again; null: not watched"),
    _moment("asked_at", "When CryptoCloud was last asked"),
    _moment("checked_at", "When CryptoCloud last answered about it"),
    Column("wake", Integer, nullable=False, server_default="0", comment="Counts hints to look sooner"),
    Column("failures", Integer, nullable=False, server_default="0", comment="Checks in a row it was refused"),
    Column("lease_token", Uuid, comment="Which checker holds it"),
    _moment("lease_until", "Until when that checker holds it"),
    Column("provider", JSONB, comment="The most advanced facts that CryptoCloud gave"),
    Column("surplus", Numeric, comment="What was paid above the amount due, in USD"),
    Column("message_id", BigInteger, comment="The order's message in the customer's chat"),
    _flag("superseded", "Too close to its end to be offered again; a newer order took its place"),
    _flag("cancel_requested", "The customer or an admin canceled it"),
    _moment("paid_at", "When it was paid, in CryptoCloud's words, else when first seen paid"),
    _now("created_at", "When it was ordered"),
    _now("updated_at", "Last change; kept by trigger"),
    _one_of("status", "creating", "pending", "partial", "paid", "expired", "canceled", "failed", "refunded"),
    _one_of("verdict", "accepted", "rejected"),
    _is_money("amount"),
    _is_money("surplus"),
    CheckConstraint("period_seconds > 0", name="period_has_length"),
    CheckConstraint("invoice_uuid !~ '^INV-'", name="invoice_uuid_is_short"),
    CheckConstraint("status <> 'pending' OR invoice_uuid IS NOT NULL", name="pending_has_invoice"),
    CheckConstraint("status NOT IN ('paid', 'refunded') OR paid_at IS NOT NULL", name="paid_has_moment"),
    comment="One order each: what was asked for, and how far it got",
)
Index(
    "payments_open_order_key",
    payments.c.user_id,
    payments.c.tier,
    payments.c.period,
    payments.c.amount,
    payments.c.currency,
    unique=True,
    postgresql_where=text("status IN ('creating', 'pending', 'partial') AND NOT superseded"),
    info={"serves": "checkout: ten presses, one invoice"},
)
Index(
    "payments_due_idx",
    payments.c.next_check_at,
    postgresql_where=text("next_check_at IS NOT NULL"),
    info={"serves": "checks: claim what is due"},
)
Index(
    "payments_history_idx",
    payments.c.user_id,
    payments.c.created_at.desc(),
    payments.c.id.desc(),
    info={"serves": "/history: keyset pages, newest first"},
)
Index(
    "payments_revenue_idx",
    payments.c.paid_at,
    postgresql_include=["tier", "currency", "amount"],
    postgresql_where=text("status = 'paid'"),
    info={"serves": "/revenue: sums by moment of payment"},
)
Index(
    "payments_review_idx",
    payments.c.created_at,
    postgresql_where=text("review"),
    info={"serves": "console and health: open review cases"},
)

payment_history = Table(
    "payment_history",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="Order of writing"),
    Column(
        "payment_id",
        Uuid,
        ForeignKey("payments.id", ondelete="RESTRICT"),
        nullable=False,
        index=True,
        comment="Which payment (index: payment show)",
    ),
    Column("old_status", Text, comment="Null when the payment was made"),
    Column("new_status", Text, nullable=False, comment="What it became"),
    _now("changed_at", "When"),
    comment="Every change of a payment's status; written by trigger only",
)

subscription_ledger = Table(
    "subscription_ledger",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="Order of the book"),
    Column(
        "user_id",
        BigInteger,
        ForeignKey("users.telegram_id", ondelete="RESTRICT"),
        nullable=False,
        comment="Whose time",
    ),
    Column("payment_id", Uuid, ForeignKey("payments.id", ondelete="RESTRICT"), comment="What paid for it"),
    Column("kind", Text, nullable=False, comment="payment, grant, revoke, refund or conversion"),
    Column("tier", Text, nullable=False, comment="Tier of this time"),
    Column("seconds", BigInteger, nullable=False, comment="Time given; negative: taken back"),
    Column("starts_at", DateTime(timezone=True), nullable=False, comment="Where this time begins"),
    Column("ends_at", DateTime(timezone=True), nullable=False, comment="The subscription's end after it"),
    Column("amount", Numeric, comment="Money for it"),
    Column("currency", Text, comment="Fiat code of the money"),
    Column("idempotency_key", Text, nullable=False, unique=True, comment="What must not happen twice"),
    Column(
        "actor", Text, nullable=False, server_default="settle", comment="Who: settle, admin:ID or console"
    ),
    Column("reason", Text, comment="Why, in a person's words"),
    _now("created_at", "When it was written"),
    _one_of("kind", "payment", "grant", "revoke", "refund", "conversion"),
    _is_money("amount"),
    CheckConstraint("kind <> 'payment' OR payment_id IS NOT NULL", name="payment_is_named"),
    comment="The book of all time given and taken; append-only, the subscription is its sum",
)
Index(
    "subscription_ledger_payment_id_kind_key",
    subscription_ledger.c.payment_id,
    subscription_ledger.c.kind,
    unique=True,
    info={"serves": "A payment is granted once"},
)
Index(
    "subscription_ledger_user_idx",
    subscription_ledger.c.user_id,
    subscription_ledger.c.id,
    info={"serves": "ledger show, ledger check, conversion"},
)

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="Order of arrival"),
    _now("received_at", "When"),
    Column("invoice_uuid", Text, nullable=False, comment="CryptoCloud's id without INV-"),
    Column("body", JSONB, nullable=False, comment="What was said, without the token"),
    Column("outcome", Text, nullable=False, comment="woken, unknown or expired"),
    _one_of("outcome", "woken", "unknown", "expired"),
    comment="Well-signed postbacks: hints, kept for people; the last 20 of an invoice, 90 days",
)
Index(
    "webhook_events_invoice_idx",
    webhook_events.c.invoice_uuid,
    webhook_events.c.id.desc(),
    info={"serves": "payment show, events list, the postback that came before our row"},
)
Index(
    "webhook_events_received_idx",
    webhook_events.c.received_at,
    postgresql_using="brin",
    info={"serves": "pruning after 90 days"},
)

unclaimed_invoices = Table(
    "unclaimed_invoices",
    metadata,
    Column("invoice_uuid", Text, primary_key=True, comment="CryptoCloud's id without INV-"),
    Column("order_id", Text, comment="The order id that CryptoCloud has for it"),
    Column("provider", JSONB, nullable=False, comment="What CryptoCloud says of it"),
    Column(
        "payment_id",
        Uuid,
        ForeignKey("payments.id", ondelete="RESTRICT"),
        comment="The payment it was given to by `payment adopt`; null: still open",
    ),
    _now("found_at", "When reconcile found it"),
    comment="Money that reached our shop for an order we do not know, such as after a restored backup",
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="Order of writing"),
    Column(
        "user_id",
        BigInteger,
        ForeignKey("users.telegram_id", ondelete="CASCADE"),
        nullable=False,
        comment="To whom",
    ),
    Column("kind", Text, nullable=False, comment="Which text"),
    Column("key", Text, nullable=False, unique=True, comment="What is said once, such as receipt:<payment>"),
    Column("payload", JSONB, nullable=False, server_default="{}", comment="What the text needs"),
    Column("priority", SmallInteger, nullable=False, server_default="5", comment="0 goes first"),
    Column("state", Text, nullable=False, server_default="due", comment="due, sent, undeliverable, dropped"),
    Column("version", Integer, nullable=False, server_default="0", comment="Counts changes of what to say"),
    _now("next_at", "Not before"),
    Column("attempts", Integer, nullable=False, server_default="0", comment="Tries that failed by its fault"),
    Column("lease_token", Uuid, comment="Which notifier holds it"),
    _moment("lease_until", "Until when that notifier holds it"),
    _moment("sent_at", "When Telegram took it"),
    Column("last_error", Text, comment="Why the last try failed"),
    _now("created_at", "When it was written"),
    _one_of("state", "due", "sent", "undeliverable", "dropped"),
    comment="What people are to be told: written with the fact itself, sent after",
)
Index(
    "notifications_due_idx",
    notifications.c.priority,
    notifications.c.next_at,
    notifications.c.id,
    postgresql_where=text("state = 'due'"),
    info={"serves": "notifier: claim, receipts first"},
)
Index(
    "notifications_undeliverable_idx",
    notifications.c.user_id,
    postgresql_where=text("state = 'undeliverable'"),
    info={"serves": "/start and unblock: make due again"},
)

send_budget = Table(
    "send_budget",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False, comment="Always 1"),
    Column("tokens", Numeric, nullable=False, comment="Messages that may still be sent now"),
    Column("refilled_at", DateTime(timezone=True), nullable=False, comment="When that was true"),
    CheckConstraint("id = 1", name="is_single"),
    comment="Telegram's limit of messages a second, shared by all replicas",
)

failed_updates = Table(
    "failed_updates",
    metadata,
    Column("update_id", BigInteger, primary_key=True, autoincrement=False, comment="Telegram's id"),
    Column("attempts", Integer, nullable=False, server_default="1", comment="How often it failed"),
    Column("payload", JSONB, nullable=False, comment="The update as it came"),
    Column("last_error", Text, comment="Why it failed last"),
    _moment("dead_at", "When it was given up"),
    _now("created_at", "When it first failed"),
    comment="Updates that our handlers could not digest; given up after 5 tries and reported",
)

admin_audit = Table(
    "admin_audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="Order of writing"),
    Column("actor", Text, nullable=False, comment="admin:ID or console"),
    Column("action", Text, nullable=False, comment="What was done"),
    Column("subject", Text, nullable=False, comment="To what"),
    Column("details", JSONB, nullable=False, server_default="{}", comment="With which words and numbers"),
    Column("idempotency_key", Text, unique=True, comment="Of a repeatable request, such as an update id"),
    _now("created_at", "When"),
    comment="What people with power did; append-only",
)

ALL_TABLES: Final = tuple(metadata.sorted_tables)
