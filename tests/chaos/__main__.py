"""Chaos: real processes, a real database and a pretended outside world, while everything fails; then the recount.

    python -m tests.chaos --minutes 10 --size 1000 --seed 7

Ends with 1 if the promise was broken once. All on loopback, and over by itself.
"""

import argparse
import asyncio
import contextlib
import logging
import random
import secrets
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from statistics import median

import uvloop

from sandbox import people
from services.config import Settings
from services.cryptocloud import CryptoCloud
from services.printing import fields, table
from services.tiers import PriceList
from tests.chaos import goods
from tests.chaos.customers import Crowd
from tests.chaos.diary import Diary
from tests.chaos.disasters import Disasters
from tests.chaos.merchant import Merchant
from tests.chaos.recount import Recount, Verdicts, is_drained, read_books, told_to_be_active
from tests.chaos.replicas import Replicas
from tests.chaos.server import Server, running_server
from tests.e2e.proxy import proxy
from tests.e2e.stage import ADMIN, Stage, free_port, stage, until

REPLICAS = 3
LONGEST_DRAIN = 180.0
INVARIANTS = {
    "I1": "every grant has money behind it",
    "I2": "one grant per invoice",
    "I3": "each end is the fold of the ledger",
    "I4": "every grant has exactly one receipt job",
    "I5": "each receipt is sent in the end",
    "I6": "nobody entitled loses access",
    "I7": "money in = granted",
    "I8": "nothing is leased for ever",
    "I9": "no 5xx while dependencies are up",
}


