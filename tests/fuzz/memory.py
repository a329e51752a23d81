"""A process of its own under bad requests, with an eye on its memory (which Linux tells)."""

import asyncio
from pathlib import Path
from random import Random

import aiohttp
from sqlalchemy import URL

from tests.e2e.stage import Bot, stage
from tests.fuzz.bodies import FORM, JSON, ODD, damaged
from tests.webhook_server.conftest import POSTBACK, postback, sign

MIB = 1024 * 1024
ROUND = 500


def resident(bot: Bot) -> int:
    """Read how many MiB a process holds."""
    pages = int(Path(f"/proc/{bot.process.pid}/statm").read_text().split()[1])
    return pages * 4096 // MIB


def awkward(number: int, secret: str) -> list[tuple[bytes, str]]:
    """Make bodies that are large, deep, forged, damaged, or well signed for strangers."""
    chance = Random(number)
    good = str(postback("STRANGER", sign("STRANGER", secret=secret))).replace("'", '"').encode()
    large = b'{"token": "' + b"x" * 60_000 + b'"}'
    deep = b'{"a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    odd = [str(one).encode("utf-8", "replace") for one in ODD]
    kinds = [good, damaged(chance, good), large, deep, b"x" * 70_000, *odd]
    return [(chance.choice(kinds), chance.choice([JSON, FORM])) for _ in range(ROUND)]


async def watch_memory(database: URL, folder: Path, requests: int) -> tuple[int, int]:
    """Tell the process's memory in MiB after two rounds of warming up, and after so many requests more."""
    async with stage(database, folder) as play:
        bot = await play.open()
        sent = awkward(1, play.world.credentials.secret_key)

        async def one_round() -> None:
            few = asyncio.Semaphore(8)

            async def post(body: bytes, content_type: str) -> None:
                headers = {"Content-Type": content_type}
                async with few, client.post(bot.url + POSTBACK, data=body, headers=headers) as answer:
                    await answer.read()
                    assert answer.status < 500

            await asyncio.gather(*(post(*one) for one in sent))

        async with aiohttp.ClientSession() as client:
            await one_round()
            await one_round()
            before = resident(bot)
            for _ in range(-(-requests // ROUND)):
                await one_round()
            return before, resident(bot)
