"""CryptoCloud is away, slow, wrong or refuses us: nobody loses money, nobody gets time, and it mends itself."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from services import settlement
from services.config import Settings
from tests.e2e.stage import ADMIN, Bot, Customer, Stage, at_once, until

pytestmark = pytest.mark.timeout(300)  # a busy machine takes its time to start processes

NewStage = Callable[..., Awaitable[Stage]]


@pytest.fixture(autouse=True)
def mended(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a play breaks in the shared world is whole again afterwards."""
    yield
    if "shared" in request.fixturenames:
        world = request.getfixturevalue("shared").world
        world.faults.clear()
        world.project.test_mode = False


@pytest.fixture
def bot(shared: Stage) -> Bot:
    (only,) = shared.bots
    return only


@pytest.fixture
def admin(shared: Stage) -> Customer:
    return Customer(shared, ADMIN)


def fail(play: Stage, kind: str, method: str = "*", *, times: int | None = None, **options: Any) -> None:
    play.world.faults.add("cryptocloud", kind, method=method, times=times, **options)


def suffered(play: Stage, kind: str, method: str) -> int:
    """How often a call went wrong in this way."""
    return sum(call.get("fault") == kind and call["method"] == method for call in play.world.provider_calls)


async def health(bot: Bot, play: Stage) -> dict[str, Any]:
    async with play.sandbox.client.get(bot.url + "/health/ready") as answer:
        said: dict[str, Any] = await answer.json()
        return said | {"code": answer.status}


async def says(bot: Bot, play: Stage, word: str) -> bool:
    said = await health(bot, play)
    return bool(said["cryptocloud"] == word and (said["code"] == 200) == (word == "ok"))


async def press_pay(ann: Customer) -> None:
    ann.say("/start")
    await ann.press("tier:pro")
    await ann.press("period:pro:month")
    await ann.press("pay:pro:month")


async def test_a_start_without_cryptocloud_or_with_a_refused_key_mends_itself(more: NewStage) -> None:
    away, refused = await more(), await more()
    await at_once(
        _starts_badly(away, "down", "away"), _starts_badly(refused, "unauthorized", "our key is refused")
    )
    alert = "SELECT key FROM notifications WHERE key LIKE 'cryptocloud-refused:%'"
    assert len(await refused.rows(alert)) == 1
    assert await away.rows(alert) == []


async def _starts_badly(play: Stage, kind: str, word: str) -> None:
    ann = play.person(1)
    invoice = await play.standing_order(ann.id)
    fail(play, kind)
    bot = await play.open(ready=False)

    async def lives() -> bool:
        try:
            return await says(bot, play, word)
        except OSError:
            return False

    await until(lives, within=90, what=f"the process to say that CryptoCloud is {word}")
    asked = len(play.world.provider_calls)
    invoice.pay(invoice.to_surcharge)
    play.world.faults.clear()
    await ann.was_granted_once(invoice)
    await until(lambda: says(bot, play, "ok"), what="the process to be ready")
    assert asked < 12


@pytest.mark.parametrize(
    "kind", ["down", "html_502", "server_error", "too_many_requests", "redirect", "error_in_200"]
)
async def test_an_order_that_could_not_be_made_is_said_so_and_offered_again(
    shared: Stage, ann: Customer, kind: str
) -> None:
    fail(shared, kind, "create", times=1)
    await press_pay(ann)
    await ann.read("could not be made")
    await ann.press("pay:pro:month")
    invoice = await ann.invoice()
    await ann.pay(invoice)
    await ann.was_granted_once(invoice)


async def test_an_invoice_that_nobody_heard_of_is_never_shown(shared: Stage, ann: Customer) -> None:
    """CryptoCloud makes it and does not answer; the process waits eight seconds, and the next press goes well."""
    fail(shared, "hang", "create", times=1)
    before = set(shared.world.invoices)
    await press_pay(ann)
    await ann.read("could not be made")
    (orphan,) = set(shared.world.invoices) - before
    await ann.press("pay:pro:month")
    invoice = await ann.invoice()
    assert invoice.uuid != orphan
    assert not any(orphan in str(call["arguments"]) for call in shared.calls("editMessageText"))
    await ann.pay(invoice)
    await ann.was_granted_once(invoice)