def main() -> int:
    """Run as asked for; 0 when everything was in order."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description="Prove the promise under faults."
    )
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="repeats the same plan")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long people buy and things fail")
    parser.add_argument("--size", type=int, default=1000, help="how many invoices are to be paid")
    parser.add_argument("--log", type=Path, help="where to keep what the processes said")
    asked = parser.parse_args()
    logging.disable(logging.ERROR)  # the pretended world complains of every caller that is killed
    with tempfile.TemporaryDirectory(prefix="subgate-chaos-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        return uvloop.run(_run(Path(folder), asked.seed, asked.minutes * 60, asked.size, asked.log))


async def _run(folder: Path, seed: int, seconds: float, size: int, log: Path | None) -> int:
    began = time.monotonic()
    diary = Diary()
    price_list, by_price = goods.prices(goods.write_tiers(folder))
    ports = [free_port() for _ in range(REPLICAS)]
    async with contextlib.AsyncExitStack() as everything:
        server = await everything.enter_async_context(running_server(folder / "data", diary))
        front = await everything.enter_async_context(proxy(*(("127.0.0.1", port) for port in ports)))
        play = await everything.enter_async_context(
            stage(
                server.straight,
                folder,
                DATABASE_URL=server.over_the_wire("subgate"),
                TIERS_FILE=str(folder / "tiers.toml"),
                TELEGRAM_UPDATES="webhook",
                TELEGRAM_WEBHOOK_SECRET=secrets.token_hex(16),
                BASE_URL=front.url,
            )
        )
        world = play.world
        for name in ("bot_calls", "provider_calls", "postbacks"):
            setattr(world, name, deque[dict[str, object]]())  # the recount needs every line
        world.webhook.retry_unit = 0.05
        people.say(world, ADMIN, "/start")
        dice = {name: random.Random(f"{seed}:{name}") for name in ("replicas", "crowd", "disasters")}
        replicas = Replicas(play, front, ports, diary, dice["replicas"])
        crowd = Crowd(play, diary, by_price, dice["crowd"], size, seconds, regulars=20 if size >= 200 else 8)
        disasters = Disasters(
            crowd, replicas, server, diary, dice["disasters"], crash_every=max(20.0, min(30.0, seconds / 14))
        )
        merchant = _merchant(play, crowd, server, replicas, diary, price_list, folder)
        everything.push_async_callback(merchant.cryptocloud.aclose)
        everything.push_async_callback(replicas.close)
        replicas.open()
        await replicas.all_open()
        replicas.mortal = True
        await _storm(crowd, disasters, merchant, seconds, with_restore=seconds >= 100)
        drained = await _calm_down(crowd, server, replicas, merchant, diary)
        books = await read_books(crowd)
        found = Recount(crowd, books, merchant, replicas, diary, price_list).run()
        await _ask_for_status(crowd, found)
        if replicas.openings:
            found.figure("a process takes part after (median)", f"{median(replicas.openings):.1f} s")
        found.figure("drained after", f"{drained:.0f} s")
        found.figure("seed, time", f"{seed}, {time.monotonic() - began:.0f} s")
        if log is not None:
            said = (f"{bot.port} {line}\n" for bot in play.bots for line in bot.log)
            log.write_text("".join(said))
        return _print(found, diary, replicas)


def _merchant(
    play: Stage,
    crowd: Crowd,
    server: Server,
    replicas: Replicas,
    diary: Diary,
    price_list: PriceList,
    folder: Path,
) -> Merchant:
    credentials = play.world.credentials
    settings = Settings(
        _env_file=None,
        bot_token=credentials.bot_token,
        admin_ids=(ADMIN,),
        cryptocloud_api_key=credentials.api_key,
        cryptocloud_shop_id=credentials.shop_id,
        cryptocloud_secret_key=credentials.secret_key,
        lease_seconds=2,
        check_seconds=2,
    )
    cryptocloud = CryptoCloud(
        api_url=play.sandbox.url, api_key=credentials.api_key, shop_id=credentials.shop_id
    )
    return Merchant(crowd, server, replicas, diary, settings, price_list, cryptocloud, folder / "shop.backup")


async def _storm(
    crowd: Crowd, disasters: Disasters, merchant: Merchant, seconds: float, *, with_restore: bool
) -> None:
    """Let people buy while everything fails, and in the middle of it lose the database once."""
    buying = asyncio.create_task(crowd.shop())
    failing = asyncio.create_task(disasters.play())
    all_tasks = [buying, failing]
    try:
        if with_restore:
            await _pass_time(seconds * 0.45, *all_tasks)
            await merchant.back_up()
            await _pass_time(min(30.0, seconds * 0.06), *all_tasks)
            await merchant.restore()
            all_tasks.append(asyncio.create_task(merchant.keep_house()))
        end = crowd.began + seconds
        await _pass_time(end - time.monotonic(), *all_tasks)
        while crowd.paid < crowd.size and time.monotonic() < end + seconds / 2:
            await _pass_time(0.5, *all_tasks)
    finally:
        crowd.closing = True
        disasters.over.set()
        await asyncio.wait({buying, failing})
        for one in all_tasks:
            one.cancel()
        await asyncio.gather(*all_tasks, return_exceptions=True)
    buying.result()


async def _pass_time(seconds: float, *others: "asyncio.Task[None]") -> None:
    """Wait, and fail as soon as one of the others does."""
    done, _ = await asyncio.wait(others, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
    for other in done:
        other.result()


async def _calm_down(
    crowd: Crowd, server: Server, replicas: Replicas, merchant: Merchant, diary: Diary
) -> float:
    """Let nothing go wrong any more, and wait until all that was paid is granted and told."""
    began = time.monotonic()
    replicas.mortal = False
    crowd.world.faults.clear()
    server.wire.mend()
    while not await is_drained(crowd) and time.monotonic() < began + LONGEST_DRAIN:
        if merchant.restored_at:
            with contextlib.suppress(Exception):
                await merchant.reconcile()
            await merchant.close_cases()
        await asyncio.sleep(1)
    return time.monotonic() - began


async def _ask_for_status(crowd: Crowd, found: Verdicts) -> None:
    """Let everybody who paid ask for themselves."""
    payers = {deal.customer for deal in crowd.deals.values() if deal.invoice.is_settled}
    since = time.time()
    for who in sorted(payers):
        people.say(crowd.world, who, "/status")
    with contextlib.suppress(AssertionError):  # who is silent is named below
        await until(lambda: payers <= told_to_be_active(crowd, since), within=30)
    silent = payers - told_to_be_active(crowd, since)
    for who in sorted(silent):
        found.complain("I6", f"{who} has paid, and /status does not say so")
    found.figure("payers to whom /status says active", f"{len(payers - silent)} of {len(payers)}")


def _print(found: Verdicts, diary: Diary, replicas: Replicas) -> int:
    kinds = diary.count()
    killed = sum(count for kind, count in kinds.items() if kind.startswith("kill"))
    crashed = sum(kinds[f"database: {what}"] for what in ("crash", "outage", "backend killed"))
    faults = [(kind, count) for kind, count in sorted(kinds.items())]
    faults += [("all kills", killed), ("all crashes of the database", crashed)]
    faults += list(replicas.exits.items())
    verdicts = [
        (name, meaning, "BROKEN" if name in found.wrong else "kept") for name, meaning in INVARIANTS.items()
    ]
    parts = [
        table(["fault", "times"], faults),
        fields(found.figures),
        table(["", "invariant", "verdict"], verdicts),
    ]
    for about, complaints in found.wrong.items():
        parts.append("\n".join([f"{about}: {len(complaints)}", *(f"  {one}" for one in complaints[:10])]))
    parts.append("the promise was BROKEN" if found.wrong else "the promise was kept")
    sys.stdout.write("\n\n".join(parts) + "\n")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
