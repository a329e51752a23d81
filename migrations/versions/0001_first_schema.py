"""The first schema: tables, the triggers that keep the books, and the view for other systems."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INDEXES_SERVE = {
    "notifications_due_idx": "notifier: claim, receipts first",
    "notifications_undeliverable_idx": "/start and unblock: make due again",
    "payment_history_payment_id_idx": "payment show",
    "payments_due_idx": "checks: claim what is due",
    "payments_history_idx": "/history: keyset pages, newest first",
    "payments_open_order_key": "checkout: ten presses, one invoice",
    "payments_revenue_idx": "/revenue: sums by moment of payment",
    "payments_review_idx": "console and health: open review cases",
    "subscription_ledger_payment_id_kind_key": "A payment is granted once",
    "subscription_ledger_user_idx": "ledger show, ledger check, conversion",
    "webhook_events_invoice_idx": "payment show, events list, the postback that came before our row",
    "webhook_events_received_idx": "pruning after 90 days",
}

KEEP_UPDATED_AT = """
CREATE FUNCTION keep_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$
"""

WRITE_PAYMENT_HISTORY = """
CREATE FUNCTION write_payment_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO payment_history (payment_id, old_status, new_status) VALUES (NEW.id, NULL, NEW.status);
    ELSIF OLD.status IS DISTINCT FROM NEW.status THEN
        INSERT INTO payment_history (payment_id, old_status, new_status)
        VALUES (NEW.id, OLD.status, NEW.status);
    END IF;
    RETURN NULL;
END $$
"""

REFUSE_CHANGES = """
CREATE FUNCTION refuse_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$
"""

ENTITLEMENTS = """
CREATE VIEW entitlements AS
SELECT s.user_id AS telegram_id,
       s.tier,
       CASE WHEN s.ends_at IS NULL THEN 'free'
            WHEN now() < s.ends_at THEN 'active'
            ELSE 'expired' END AS state,
       s.ends_at
