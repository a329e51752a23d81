"""The usual mistakes of shops like ours, each as a small change of our own code, and the tests that must notice it.

A snippet that is no longer there is an error: whoever changes such a line decides anew what guards it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """One snippet of one file, and what the mistake puts in its place."""

    file: str
    snippet: str
    instead: str


@dataclass(frozen=True)
class Mutant:
    """A mistake, and the tests of which at least one must fail on it; `rig`: a run of chaos must fail too."""

    name: str
    changes: tuple[Change, ...]
    tests: tuple[str, ...]
    rig: bool = False


RACES = "tests/model/test_races.py"
SETTLEMENT = "tests/services/test_settlement.py"
CHECKS = "tests/services/test_checks.py"

MUTANTS = (
    Mutant(
        "check, then act, without a lock on the payment",
        (
            Change(
                "services/payments.py",
                "WHERE p.invoice_uuid = ANY(:uuids) ORDER BY p.id FOR NO KEY UPDATE",
                "WHERE p.invoice_uuid = ANY(:uuids) ORDER BY p.id",
            ),
        ),
        (
            f"{RACES}::test_a_second_settlement_waits_for_the_first_and_sees_what_it_did",
            f"{SETTLEMENT}::test_two_replicas_that_settle_a_first_purchase_at_once_grant_it_once",
        ),
    ),
    Mutant(
        "check, then act, without a lock on the subscription",
        (
            Change(
                "services/subscriptions.py",
                "= ANY(CAST(:users AS bigint[])) ORDER BY user_id FOR NO KEY UPDATE",
                "= ANY(CAST(:users AS bigint[])) ORDER BY user_id",
            ),
        ),
        (f"{RACES}::test_two_payments_of_one_customer_settled_by_two_replicas_add_up",),
        rig=True,
    ),
    Mutant(
        "a row against repetitions, then a queue in memory",
        (
            Change(
                "services/events.py",
                """    async with db.begin() as session:
        woken = await session.scalar(
            _RECORD,
            {"invoice": postback.invoice_uuid, "body": postback.body, "expired": postback.expired},
        )
        failpoint("postback.stored")
    failpoint("postback.committed")
""",
                """    async with db.begin() as session:
        kept = await session.execute(
            text("INSERT INTO webhook_events (invoice_uuid, body, outcome) SELECT :invoice, :body, 'woken'"
                 " WHERE NOT EXISTS (SELECT FROM webhook_events WHERE invoice_uuid = :invoice)"
            ).bindparams(bindparam("body", type_=JSONB)),
            {"invoice": postback.invoice_uuid, "body": postback.body},
        )
        failpoint("postback.stored")
    failpoint("postback.committed")
    woken = kept.rowcount > 0
    if woken:
        import asyncio

        async def wake_later() -> None:
            async with db.begin() as session:
                await session.execute(_WAKE_LATER, {"invoice": postback.invoice_uuid})

        _QUEUE.append(asyncio.create_task(wake_later()))
""",
            ),
            Change(
                "services/events.py",
                "async def record_postback(",
                """_QUEUE: list[Any] = []
_WAKE_LATER = text("UPDATE payments SET wake = wake + 1, next_check_at = now() WHERE invoice_uuid = :invoice")


