"""What the process says of itself, and to whom."""

import asyncio
import socket
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request
from sqlalchemy import URL, text

from services.db import Database
from services.vitals import OK, Vitals
from tests import shop
from tests.webhook_server.conftest import OpenSite, Site
from webhook_server.health import is_on_this_machine

TOKEN = "canary-metrics-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ABROAD = {"X-Forwarded-For": "203.0.113.7"}
FIELDS = {
    "status",
    "database",
    "migrations",
    "telegram",
    "cryptocloud",
    "workers",
    "oldest_unsettled_s",
    "outbox_age_s",
}


def fine() -> Vitals:
    return Vitals(telegram=OK, cryptocloud=OK, migrations=OK)


async def ready(site: Site, **request: Any) -> tuple[int, dict[str, Any]]:
    async with site.get("/health/ready", **request) as answer:
        return answer.status, await answer.json()


async def test_process_that_lives_says_so_without_its_database(
    open_site: OpenSite, no_database: Database
) -> None:
    site = await open_site(no_database, vitals=Vitals())
    async with site.get("/health") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ok"})


async def test_ready_process_tells_its_operator_everything(site: Site, db: Database) -> None:
    await shop.customer(db)
    await shop.invoice(db, age=timedelta(seconds=90))
    status, told = await ready(site)
    assert status == 200
    assert set(told) == FIELDS
    assert told["status"] == told["database"] == told["workers"] == "ok"
    assert 90 <= told["oldest_unsettled_s"] < 120
    assert told["outbox_age_s"] == 0


async def test_process_that_has_just_started_is_not_ready(open_site: OpenSite, db: Database) -> None:
    site = await open_site(db, vitals=Vitals())
    status, told = await ready(site)
    assert status == 503
    assert told["status"] == "unavailable"
    assert told["database"] == "ok"
    assert told["telegram"] == told["cryptocloud"] == told["migrations"] == "not asked yet"


@pytest.mark.parametrize("neighbour", ["telegram", "cryptocloud", "migrations"])
async def test_process_with_a_silent_neighbour_is_not_ready(
    open_site: OpenSite, db: Database, neighbour: str
) -> None:
    vitals = fine()
    setattr(vitals, neighbour, "refused: 401")
    status, told = await ready(await open_site(db, vitals=vitals))
    assert (status, told["status"], told[neighbour]) == (503, "unavailable", "refused: 401")


async def test_process_with_a_silent_worker_is_not_ready(open_site: OpenSite, db: Database) -> None:
    vitals = fine()
    vitals.expect("checker", within=-1)
    status, told = await ready(await open_site(db, vitals=vitals))
    assert (status, told["workers"]) == (503, "silent: checker")


async def test_process_without_its_database_is_not_ready(open_site: OpenSite, no_database: Database) -> None:
    status, told = await ready(await open_site(no_database))
    assert (status, told["status"], told["database"]) == (503, "unavailable", "away")
    assert told["oldest_unsettled_s"] is told["outbox_age_s"] is None


async def test_database_without_our_tables_is_not_ready(open_site: OpenSite, empty_database: URL) -> None:
    db = Database(empty_database)
    status, told = await ready(await open_site(db))
    assert (status, told["database"]) == (503, "fails: ProgrammingError")
    await db.dispose()


async def test_read_only_database_is_not_ready(open_site: OpenSite, db: Database) -> None:
    name = (await shop.row(db, "SELECT current_database() AS name"))["name"]
    async with db.begin() as session:
        await session.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    await db.dispose()
    status, told = await ready(await open_site(db))
    assert (status, told["database"]) == (503, "read-only")


async def test_database_that_hangs_holds_nobody_up(open_site: OpenSite) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        db = Database(f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/x")
        site = await open_site(db)
        async with asyncio.timeout(6):
            answers = await asyncio.gather(*(ready(site) for _ in range(20)))
        assert {(status, told["database"]) for status, told in answers} == {(503, "no answer within 2 s")}
        await site.server.stop()
        await db.dispose()


async def test_eager_pollers_cost_the_database_one_question(open_site: OpenSite) -> None:
    knocks = 0

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal knocks
        knocks += 1
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        db = Database(f"postgresql://x@127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
        site = await open_site(db)
        await ready(site)
        for_one = knocks
        await asyncio.sleep(1.1)
        await asyncio.gather(*(ready(site) for _ in range(40)))
        assert for_one > 0
        assert knocks == 2 * for_one
        await db.dispose()


@pytest.mark.parametrize(
    "headers",
    [ABROAD, {"Forwarded": "for=203.0.113.7"}, {"X-Real-IP": "127.0.0.1"}],
    ids=lambda h: next(iter(h)),
)
async def test_others_learn_nothing_but_the_status(
    open_site: OpenSite, db: Database, no_database: Database, headers: dict[str, str]
) -> None:
    assert await ready(await open_site(db), headers=headers) == (200, {"status": "ok"})
    assert await ready(await open_site(no_database), headers=headers) == (503, {"status": "unavailable"})


@pytest.mark.parametrize(
    ("peer", "here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.5", False),
        ("203.0.113.7", False),
        ("::ffff:10.0.0.5", False),
        ("2001:db8::1", False),
        ("", False),
    ],
)
def test_only_loopback_is_this_machine(peer: str, here: bool) -> None:
    transport = Mock()
    transport.get_extra_info.return_value = (peer, 12345)
    request = make_mocked_request("GET", "/health/ready", transport=transport)
    assert is_on_this_machine(request) is here


async def test_bearer_token_opens_the_details_from_anywhere(open_site: OpenSite, db: Database) -> None:
    site = await open_site(db, metrics_token=TOKEN)
    _, told = await ready(site, headers=ABROAD | BEARER)
    assert set(told) == FIELDS
    for wrong in ("", "Bearer", "Bearer ", "Bearer x", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"):
        _, told = await ready(site, headers=ABROAD | {"Authorization": wrong})
        assert set(told) == {"status"}, wrong


async def test_empty_token_opens_nothing(site: Site) -> None:
    for empty in ("Bearer", "Bearer "):
        _, told = await ready(site, headers=ABROAD | {"Authorization": empty})
        assert set(told) == {"status"}