FROM subscriptions s
"""


def upgrade() -> None:
    op.create_table(
        "admin_audit",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Order of writing"
        ),
        sa.Column("actor", sa.Text(), nullable=False, comment="admin:ID or console"),
        sa.Column("action", sa.Text(), nullable=False, comment="What was done"),
        sa.Column("subject", sa.Text(), nullable=False, comment="To what"),
        sa.Column(
            "details",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="With which words and numbers",
        ),
        sa.Column(
            "idempotency_key",
            sa.Text(),
            nullable=True,
            comment="Of a repeatable request, such as an update id",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("admin_audit_pkey")),
        sa.UniqueConstraint("idempotency_key", name=op.f("admin_audit_idempotency_key_key")),
        comment="What people with power did; append-only",
    )
    op.create_table(
        "failed_updates",
        sa.Column("update_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="Telegram's id"),
        sa.Column(
            "attempts", sa.Integer(), server_default="1", nullable=False, comment="How often it failed"
        ),
        sa.Column(
            "payload",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="The update as it came",
        ),
        sa.Column("last_error", sa.Text(), nullable=True, comment="Why it failed last"),
        sa.Column("dead_at", sa.DateTime(timezone=True), nullable=True, comment="When it was given up"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it first failed",
        ),
        sa.PrimaryKeyConstraint("update_id", name=op.f("failed_updates_pkey")),
        comment="Updates that our handlers could not digest; given up after 5 tries and reported",
    )
    op.create_table(
        "send_budget",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False, comment="Always 1"),
        sa.Column("tokens", sa.Numeric(), nullable=False, comment="Messages that may still be sent now"),
        sa.Column("refilled_at", sa.DateTime(timezone=True), nullable=False, comment="When that was true"),
        sa.CheckConstraint("id = 1", name=op.f("send_budget_is_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("send_budget_pkey")),
        comment="Telegram's limit of messages a second, shared by all replicas",
    )
    op.create_table(
        "users",
        sa.Column(
            "telegram_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="Telegram's user id"
        ),
        sa.Column("username", sa.Text(), nullable=True, comment="@name without the @, as last seen"),
        sa.Column(
            "first_name", sa.Text(), server_default="", nullable=False, comment="As last seen; never trusted"
        ),
        sa.Column(
            "language", sa.Text(), server_default="en", nullable=False, comment="Language of our texts"
        ),
        sa.Column(
            "language_chosen",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="The person chose the language with /language, so Telegram's is not followed",
        ),
        sa.Column(
            "reachable",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="False after Telegram said blocked, deactivated or never started",
        ),
        sa.Column(
            "parked_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Telegram asked us not to write to this chat before",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="First seen",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="Last change; kept by trigger",
        ),
        sa.CheckConstraint("language IN ('en', 'ru')", name=op.f("users_language_known")),
        sa.PrimaryKeyConstraint("telegram_id", name=op.f("users_pkey")),
        comment="Everybody who has ever spoken to the bot, and its admins",
    )
    op.create_table(
        "webhook_events",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Order of arrival"
        ),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When",
        ),
        sa.Column("invoice_uuid", sa.Text(), nullable=False, comment="CryptoCloud's id without INV-"),
        sa.Column(
            "body",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="What was said, without the token",
        ),
        sa.Column("outcome", sa.Text(), nullable=False, comment="woken, unknown or expired"),
        sa.CheckConstraint(
            "outcome IN ('woken', 'unknown', 'expired')", name=op.f("webhook_events_outcome_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("webhook_events_pkey")),
        comment="Well-signed postbacks: hints, kept for people; the last 20 of an invoice, 90 days",
    )
    op.create_index(
        "webhook_events_invoice_idx",
        "webhook_events",
        ["invoice_uuid", sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "webhook_events_received_idx",
        "webhook_events",
        ["received_at"],
        unique=False,
        postgresql_using="brin",
    )
    op.create_table(
        "notifications",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Order of writing"
        ),
        sa.Column("user_id", sa.BigInteger(), nullable=False, comment="To whom"),
        sa.Column("kind", sa.Text(), nullable=False, comment="Which text"),
        sa.Column("key", sa.Text(), nullable=False, comment="What is said once, such as receipt:<payment>"),
        sa.Column(
            "payload",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="What the text needs",
        ),
        sa.Column("priority", sa.SmallInteger(), server_default="5", nullable=False, comment="0 goes first"),
        sa.Column(
            "state",
            sa.Text(),
            server_default="due",
            nullable=False,
            comment="due, sent, undeliverable, dropped",
        ),
        sa.Column(
            "version",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="Counts changes of what to say",
        ),
        sa.Column(
            "next_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="Not before",
        ),
        sa.Column(
            "attempts",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="Tries that failed by its fault",
        ),
        sa.Column("lease_token", sa.Uuid(), nullable=True, comment="Which notifier holds it"),
        sa.Column(
            "lease_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Until when that notifier holds it",
        ),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True, comment="When Telegram took it"),
        sa.Column("last_error", sa.Text(), nullable=True, comment="Why the last try failed"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was written",
        ),
        sa.CheckConstraint(
            "state IN ('due', 'sent', 'undeliverable', 'dropped')", name=op.f("notifications_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.telegram_id"], name=op.f("notifications_user_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("notifications_pkey")),
        sa.UniqueConstraint("key", name=op.f("notifications_key_key")),
        comment="What people are to be told: written with the fact itself, sent after",
    )
    op.create_index(
        "notifications_due_idx",
        "notifications",
        ["priority", "next_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'due'"),
    )
    op.create_index(
        "notifications_undeliverable_idx",
        "notifications",
        ["user_id"],
        unique=False,
        postgresql_where=sa.text("state = 'undeliverable'"),
    )
    op.create_table(
        "payments",
        sa.Column("id", sa.Uuid(), nullable=False, comment="Also the order id that CryptoCloud knows"),
        sa.Column("user_id", sa.BigInteger(), nullable=False, comment="Who pays"),
        sa.Column("tier", sa.Text(), nullable=False, comment="Tier bought, frozen at the order"),
        sa.Column(
            "period", sa.Text(), nullable=False, comment="Code of the period bought, frozen at the order"
        ),
        sa.Column(
            "period_seconds", sa.BigInteger(), nullable=False, comment="Length bought, frozen at the order"
        ),
        sa.Column("amount", sa.Numeric(), nullable=False, comment="Price, frozen at the order"),
        sa.Column(
            "currency", sa.Text(), nullable=False, comment="Fiat code of the price, frozen at the order"
        ),
        sa.Column(
            "status",
            sa.Text(),
            server_default="creating",
            nullable=False,
            comment="See services.payments.Status",
        ),
        sa.Column(
            "overpaid",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="More arrived than was due",
        ),
        sa.Column(
            "late",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Paid after it had expired or was canceled",
        ),
        sa.Column(
            "review",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="A person has to decide; nothing is granted until then",
        ),
        sa.Column("review_reason", sa.Text(), nullable=True, comment="Why a person has to decide"),
        sa.Column(
            "verdict",
            sa.Text(),
            nullable=True,
            comment="What the person decided; a rejected payment is never granted",
        ),
        sa.Column("invoice_uuid", sa.Text(), nullable=True, comment="CryptoCloud's id without INV-"),
        sa.Column("invoice_url", sa.Text(), nullable=True, comment="CryptoCloud's link for the customer"),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the invoice ends, in CryptoCloud's words",
        ),
        sa.Column(
            "next_check_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When to ask CryptoCloud again; null: not watched",
        ),
        sa.Column(
            "asked_at", sa.DateTime(timezone=True), nullable=True, comment="When CryptoCloud was last asked"
        ),
        sa.Column(
            "checked_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When CryptoCloud last answered about it",
        ),
        sa.Column(
            "wake", sa.Integer(), server_default="0", nullable=False, comment="Counts hints to look sooner"
        ),
        sa.Column(
            "failures",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="Checks in a row it was refused",
        ),
        sa.Column("lease_token", sa.Uuid(), nullable=True, comment="Which checker holds it"),
        sa.Column(
            "lease_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Until when that checker holds it",
        ),
        sa.Column(
            "provider",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The most advanced facts that CryptoCloud gave",
        ),
        sa.Column(
            "surplus", sa.Numeric(), nullable=True, comment="What was paid above the amount due, in USD"
        ),
        sa.Column(
            "message_id", sa.BigInteger(), nullable=True, comment="The order's message in the customer's chat"
        ),
        sa.Column(
            "superseded",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Too close to its end to be offered again; a newer order took its place",
        ),
        sa.Column(
            "cancel_requested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="The customer or an admin canceled it",
        ),
        sa.Column(
            "paid_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was paid, in CryptoCloud's words, else when first seen paid",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was ordered",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="Last change; kept by trigger",
        ),
        sa.CheckConstraint("amount >= 0 AND amount <> 'NaN'", name=op.f("payments_amount_is_money")),
        sa.CheckConstraint("invoice_uuid !~ '^INV-'", name=op.f("payments_invoice_uuid_is_short")),
        sa.CheckConstraint(
            "status <> 'pending' OR invoice_uuid IS NOT NULL", name=op.f("payments_pending_has_invoice")
        ),
        sa.CheckConstraint(
            "status IN ('creating', 'pending', 'partial', 'paid', 'expired', 'canceled', 'failed', 'refunded')",
            name=op.f("payments_status_known"),
        ),
        sa.CheckConstraint(
            "status NOT IN ('paid', 'refunded') OR paid_at IS NOT NULL", name=op.f("payments_paid_has_moment")
        ),
        sa.CheckConstraint("surplus >= 0 AND surplus <> 'NaN'", name=op.f("payments_surplus_is_money")),
        sa.CheckConstraint("verdict IN ('accepted', 'rejected')", name=op.f("payments_verdict_known")),
        sa.CheckConstraint("period_seconds > 0", name=op.f("payments_period_has_length")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.telegram_id"], name=op.f("payments_user_id_fkey"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("payments_pkey")),
        sa.UniqueConstraint("invoice_uuid", name=op.f("payments_invoice_uuid_key")),
        comment="One order each: what was asked for, and how far it got",
    )
    op.create_index(
        "payments_due_idx",
        "payments",
        ["next_check_at"],
        unique=False,
        postgresql_where=sa.text("next_check_at IS NOT NULL"),
    )
    op.create_index(
        "payments_history_idx",
        "payments",
        ["user_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "payments_open_order_key",
        "payments",
        ["user_id", "tier", "period", "amount", "currency"],
        unique=True,
        postgresql_where=sa.text("status IN ('creating', 'pending', 'partial') AND NOT superseded"),
    )
    op.create_index(
        "payments_revenue_idx",
        "payments",
        ["paid_at"],
        unique=False,
        postgresql_include=["tier", "currency", "amount"],
        postgresql_where=sa.text("status = 'paid'"),
    )
    op.create_index(
        "payments_review_idx", "payments", ["created_at"], unique=False, postgresql_where=sa.text("review")
    )
    op.create_table(
        "subscriptions",
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="Whose"),
        sa.Column("tier", sa.Text(), nullable=False, comment="Code of the tier last paid for or granted"),
        sa.Column(
            "ends_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="End of paid time; null for the free tier. Active means now() < ends_at",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="First /start",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="Last change; kept by trigger",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.telegram_id"], name=op.f("subscriptions_user_id_fkey"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("subscriptions_pkey")),
        comment="Where each customer stands; rebuilt from subscription_ledger by `ledger check`",
    )
    op.create_table(
        "payment_history",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Order of writing"
        ),
        sa.Column("payment_id", sa.Uuid(), nullable=False, comment="Which payment (index: payment show)"),
        sa.Column("old_status", sa.Text(), nullable=True, comment="Null when the payment was made"),
        sa.Column("new_status", sa.Text(), nullable=False, comment="What it became"),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When",
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"], ["payments.id"], name=op.f("payment_history_payment_id_fkey"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("payment_history_pkey")),
        comment="Every change of a payment's status; written by trigger only",
    )
    op.create_index(op.f("payment_history_payment_id_idx"), "payment_history", ["payment_id"], unique=False)
    op.create_table(
        "subscription_ledger",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Order of the book"
        ),
        sa.Column("user_id", sa.BigInteger(), nullable=False, comment="Whose time"),
        sa.Column("payment_id", sa.Uuid(), nullable=True, comment="What paid for it"),
        sa.Column("kind", sa.Text(), nullable=False, comment="payment, grant, revoke, refund or conversion"),
        sa.Column("tier", sa.Text(), nullable=False, comment="Tier of this time"),
        sa.Column("seconds", sa.BigInteger(), nullable=False, comment="Time given; negative: taken back"),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False, comment="Where this time begins"),
        sa.Column(
            "ends_at", sa.DateTime(timezone=True), nullable=False, comment="The subscription's end after it"
        ),
        sa.Column("amount", sa.Numeric(), nullable=True, comment="Money for it"),
        sa.Column("currency", sa.Text(), nullable=True, comment="Fiat code of the money"),
        sa.Column("idempotency_key", sa.Text(), nullable=False, comment="What must not happen twice"),
        sa.Column(
            "actor",
            sa.Text(),
            server_default="settle",
            nullable=False,
            comment="Who: settle, admin:ID or console",
        ),
        sa.Column("reason", sa.Text(), nullable=True, comment="Why, in a person's words"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was written",
        ),
        sa.CheckConstraint(
            "amount >= 0 AND amount <> 'NaN'", name=op.f("subscription_ledger_amount_is_money")
        ),
        sa.CheckConstraint(
            "kind <> 'payment' OR payment_id IS NOT NULL", name=op.f("subscription_ledger_payment_is_named")
        ),
        sa.CheckConstraint(
            "kind IN ('payment', 'grant', 'revoke', 'refund', 'conversion')",
            name=op.f("subscription_ledger_kind_known"),
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
            name=op.f("subscription_ledger_payment_id_fkey"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.telegram_id"],
            name=op.f("subscription_ledger_user_id_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("subscription_ledger_pkey")),
        sa.UniqueConstraint("idempotency_key", name=op.f("subscription_ledger_idempotency_key_key")),
        comment="The book of all time given and taken; append-only, the subscription is its sum",
    )
    op.create_index(
        "subscription_ledger_payment_id_kind_key", "subscription_ledger", ["payment_id", "kind"], unique=True
    )
    op.create_index("subscription_ledger_user_idx", "subscription_ledger", ["user_id", "id"], unique=False)
    op.create_table(
        "unclaimed_invoices",
        sa.Column("invoice_uuid", sa.Text(), nullable=False, comment="CryptoCloud's id without INV-"),
        sa.Column("order_id", sa.Text(), nullable=True, comment="The order id that CryptoCloud has for it"),
        sa.Column(
            "provider",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="What CryptoCloud says of it",
        ),
        sa.Column(
            "payment_id",
            sa.Uuid(),
            nullable=True,
            comment="The payment it was given to by `payment adopt`; null: still open",
        ),
        sa.Column(
            "found_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When reconcile found it",
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
            name=op.f("unclaimed_invoices_payment_id_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("invoice_uuid", name=op.f("unclaimed_invoices_pkey")),
        comment="Money that reached our shop for an order we do not know, such as after a restored backup",
    )

    op.execute(KEEP_UPDATED_AT)
    for table in ("users", "subscriptions", "payments"):
        op.execute(
            f"CREATE TRIGGER {table}_updated_at BEFORE UPDATE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION keep_updated_at()"
        )
    op.execute(WRITE_PAYMENT_HISTORY)
    op.execute(
        "CREATE TRIGGER payments_history AFTER INSERT OR UPDATE OF status ON payments "
        "FOR EACH ROW EXECUTE FUNCTION write_payment_history()"
    )
    op.execute(REFUSE_CHANGES)
    for book in ("payment_history", "subscription_ledger", "admin_audit"):
        op.execute(
            f"CREATE TRIGGER {book}_append_only BEFORE UPDATE OR DELETE ON {book} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_changes()"
        )
        op.execute(
            f"CREATE TRIGGER {book}_never_emptied BEFORE TRUNCATE ON {book} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_changes()"
        )
    op.execute(ENTITLEMENTS)
    op.execute(
        "COMMENT ON VIEW entitlements IS "
        "'For other systems to read: who may use what now; state is free, active or expired'"
    )
    for column, meaning in (
        ("telegram_id", "Telegram user id"),
        ("tier", "Code of the tier last paid for; it counts only while state is active"),
        ("state", "free, active or expired"),
        ("ends_at", "End of paid time; null for free"),
    ):
        op.execute(f"COMMENT ON COLUMN entitlements.{column} IS '{meaning}'")
    for index, query in INDEXES_SERVE.items():
        op.execute(f"COMMENT ON INDEX {index} IS '{query}'")
    op.execute("INSERT INTO send_budget (id, tokens, refilled_at) VALUES (1, 25, now())")


def downgrade() -> None:
    op.execute("DROP VIEW entitlements")
    op.drop_table("unclaimed_invoices")
    op.drop_table("subscription_ledger")
    op.drop_table("payment_history")
    op.drop_table("subscriptions")
    op.drop_table("payments")
    op.drop_table("notifications")
    op.drop_table("webhook_events")
    op.drop_table("users")
    op.drop_table("send_budget")
    op.drop_table("failed_updates")
    op.drop_table("admin_audit")
    for function in ("refuse_changes", "write_payment_history", "keep_updated_at"):
        op.execute(f"DROP FUNCTION {function}()")
