"""Who asks about a payment and when: one checker at a time, no hint lost, ever more seldom but never forgotten."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from services import payments
from services.db import Database
from services.errors import UnknownPayment
from services.payments import Answer, Due, receipt_number
from tests.shop import change, customer, invoice, payment, row, rows

LEASE = 60.0
CHECK = 60.0
HOUR = timedelta(hours=1)


async def claim(db: Database, lease: float = LEASE) -> tuple[UUID, list[Due]]:
    async with db.begin() as session:
        return await payments.claim_due(session, lease_seconds=lease)


async def release(db: Database, token: UUID, *answers: tuple[Due, Answer]) -> list[UUID]:
    async with db.begin() as session:
        return await payments.release(session, token, answers, check_seconds=CHECK)


async def wake(db: Database, payment_id: UUID) -> None:
    async with db.begin() as session:
        await payments.wake(session, payment_id)


async def pause(db: Database, payment_id: UUID) -> float | None:
    """Tell in how many seconds a payment is due again; None when it is not watched."""
    found = await row(
        db,
        "SELECT extract(epoch FROM next_check_at - updated_at)::float AS s FROM payments WHERE id = :id",
        id=payment_id,
    )
    seconds: float | None = found["s"]
    return seconds


async def checked(db: Database, payment_id: UUID, answer: Answer = Answer.ANSWERED) -> float | None:
    """Let one check of this payment end so, and tell in how many seconds the next one is."""
    await change(
        db, "UPDATE payments SET next_check_at = now(), asked_at = NULL WHERE id = :id", id=payment_id
    )
    token, due = await claim(db)
    await release(db, token, *((one, answer) for one in due))
    return await pause(db, payment_id)


async def test_two_checkers_never_get_the_same_payment(db: Database) -> None:
    await customer(db)
    await asyncio.gather(*(invoice(db) for _ in range(130)))

    claims = await asyncio.gather(*(claim(db) for _ in range(4)))

    ids = [due.id for _, found in claims for due in found]
    assert len(ids) == len(set(ids))
    assert all(len(found) <= payments.CHECK_BATCH for _, found in claims)
    rest = await claim(db)
    assert len(ids) + len(rest[1]) == 130


async def test_a_locked_payment_is_left_out_and_not_waited_for(db: Database) -> None:
    await customer(db)
    locked, _ = await invoice(db)
    free, _ = await invoice(db)
    async with db.begin() as session:
        await payments.lock(session, locked)
        _, due = await asyncio.wait_for(claim(db), 3)
    assert [one.id for one in due] == [free]


async def test_a_claimed_payment_is_another_checkers_only_after_the_lease_and_three_seconds(
    db: Database,
) -> None:
    await customer(db)
    payment_id, _ = await invoice(db)
    assert len((await claim(db))[1]) == 1
    assert (await claim(db))[1] == []

    await change(db, "UPDATE payments SET lease_until = now() - interval '1 ms'")
    assert (await claim(db))[1] == []
    await change(db, "UPDATE payments SET asked_at = now() - interval '2.5 s'")
    assert (await claim(db))[1] == []
    await change(db, "UPDATE payments SET asked_at = now() - interval '3 s'")
    assert [one.id for one in (await claim(db))[1]] == [payment_id]


async def test_what_has_no_invoice_or_is_not_due_is_not_asked_about(db: Database) -> None:
    await customer(db)
    await invoice(db, status="creating", invoice_uuid=None)
    await invoice(db, next_check_at=None)
    later, _ = await invoice(db)
    await change(db, "UPDATE payments SET next_check_at = now() + interval '1 min' WHERE id = :id", id=later)
    assert (await claim(db))[1] == []


async def test_a_wake_while_a_check_is_in_flight_is_not_overwritten(db: Database) -> None:
    await customer(db)
    payment_id, _ = await invoice(db)
    token, (due,) = await claim(db)

    await wake(db, payment_id)
    await release(db, token, (due, Answer.ANSWERED))

    assert (await pause(db, payment_id)) == 0
    await change(db, "UPDATE payments SET asked_at = now() - interval '3 s'")
    _, (again,) = await claim(db)
    assert (again.id, again.wake) == (payment_id, due.wake + 1)


async def test_a_hint_during_the_last_check_keeps_a_paid_payment_due(db: Database) -> None:
    await customer(db)
    for answer in Answer:
        payment_id, _ = await invoice(db)
        token, (due,) = await claim(db)
        await change(db, "UPDATE payments SET status = 'paid', paid_at = now() WHERE id = :id", id=payment_id)
        await wake(db, payment_id)
        await release(db, token, (due, answer))
        assert (await pause(db, payment_id)) == 0, answer
        await change(db, "UPDATE payments SET next_check_at = NULL")


async def test_who_lost_the_lease_changes_nothing(db: Database) -> None:
    await customer(db)
    payment_id, _ = await invoice(db)
    slow, (due,) = await claim(db)
    await change(
        db, "UPDATE payments SET lease_until = now() - interval '1 s', asked_at = now() - interval '4 s'"
    )
    quick, (same,) = await claim(db)
    before = await payment(db, payment_id)

    await release(db, slow, (due, Answer.REJECTED))
    assert await payment(db, payment_id) == before

    await release(db, quick, (same, Answer.ANSWERED))
    after = await payment(db, payment_id)
    assert (after["lease_token"], after["failures"]) == (None, 0)
    assert after["checked_at"] is not None


async def test_a_release_takes_its_rows_in_the_order_that_everybody_locks_in(db: Database) -> None:
    await customer(db)
    high, low = (UUID(f"{digit}0000000-0000-4000-8000-000000000000") for digit in "92")
    for payment_id in (high, low):  # the table holds them the other way round
        await invoice(db, id=payment_id)
    token, due = await claim(db)

    async with db.begin() as session:
        await payments.lock(session, low)
        releasing = asyncio.create_task(release(db, token, *((one, Answer.ANSWERED) for one in due)))
        await asyncio.sleep(0.3)
        await payments.lock(session, high)

    assert await releasing == []
    assert len(await rows(db, "SELECT 1 FROM payments WHERE lease_token IS NULL")) == 2


SCHEDULE: list[tuple[str, str, tuple[float, float] | None]] = [
    # age of an invoice that lives a day, its status, seconds until the next check
    ("0 s", "pending", (CHECK, CHECK)),
    ("59 min", "pending", (CHECK, CHECK)),
    ("61 min", "pending", (CHECK, 1.5 * CHECK)),
    ("2 h", "partial", (900, 900)),
    ("23 h", "pending", (900, 900)),
    ("23 h 55 min", "pending", (300, 302)),  # one second after its end
    ("23 h 59 min 59.5 s", "pending", (1, 1.6)),
    ("24 h 1 min", "pending", (CHECK, CHECK)),
    ("28 h", "pending", (3600, 3601)),  # a quarter of the four hours since its end
    ("28 h", "expired", (3600, 3601)),
    ("7 days", "canceled", (86_400, 86_400)),
    ("8 days 1 min", "pending", None),  # a week and a minute since its end
    ("20 days", "expired", None),
    ("20 days", "partial", None),
    ("1 h", "paid", None),
    ("1 h", "refunded", None),
]


async def test_an_answered_invoice_is_asked_about_ever_more_seldom(db: Database) -> None:
    await customer(db)
    payment_id, _ = await invoice(db)
    for age, status, expected in SCHEDULE:
        await change(
            db,
            "UPDATE payments SET status = :status, paid_at = now(),"
            f" created_at = now() - interval '{age}', expires_at = now() - interval '{age}' + interval '24 h'",
            status=status,
        )
        seconds = await checked(db, payment_id)
        case = f"{status} after {age}: {seconds}"
        if expected is None:
            assert seconds is None, case
        else:
            assert seconds is not None, case
            assert expected[0] - 1 <= seconds <= expected[1] + 1, case


async def test_a_payment_that_a_person_has_decided_on_is_not_watched(db: Database) -> None:
    await customer(db)
    payment_id, _ = await invoice(db, status="canceled", verdict="rejected")
    assert await checked(db, payment_id) is None


async def test_an_invoice_that_names_no_end_is_taken_to_live_a_day(db: Database) -> None:
    await customer(db)
    payment_id, _ = await invoice(db, expires_at=None)
    await change(db, "UPDATE payments SET created_at = now() - interval '28 h'")
    assert await checked(db, payment_id) == pytest.approx(3600, abs=1)


@pytest.mark.parametrize("answer", [Answer.REJECTED, Answer.NO_ANSWER])
async def test_a_failed_check_never_ends_the_watch(db: Database, answer: Answer) -> None:
    await customer(db)
    payment_id, _ = await invoice(db)
    await change(
        db,
        "UPDATE payments SET created_at = now() - interval '1 year', expires_at = now() - interval '364 days'",
    )
    assert await checked(db, payment_id, answer) == CHECK
    assert (await payment(db, payment_id))["checked_at"] is None
    assert await checked(db, payment_id, Answer.ANSWERED) is None


async def test_a_hint_reopens_the_watch_at_any_age(db: Database) -> None:
    await customer(db)
    payment_id, _ = await invoice(db, next_check_at=None)
    await change(db, "UPDATE payments SET created_at = now() - interval '3 years', status = 'expired'")
    assert (await claim(db))[1] == []
    await wake(db, payment_id)
    assert [one.id for one in (await claim(db))[1]] == [payment_id]


async def test_stop_watching_lasts_until_the_next_hint(db: Database) -> None:
    await customer(db)
    payment_id, _ = await invoice(db)
    async with db.begin() as session:
        await payments.stop_watching(session, payment_id)
    assert (await claim(db))[1] == []
    await wake(db, payment_id)
    assert len((await claim(db))[1]) == 1


async def test_rejections_back_off_and_are_named_once_at_the_fifth(db: Database) -> None:
    await customer(db)
    payment_id, _ = await invoice(db)
    named, pauses = [], []
    for _ in range(12):
        await change(db, "UPDATE payments SET next_check_at = now(), asked_at = NULL")
        token, due = await claim(db)
        named.append(await release(db, token, *((one, Answer.REJECTED) for one in due)))
        pauses.append(await pause(db, payment_id))
    assert named == [[], [], [], [], [payment_id], *[[]] * 7]
    assert pauses[:7] == [CHECK * 2**tries for tries in range(6)] + [3600]
    assert pauses[-1] == 3600
    await checked(db, payment_id, Answer.ANSWERED)
    assert (await payment(db, payment_id))["failures"] == 0


async def test_an_outage_is_nobodys_failure_and_names_nobody(db: Database) -> None:
    await customer(db)
    payment_id, _ = await invoice(db)
    await change(db, "UPDATE payments SET failures = 5")
    token, due = await claim(db)
    assert await release(db, token, *((one, Answer.NO_ANSWER) for one in due)) == []
    assert (await payment(db, payment_id))["failures"] == 5


async def test_history_pages_go_forth_and_back_over_equal_moments(db: Database) -> None:
    await customer(db)
    await customer(db, 2)
    await asyncio.gather(*(invoice(db) for _ in range(11)))
    await invoice(db, 2)
    await change(db, "UPDATE payments SET created_at = '2026-03-01' WHERE user_id = 1")
    newest = await rows(db, "SELECT id FROM payments WHERE user_id = 1 ORDER BY created_at DESC, id DESC")
    everything = [one["id"] for one in newest]

    forth = []
    async with db.begin() as session:
        page = await payments.history(session, 1, size=4)
        assert (page.newer, page.older) == (False, True)
        while True:
            forth.append([one.id for one in page.payments])
            if not page.older:
                break
            page = await payments.history(session, 1, size=4, older_than=page.payments[-1].id)
        assert [len(one) for one in forth] == [4, 4, 3]
        assert [one for some in forth for one in some] == everything
        assert page.newer

        back = [forth[-1]]
        while page.newer:
            page = await payments.history(session, 1, size=4, newer_than=page.payments[0].id)
            back.insert(0, [one.id for one in page.payments])
            assert page.older
        assert back == forth


async def test_history_shows_only_ones_own_and_knows_nobody_elses_marks(db: Database) -> None:
    await customer(db)
    await customer(db, 2)
    mine, _ = await invoice(db)
    other, _ = await invoice(db, 2)
    async with db.begin() as session:
        assert [one.id for one in (await payments.history(session, 1, size=5)).payments] == [mine]
        assert (await payments.history(session, 1, size=5, older_than=other)).payments == []


async def test_a_payment_is_found_by_every_name_that_people_know(db: Database) -> None:
    await customer(db)
    payment_id, uuid = await invoice(db)
    await invoice(db)
    names = [
        str(payment_id),
        payment_id.hex.upper(),
        f" {uuid.lower()} ",
        f"INV-{uuid}",
        f"inv-{uuid.lower()}",
        receipt_number(payment_id),
        receipt_number(payment_id).lower()[:8],
    ]
    async with db.begin() as session:
        for name in names:
            assert (await payments.find_by_name(session, name)).id == payment_id
        for nobody in ("", "INV-", "%", "_" * 8, payment_id.hex[:7], "NOSUCH00", f"{payment_id}0"):
            with pytest.raises(UnknownPayment):
                await payments.find_by_name(session, nobody)


async def test_a_name_that_fits_two_payments_is_refused(db: Database) -> None:
    await customer(db)
    for ending in ("1", "2"):
        await invoice(db, id=UUID("aaaaaaaa-0000-4000-8000-00000000000" + ending))
    async with db.begin() as session:
        with pytest.raises(UnknownPayment, match="more than one"):
            await payments.find_by_name(session, "AAAAAAAA00")


async def test_somebody_elses_payment_does_not_exist(db: Database) -> None:
    await customer(db)
    payment_id, _ = await invoice(db)
    async with db.begin() as session:
        assert (await payments.find(session, payment_id, owner=1)).id == payment_id
        with pytest.raises(UnknownPayment):
            await payments.find(session, payment_id, owner=2)
        with pytest.raises(UnknownPayment):
            await payments.lock(session, UUID(int=0))


async def test_the_most_overdue_check_is_what_waits_longest(db: Database) -> None:
    async with db.begin() as session:
        assert await payments.oldest_unsettled_age(session) == 0
    await customer(db)
    await invoice(db, age=timedelta(seconds=90))
    await invoice(db, age=timedelta(seconds=30))
    await invoice(db, next_check_at=None)
    async with db.begin() as session:
        assert 90 <= await payments.oldest_unsettled_age(session) < 120


async def test_every_change_of_status_is_written_down_whoever_makes_it(db: Database) -> None:
    await customer(db)
    payment_id, _ = await invoice(db)
    for status in ("partial", "partial", "expired"):
        await change(db, "UPDATE payments SET status = :status", status=status)
    history = await rows(db, "SELECT payment_id, old_status, new_status FROM payment_history ORDER BY id")
    assert [(one["old_status"], one["new_status"]) for one in history] == [
        (None, "pending"),
        ("pending", "partial"),
        ("partial", "expired"),
    ]
    assert {one["payment_id"] for one in history} == {payment_id}


async def test_reviews_wait_in_the_order_in_which_they_were_ordered(db: Database) -> None:
    await customer(db)
    new, _ = await invoice(db, review=True)
    old, _ = await invoice(db, review=True, age=HOUR)
    await invoice(db)
    async with db.begin() as session:
        assert [one.id for one in await payments.open_reviews(session)] == [old, new]