async def record_postback(""",
            ),
        ),
        (
            "tests/services/test_events.py::test_a_postback_is_kept_and_makes_its_payment_due_in_one_go",
            "tests/services/test_events.py::test_every_repetition_is_kept_and_is_a_hint_again",
        ),
    ),
    Mutant(
        "the message before the commit",
        (
            Change(
                "services/settlement.py",
                "    await notifications.notify(session, told)\n",
                """    async with session.engine.begin() as early:
        await notifications.notify(early, told)
""",
            ),
        ),
        (f"{RACES}::test_what_is_rolled_back_has_told_nobody_anything",),
    ),
    Mutant(
        "the notifier's last word without its token",
        (
            Change(
                "services/notifications.py",
                " WHERE id = :id AND lease_token = :token\n",
                " WHERE id = :id AND (lease_token = :token OR true)\n",
            ),
        ),
        (
            "tests/services/test_notifications.py"
            "::test_after_the_lease_another_notifier_takes_over_and_the_late_word_counts_for_nothing",
        ),
    ),
    Mutant(
        "facts dropped where the lease was lost",
        (
            Change(
                "services/checks.py",
                "    settled = await settle(db, answers.facts, settings)\n",
                """    async with db.begin() as session:
        from sqlalchemy import text

        held = await session.scalar(
            text("SELECT count(*) FROM payments WHERE lease_token = :token"), {"token": token}
        )
    settled = await settle(db, answers.facts if held else [], settings)
""",
            ),
        ),
        (f"{CHECKS}::test_a_slow_answer_is_not_thrown_away_where_the_quick_one_knew_less",),
    ),
    Mutant(
        "wakes told by their time instead of counted",
        (
            Change(
                "services/payments.py",
                "           WHEN p.wake <> r.wake THEN now()\n",
                "           WHEN p.next_check_at > p.asked_at THEN now()\n",
            ),
        ),
        (f"{RACES}::test_a_hint_that_began_before_the_check_and_is_committed_after_it_is_not_lost",),
    ),
    Mutant(
        "granted from the body of a postback",
        (
            Change(
                "webhook_server/cryptocloud.py",
                "        result = recorded.outcome\n",
                """        result = recorded.outcome
        from services.cryptocloud import InvoiceFact, ProviderStatus
        from services.settlement import settle

        said = dict.fromkeys(InvoiceFact.__slots__) | {
            "uuid": postback.invoice_uuid,
            "status": ProviderStatus.PAID,
            "status_word": "paid",
            "test_mode": False,
            "transactions": (),
        }
        if postback.body.get("status") == "success":
            await settle(app[DB], [InvoiceFact(**said)], app[SETTINGS])
""",
            ),
        ),
        ("tests/webhook_server/test_postbacks.py::test_postback_grants_nothing",),
        rig=True,
    ),
    Mutant(
        "no reconciling with the provider's list",
        (
            Change(
                "services/reconcile.py",
                "        if fact.status in _PAID\n",
                "        if fact.status in frozenset()\n",
            ),
        ),
        (
            "tests/services/test_reconcile.py"
            "::test_a_payment_that_is_behind_the_list_is_woken_and_granted_by_the_usual_check",
            "tests/services/test_reconcile.py"
            "::test_a_paid_order_that_a_restored_backup_does_not_know_is_given_back_and_granted_once",
        ),
    ),
    Mutant(
        "no look without a postback",
        (
            Change(
                "services/checkout.py",
                "                            ELSE now() + make_interval(secs => :check) END\n",
                "                            WHEN make_interval(secs => :check) IS NULL THEN now() END\n",
            ),
        ),
        (f"{RACES}::test_an_order_is_looked_after_by_the_timer_from_its_first_moment",),
    ),
    Mutant(
        "a batch locks its payments in no order",
        (
            Change(
                "services/payments.py",
                "WHERE p.invoice_uuid = ANY(:uuids) ORDER BY p.id FOR NO KEY UPDATE",
                "WHERE p.invoice_uuid = ANY(:uuids) FOR NO KEY UPDATE",
            ),
        ),
        (f"{RACES}::test_a_batch_locks_its_payments_in_the_order_of_their_ids",),
    ),
    Mutant(
        "a batch locks its subscriptions in no order",
        (
            Change(
                "services/subscriptions.py",
                "= ANY(CAST(:users AS bigint[])) ORDER BY user_id FOR NO KEY UPDATE",
                "= ANY(CAST(:users AS bigint[])) FOR NO KEY UPDATE",
            ),
        ),
        (f"{RACES}::test_a_batch_locks_its_subscriptions_in_the_order_of_their_customers",),
    ),
    Mutant(
        "a set-based sum that loses the second payment of one customer",
        (
            Change(
                "services/subscriptions.py",
                "UPDATE subscriptions s SET tier = r.tier, ends_at = r.ends_at\n",
                "UPDATE subscriptions s SET tier = r.tier,"
                " ends_at = greatest(s.ends_at, now()) + make_interval(secs => r.seconds)\n",
            ),
            Change(
                "services/subscriptions.py",
                "AS r(user_id bigint, tier text, ends_at timestamptz)\n",
                "AS r(user_id bigint, tier text, seconds float)\n",
            ),
            Change(
                "services/subscriptions.py",
                """                    {"user_id": user, "tier": entry.tier, "ends_at": entry.ends_at.isoformat()}
                    for user, entry in ends.items()
""",
                """                    {"user_id": entry.user_id, "tier": entry.tier, "seconds": entry.seconds}
                    for entry in entries
""",
            ),
        ),
        (f"{SETTLEMENT}::test_three_payments_of_one_customer_in_one_batch_all_count",),
        rig=True,
    ),
)
