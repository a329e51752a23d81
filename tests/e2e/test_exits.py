"""How the process ends when it cannot begin: exit code 2, one line that says how to mend it, and no secret in it."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import URL

from services.embedded_postgres import EmbeddedPostgres
from tests.conftest import administer
from tests.e2e.stage import ROOT, Stage, free_port, stage, until
from tests.shop import rows

pytestmark = pytest.mark.timeout(300)  # a busy machine takes its time to start processes

CANARY = "canary-7f3a9c51d2"
WITH_AIOGRAM = 99


@dataclass(frozen=True)
class Ending:
    """How a process ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> list[str]:
        """What is for people: every line that is not of the log."""
        return [line for line in self.err.splitlines() if not line.startswith("{")]

    def trouble(self, word: str, *secrets: str) -> str:
        """Tell what is wrong with this ending; empty when it is a refusal that names `word`."""
        if self.code == WITH_AIOGRAM:
            return "the Telegram library was loaded"
        refusal = len(self.words) == 1 and self.words[0].startswith("subgate: ") and word in self.words[0]
        if self.code != 2 or not refusal or self.out:
            return f"{self}"
        return "a secret was printed" if any(one in self.err for one in (CANARY, *secrets)) else ""


async def end(play: Stage, **changes: str | None) -> Ending:
    """Start a process and wait for its end; a setting of None is left out."""
    given = play.settings(free_port()) | changes
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot",
        env={name: value for name, value in given.items() if value is not None},
        cwd=play.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(100):
            out, err = await process.communicate()
    except BaseException:
        process.kill()
        raise
    assert process.returncode is not None
    return Ending(process.returncode, out.decode(), err.decode())


@pytest.fixture
def no_aiogram(tmp_path: Path) -> str:
    """A search path on which loading the Telegram library ends the process: mistakes must show before."""
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "aiogram.py").write_text(f"import os\nos._exit({WITH_AIOGRAM})\n")
    return f"{tmp_path / 'stub'}:{ROOT}"


