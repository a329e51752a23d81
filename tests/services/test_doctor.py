"""`doctor` finds what is wrong with each neighbour, hides none behind another, and shows no secret."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, text

from sandbox.app import Sandbox, running
from sandbox.invoices import Invoice, new_uuid
from sandbox.world import Credentials, World
from services import doctor
from services.config import Settings
from services.db import Database
from services.doctor import Finding, Level
from services.metrics import Metrics
from services.tiers import PriceList
from services.vitals import OK, Vitals
from tests.console import NOWHERE, ROOT, SECRETS, Console
from tests.shop import customer, invoice, rows
from webhook_server.app import create_app, serve

DAY = 86_400.0
Examine = Callable[..., Awaitable[list[Finding]]]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """The world outside, which the canary secrets open."""
    world = World(
        Credentials(
            bot_token=SECRETS["BOT_TOKEN"],
            api_key=SECRETS["CRYPTOCLOUD_API_KEY"],
            shop_id="SHOPSHOPSHOPSHOP",
            secret_key=SECRETS["CRYPTOCLOUD_SECRET_KEY"],
        )
    )
    async with running(world) as box:
        yield box


@pytest.fixture
async def bot_url(
    db: Database, make_settings: Callable[..., Settings], price_list: PriceList
) -> AsyncIterator[str]:
    """The web server of a bot that has the canary secret."""
    settings = make_settings(http_port=0, cryptocloud_secret_key=SECRETS["CRYPTOCLOUD_SECRET_KEY"])
    app = create_app(
        db=db,
        settings=settings,
        price_list=price_list,
        vitals=Vitals(telegram=OK, cryptocloud=OK, migrations=OK),
        metrics=Metrics(),
        on_hint=lambda: None,
        on_unknown_invoice=lambda: None,
        handle_update=None,
    )
    server = await serve(app, settings)
    yield f"http://127.0.0.1:{server.port}"
    await server.stop()


@pytest.fixture
def examine(sandbox: Sandbox, database: URL, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Examine:
    """Look at a shop whose neighbours are all there, but for what a test changes."""

    async def look(**changes: str) -> list[Finding]:
        console = Console(
            tmp_path,
            database,
            **({"TELEGRAM_API_URL": sandbox.url, "CRYPTOCLOUD_API_URL": sandbox.url} | changes),
        )
        monkeypatch.chdir(tmp_path)
        for name, value in console.settings.items():
            monkeypatch.setenv(name, value)
        found = await doctor.examine()
        assert not any(secret in str(found) for secret in SECRETS.values())
        return found

    return look


def level_of(check: str, found: list[Finding]) -> Level:
    """The worst that was found about something."""
    levels = [one.level for one in found if one.check == check]
    return max(levels, key=list(Level).index)


def what(check: str, found: list[Finding]) -> str:
    return " / ".join(f"{one.what} -> {one.mend}" for one in found if one.check == check)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def an_invoice(world: World, *, test_mode: bool, age: float = 0) -> None:
    """Let CryptoCloud have an invoice."""
    uuid, created = new_uuid(), time.time() - age
    world.invoices[uuid] = Invoice(
        uuid=uuid,
        order_id=None,
        amount_in_fiat=Decimal(99),
        fiat_currency="USD",
        coin="USDT_TRC20",
        link="https://pay.example/x",
        test_mode=test_mode,
        created=created,
        expires=created + DAY,
    )


async def test_a_healthy_shop_has_no_failure(
    examine: Examine, sandbox: Sandbox, bot_url: str, db: Database
) -> None:
    an_invoice(sandbox.world, test_mode=True, age=3600)
    an_invoice(sandbox.world, test_mode=False)

    found = await examine(BASE_URL=bot_url)

    checks = {one.check for one in found if one.level is Level.OK}
    assert checks == {
        "settings", "tiers", "database", "clock", "schema", "telegram", "updates", "cryptocloud",
        "test mode", "notifications",
    }  # fmt: skip
    assert [one.check for one in found if one.level is not Level.OK] == ["notifications"]
    assert "cannot reach" in what("notifications", found)
    assert "within 60 s" in what("notifications", found)
    assert "@subgate_sandbox_bot" in what("telegram", found)
    assert "off" in what("test mode", found)
    stored = await rows(db, "SELECT invoice_uuid, outcome FROM webhook_events")
    assert stored == [{"invoice_uuid": doctor.IMPOSSIBLE_INVOICE, "outcome": "unknown"}]


async def test_wrong_settings_do_not_hide_the_price_list(examine: Examine) -> None:
    found = await examine(BOT_TOKEN="nonsense", TIERS_FILE="nowhere.toml")

    assert [(one.level, one.check) for one in found] == [
        (Level.FAILURE, "settings"),
        (Level.FAILURE, "tiers"),
    ]
    assert "BOT_TOKEN" in what("settings", found)
    assert "nowhere.toml" in what("tiers", found)


async def test_settings_that_work_but_should_be_looked_at_are_warnings(examine: Examine) -> None:
    found = await examine(
        ADMIN_IDS="",
        CRYPTOCLOUD_SECRET_KEY="short",
        CRYPTOCLOUD_ALLOW_TEST_MODE="true",
        CRYPTOCLOUD_API_URL="https://cryptocloud.invalid",
    )

    assert level_of("settings", found) is Level.WARNING
    for name in ("ADMIN_IDS", "CRYPTOCLOUD_SECRET_KEY", "CRYPTOCLOUD_ALLOW_TEST_MODE"):
        assert name in what("settings", found)


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("unauthorized", "HTTP 401, Unauthorized -> copy BOT_TOKEN again"),
        ("not_found", "HTTP 404, Not Found -> copy BOT_TOKEN again"),
        ("bad_gateway", "HTTP 502 without"),
        ("close", "no connection"),
    ],
)
async def test_telegram_that_does_not_answer_well_is_one_failure(
    examine: Examine, sandbox: Sandbox, fault: str, complaint: str
) -> None:
    sandbox.world.faults.add("telegram", fault)

    found = await examine()

    assert (level_of("telegram", found), level_of("cryptocloud", found)) == (Level.FAILURE, Level.OK)
    assert complaint in what("telegram", found)


@pytest.mark.parametrize(
    ("settings", "url", "level", "complaint"),
    [
        ({}, "", Level.OK, "polling"),
        ({}, "https://elsewhere.example/canary-path", Level.WARNING, "delivers to https://elsewhere.example ->"),
        ({"TELEGRAM_UPDATES": "webhook"}, "", Level.WARNING, "delivers to nobody yet"),
        ({"TELEGRAM_UPDATES": "webhook"}, "https://elsewhere.example/canary-path", Level.FAILURE, "another address"),
        ({"TELEGRAM_UPDATES": "webhook"}, f"{NOWHERE}/api/webhook/telegram", Level.OK, "webhook"),
    ],
)  # fmt: skip
async def test_where_telegram_delivers_is_compared_with_the_settings(
    examine: Examine, sandbox: Sandbox, settings: dict[str, str], url: str, level: Level, complaint: str
) -> None:
    sandbox.world.webhook.url = url

    found = await examine(TELEGRAM_WEBHOOK_SECRET="0123456789abcdef", **settings)

    assert (level_of("updates", found), "canary-path" in str(found)) == (level, False)
    assert complaint in what("updates", found)


async def test_deliveries_that_fail_and_pile_up_are_told(examine: Examine, sandbox: Sandbox) -> None:
    hook = sandbox.world.webhook
    hook.url, hook.last_error, hook.last_error_at = (
        f"{NOWHERE}/api/webhook/telegram",
        "Timed out",
        time.time(),
    )
    for number in range(101):
        sandbox.world.updates.push("message", {"date": time.time()}, lane=str(number))

    found = await examine(TELEGRAM_UPDATES="webhook", TELEGRAM_WEBHOOK_SECRET="0123456789abcdef")

    assert level_of("updates", found) is Level.WARNING
    assert "101 updates wait" in what("updates", found)
    assert "Telegram could not deliver at" in what("updates", found)


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [("unauthorized", "CRYPTOCLOUD_API_KEY"), ("forbidden", "CRYPTOCLOUD_API_KEY"), ("html_502", "HTTP 502")],
)
async def test_cryptocloud_that_does_not_answer_well_is_one_failure(
    examine: Examine, sandbox: Sandbox, fault: str, complaint: str
) -> None:
    sandbox.world.faults.add("cryptocloud", fault, times=None)

    found = await examine()

    assert (level_of("cryptocloud", found), level_of("telegram", found)) == (Level.FAILURE, Level.OK)
    assert complaint in what("cryptocloud", found)


async def test_test_mode_is_read_from_the_newest_invoice(examine: Examine, sandbox: Sandbox) -> None:
    assert level_of("test mode", before := await examine()) is Level.WARNING
    assert "unknown until the first invoice" in what("test mode", before)

    an_invoice(sandbox.world, test_mode=False, age=3600)
    an_invoice(sandbox.world, test_mode=True)

    assert level_of("test mode", await examine()) is Level.FAILURE
    assert level_of("test mode", await examine(CRYPTOCLOUD_ALLOW_TEST_MODE="true")) is Level.WARNING


async def test_a_database_that_is_away_is_a_failure_beside_the_others(examine: Examine) -> None:
    found = await examine(DATABASE_URL="postgresql://shop:canary-password@127.0.0.1:9/shop")

    assert (level_of("database", found), level_of("telegram", found)) == (Level.FAILURE, Level.OK)
    assert "127.0.0.1:9" in what("database", found)
    assert "canary-password" not in str(found)


async def test_an_old_schema_and_a_newer_one_are_told(
    examine: Examine, empty_database: URL, db: Database
) -> None:
    empty = await examine(DATABASE_URL=empty_database.render_as_string(hide_password=False))
    async with db.begin() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    assert level_of("schema", empty) is Level.FAILURE
    assert "python -m services migrate" in what("schema", empty)
    assert level_of("schema", await examine()) is Level.WARNING


async def test_a_clock_that_is_wrong_is_told(examine: Examine, db: Database) -> None:
    async with db.begin() as session:
        await session.execute(text("CREATE SCHEMA ahead"))
        await session.execute(
            text(
                "CREATE FUNCTION ahead.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
                " AS $$ SELECT pg_catalog.clock_timestamp() + interval '7 minutes' $$"
            )
        )
        name = await session.scalar(text("SELECT current_database()"))
        await session.execute(text(f"ALTER DATABASE {name} SET search_path = ahead, pg_catalog, public"))

    found = await examine()

    assert level_of("clock", found) is Level.WARNING
    assert "420 s behind" in what("clock", found)


async def test_cases_that_wait_for_a_person_are_told(examine: Examine, db: Database) -> None:
    await customer(db)
    payment_id, _ = await invoice(db, review=True, review_reason="the invoice is in EUR")
    async with db.begin() as session:
        await session.execute(
            text("INSERT INTO unclaimed_invoices (invoice_uuid, provider) VALUES ('LOST1234', '{}')")
        )

    found = await examine()

    assert level_of("cases", found) is Level.WARNING
    assert f"payment accept|reject {payment_id.hex[:10].upper()}" in what("cases", found)
    assert "payment adopt INV-LOST1234" in what("cases", found)


async def test_an_embedded_database_that_is_not_there_yet_is_not_made(
    examine: Examine, tmp_path: Path
) -> None:
    found = await examine(DATABASE_URL="", DATA_DIR=str(tmp_path / "data"))

    assert (level_of("database", found), level_of("disk", found)) == (Level.WARNING, Level.OK)
    assert names_in(tmp_path) == []


async def test_the_notification_url_must_lead_to_a_bot_with_the_same_secret(
    examine: Examine, sandbox: Sandbox, bot_url: str
) -> None:
    nobody = await examine(BASE_URL=NOWHERE)
    somebody_else = await examine(BASE_URL=sandbox.url)
    other_secret = await examine(
        BASE_URL=bot_url, CRYPTOCLOUD_SECRET_KEY="another secret of thirty-two bytes"
    )

    assert level_of("notifications", nobody) is Level.WARNING  # CryptoCloud could not come there anyway
    assert "start the bot" in what("notifications", nobody)
    assert level_of("notifications", somebody_else) is Level.FAILURE
    assert "HTTP 404" in what("notifications", somebody_else)
    assert level_of("notifications", other_secret) is Level.FAILURE
    assert "another CRYPTOCLOUD_SECRET_KEY" in what("notifications", other_secret)


async def test_the_console_tells_levels_and_ends_with_1_when_something_fails(
    tmp_path: Path, database: URL, sandbox: Sandbox, bot_url: str
) -> None:
    console = Console(
        tmp_path, database, TELEGRAM_API_URL=sandbox.url, CRYPTOCLOUD_API_URL=sandbox.url, BASE_URL=bot_url
    )

    well = await console("doctor", "--json")
    ill = await console("doctor", TELEGRAM_API_URL=NOWHERE, TIERS_FILE=str(ROOT / "README.md"))

    assert (well.code, well.err) == (0, "")
    assert {
        "level": "ok",
        "check": "telegram",
        "what": "the bot is @subgate_sandbox_bot",
        "mend": "",
    } in well.json
    assert (ill.code, ill.err) == (1, "")
    told: list[Any] = [line.split(maxsplit=2)[:2] for line in ill.out.splitlines()]
    assert ["failure", "telegram"] in told
    assert ["failure", "tiers"] in told