async def test_no_answer_about_an_invoice_is_taken_for_one(shared: Stage, ann: Customer, bot: Bot) -> None:
    """Down, a proxy's page, a redirect, an error with 200, a missing row, a new word: one after the other."""
    invoice = await ann.order()
    before = [suffered(shared, kind, "info") for kind in ("error_in_200", "leave_out", "unknown_status")]
    followed = f"/bot{shared.world.credentials.bot_token}/followed"
    for kind in ("down", "html_502", "redirect", "error_in_200"):
        fail(shared, kind, "info", times=1, location=followed)
    fail(shared, "leave_out", "info", times=1, uuid=invoice.uuid)
    fail(shared, "unknown_status", "info", times=1, uuid=invoice.uuid)
    await ann.pay(invoice, mode="none")

    await until(lambda: _was_silent(bot, shared), what="the process to say that CryptoCloud is away")
    await until(
        lambda: suffered(shared, "error_in_200", "info") > before[0], within=40, what="the last bad answer"
    )
    assert await ann.ledger() == []
    assert shared.calls("followed") == []
    await ann.was_granted_once(invoice)
    assert suffered(shared, "leave_out", "info") == before[1] + 1
    assert suffered(shared, "unknown_status", "info") == before[2] + 1
    await until(lambda: says(bot, shared, "ok"), what="the process to be ready")


async def _was_silent(bot: Bot, play: Stage) -> bool:
    return bool((await health(bot, play))["cryptocloud"] == "away")


async def test_an_answer_slower_than_the_lease_still_counts_once(shared: Stage, ann: Customer) -> None:
    invoice = await ann.order()
    before = suffered(shared, "slow", "info")
    fail(shared, "slow", "info", times=1, seconds=7, uuid=invoice.uuid)
    await ann.pay(invoice, mode="none")
    await ann.was_granted_once(invoice)
    assert suffered(shared, "slow", "info") == before + 1


async def test_one_invoice_that_is_refused_holds_up_no_other(
    shared: Stage, ann: Customer, admin: Customer
) -> None:
    """Moved data: it has failed four times before, so that the fifth is reported."""
    others = [shared.person(ann.id + place * 1_000_000) for place in (1, 2, 3)]
    poisoned = await ann.order()
    invoices = [await one.order() for one in others]
    fail(shared, "poison", "info", uuid=poisoned.uuid)
    await shared.rows(
        "UPDATE payments SET failures = 4 WHERE invoice_uuid = :uuid RETURNING id", uuid=poisoned.uuid
    )
    for invoice in (poisoned, *invoices):
        invoice.pay(invoice.to_surcharge)

    for one, invoice in zip(others, invoices, strict=True):
        await one.was_granted_once(invoice)
    payment = await ann.payment(poisoned)
    await admin.read(f"keeps refusing to tell about payment {payment['id'].hex[:10].upper()}")
    assert await ann.ledger() == []

    shared.world.faults.clear()
    await shared.postback(poisoned)
    await ann.was_granted_once(poisoned)


async def test_money_for_another_price_waits_for_a_person(
    shared: Stage, ann: Customer, admin: Customer, settings: Settings
) -> None:
    invoice = await ann.order()
    fail(shared, "other_amount", "info", amount=1, uuid=invoice.uuid)
    await ann.pay(invoice)

    await ann.read("A person has to look at it first")
    payment = await ann.payment(invoice)
    assert payment["review"]
    number = payment["id"].hex[:10].upper()
    alert = await admin.read(number)
    assert "A payment needs you" in alert.body["text"]
    assert await ann.ledger() == []

    await settlement.accept(shared.db, payment["id"], settings, actor="console:merchant", reason="a fee")
    await ann.was_granted_once(invoice)
    await ann.read("Paid. Thank you!")


async def test_test_mode_closes_sales_and_names_the_switch(
    shared: Stage, ann: Customer, admin: Customer
) -> None:
    shared.world.project.test_mode = True
    before = set(shared.world.invoices)
    await press_pay(ann)
    await ann.read("Sales are closed for the moment")
    await admin.read("CRYPTOCLOUD_ALLOW_TEST_MODE")
    (made,) = set(shared.world.invoices) - before
    assert shared.world.invoices[made].status == "canceled"
    assert not any("/pay/" in str(button.get("url")) for one in ann.messages for button in ann.buttons(one))

    shared.world.project.test_mode = False
    await ann.press("pay:pro:month")
    await ann.pay(await ann.invoice())
    await ann.read("subscription is active")


async def test_a_key_that_is_refused_later_pauses_checks_and_is_told_once(
    shared: Stage, ann: Customer, admin: Customer, bot: Bot
) -> None:
    invoice = await ann.order()
    fail(shared, "forbidden")
    await ann.pay(invoice, mode="none")
    await until(lambda: says(bot, shared, "our key is refused"), what="the process to say so")
    await until(lambda: suffered(shared, "forbidden", "info") >= 2, what="two refused checks")

    bob = shared.person(ann.id + 1_000_000)
    await press_pay(bob)
    await bob.read("Sales are closed for the moment")
    await admin.read("CryptoCloud does not accept our key")
    assert sum("does not accept our key" in text for text in admin.texts()) == 1
    (row,) = await shared.rows("SELECT failures FROM payments WHERE invoice_uuid = :uuid", uuid=invoice.uuid)
    assert row["failures"] == 0

    shared.world.faults.clear()
    await ann.was_granted_once(invoice)
    await until(lambda: says(bot, shared, "ok"), what="the process to be ready")