@pytest_asyncio.fixture(scope="module", autouse=True)
async def unreachable(
    template: URL, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator["asyncio.Task[Ending]"]:
    """A process whose database is not there; begun early, because it waits for half a minute."""
    folder = tmp_path_factory.mktemp("unreachable")
    address = f"postgresql://subgate:{CANARY}@127.0.0.1:{free_port()}/subgate"
    async with stage(template, folder) as play:
        yield asyncio.create_task(end(play, DATABASE_URL=address))


# One of each source; tests/services/test_config.py and test_tiers.py have the others.
WRONG_SETTINGS: dict[str, tuple[dict[str, str | None], str]] = {
    "no token of BotFather's": ({"BOT_TOKEN": CANARY}, "BOT_TOKEN must be"),
    "empty secret": ({"CRYPTOCLOUD_SECRET_KEY": ""}, "CRYPTOCLOUD_SECRET_KEY"),
    "several at once": ({"BOT_TOKEN": None, "HTTP_PORT": "web"}, "HTTP_PORT"),
    "another database": ({"DATABASE_URL": f"mysql://me:{CANARY}@host/shop"}, "DATABASE_URL must start with"),
    "no such option": (
        {"DATABASE_URL": f"postgresql://me:{CANARY}@127.0.0.1:9/shop?colour=green"},
        "DATABASE_URL has an option",
    ),
    "failpoint with real money": (
        {"FAILPOINT": "settle.granted", "CRYPTOCLOUD_API_URL": "https://api.cryptocloud.plus"},
        "FAILPOINT is for tests",
    ),
    "broken tiers file": ({"TIERS_FILE": "broken.toml"}, "broken.toml"),
    "data in a file": ({"DATABASE_URL": "", "DATA_DIR": "broken.toml/data"}, "broken.toml"),
}


async def test_mistakes_are_named_in_one_line_before_the_telegram_library_is_loaded(
    own: Stage, no_aiogram: str
) -> None:
    (own.folder / "broken.toml").write_text("currency = USD\n")
    few = asyncio.Semaphore(3)

    async def one(changes: dict[str, str | None], word: str) -> str:
        async with few:
            ending = await end(own, **{"PYTHONPATH": no_aiogram} | changes)
        return ending.trouble(word)

    found = await asyncio.gather(*(one(*case) for case in WRONG_SETTINGS.values()))
    assert {name: said for name, said in zip(WRONG_SETTINGS, found, strict=True) if said} == {}


async def test_a_database_that_refuses_us_is_told_at_once(
    own: Stage, no_aiogram: str, template: URL, postgres: EmbeddedPostgres
) -> None:
    """With 30 seconds of waiting before, each of these would be late for the others."""
    role = f"locked_{uuid4().hex[:8]}"
    await administer(template, f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    rules = postgres.data / "pg_hba.conf"
    await asyncio.to_thread(lambda: rules.write_text(f"local all {role} scram-sha-256\n{rules.read_text()}"))
    before = await rows(own.db, "SELECT pg_conf_load_time() AS loaded")
    await administer(template, "SELECT pg_reload_conf()")

    async def is_loaded() -> bool:
        return await rows(own.db, "SELECT pg_conf_load_time() AS loaded") != before

    await until(is_loaded, what="the new rules")
    host, port = template.query["host"], template.port
    cases = {
        f"postgresql://{role}:{CANARY}@/{own.url.database}?host={host}&port={port}": "password authentication",
        f"postgresql://nobody_{role}:{CANARY}@/subgate?host={host}&port={port}": "does not exist",
        f"postgresql://subgate:{CANARY}@/no_such_shop?host={host}&port={port}": "does not exist",
    }
    async with asyncio.timeout(25):
        endings = await asyncio.gather(
            *(end(own, PYTHONPATH=no_aiogram, DATABASE_URL=address) for address in cases)
        )
    assert [one.trouble(word) for one, word in zip(endings, cases.values(), strict=True)] == ["", "", ""]


async def test_a_token_that_telegram_does_not_know_or_a_taken_port_ends_the_start(own: Stage) -> None:
    unknown = f"7000000001:{CANARY}-{'x' * 20}"
    own.world.faults.add("telegram", "not_found", method="getMe", times=None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        unauthorized, not_found = await asyncio.gather(end(own, BOT_TOKEN=unknown), end(own))
        own.world.faults.clear()
        in_use = await end(own, HTTP_PORT=port)
    secrets = own.world.credentials.api_key, own.world.credentials.secret_key
    assert unauthorized.trouble("BOT_TOKEN is not accepted", *secrets) == ""
    assert not_found.trouble("BOT_TOKEN is not accepted", *secrets) == ""
    assert in_use.trouble(f"HTTP_PORT {port} is taken", *secrets) == ""


async def test_a_process_that_sold_and_was_stopped_has_printed_no_secret(own: Stage) -> None:
    """The stage looks for its own; here are those that it does not set."""
    ann = own.person(1)
    bot = await own.open(
        METRICS_TOKEN=CANARY,
        DATABASE_URL=own.url.set(password=CANARY).render_as_string(hide_password=False),
    )
    own.world.faults.add("telegram", "close", method="sendMessage", chat_id=ann.id)
    own.world.faults.add("cryptocloud", "server_error", method="create")
    ann.say("/start")
    await ann.press("tier:pro")
    await ann.press("period:pro:month")
    await ann.press("pay:pro:month")
    await ann.read("could not be made")
    await ann.press("pay:pro:month")
    await ann.pay(await ann.invoice())
    await ann.read("subscription is active")
    assert await bot.stop(within=10) == 0
    assert not bot.lines(CANARY)
    assert all(json.loads(line) for line in bot.log)


async def test_a_database_that_is_not_there_is_waited_for_half_a_minute(
    unreachable: "asyncio.Task[Ending]",
) -> None:
    ending = await unreachable
    assert ending.trouble("cannot be reached for 30 s") == ""
    assert "waiting for the database" in ending.err
