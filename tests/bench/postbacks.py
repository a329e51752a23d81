"""Postbacks: how many are committed in a second, beside the same statements by pgbench and aiohttp without any work."""

import json
import time
from functools import partial

import asyncpg
from sqlalchemy import URL, text

from sandbox.postback import body_of, token_for
from sandbox.world import World
from services.db import Database
from services.events import record_postback
from services.postbacks import read_postback
from tests.bench import plot
from tests.bench.chapter import Chapter, Row
from tests.bench.door import Door, door
from tests.bench.figures import Figures, written
from tests.bench.flood import flood, post
from tests.bench.ground import Ground
from tests.bench.orders import FIRST_INVOICE, count, issued, take_orders
from tests.bench.pgbench import MISSING, has_pgbench, pgbench
from tests.bench.processor_time import Meter, postmaster_of
from tests.bench.statements import as_prepared, recording
from webhook_server.cryptocloud import PATH

CONNECTIONS = 32
OTHERS = (1, 8, 64)
CLIENTS = 8
TARGET_RATE, TARGET_P99, TARGET_RATIO = 1_000, 100, 0.2


async def measure(ground: Ground) -> Figures:
    """Let new postbacks come in, each for an order of its own, in turns with the limits."""
    sizes, figures, world = ground.sizes, Figures(), World()
    a_round = sizes.postbacks + len(OTHERS) * sizes.growth
    orders = 2 * sizes.growth + sizes.rounds * a_round
    async with ground.database() as seeded:
        await take_orders(seeded, orders)
        async with (
            ground.database(str(seeded.database)) as url,
            ground.database(str(seeded.database)) as other,
        ):
            db = Database(url)
            postmaster = await postmaster_of(db)
            requests = _Requests(world)
            async with (
                door("postbacks", url, ground.folder, world.credentials) as shop,
                door("nothing", url, ground.folder, world.credentials) as nothing,
            ):
                await flood(shop.port, requests.next(sizes.growth), CONNECTIONS)
                script, defined = await _parts(figures, db, url, world, requests.bodies(sizes.growth))
                for number in range(sizes.rounds):
                    await _round(ground, figures, postmaster, shop, nothing, requests)
                    await _pgbench(ground, figures, postmaster, other, script, defined, number)
            kept = await count(db, "SELECT count(*) FROM webhook_events WHERE outcome = 'woken'")
            await db.dispose()
            repeated = sizes.growth  # by the bare driver
            assert kept == requests.given + repeated, f"{requests.given} were answered, {kept} are kept"
    return figures


class _Requests:
    """Postbacks as CryptoCloud writes them, each order's once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.given = 0

    def bodies(self, wanted: int) -> list[bytes]:
        first = self.given + 1
        self.given += wanted
        return [self._body(number) for number in range(first, self.given + 1)]

    def next(self, wanted: int) -> list[bytes]:
        return [post(PATH, body) for body in self.bodies(wanted)]

    def _body(self, number: int) -> bytes:
        invoice = issued(number)
        invoice.pay(invoice.to_surcharge)
        token = token_for(self._world, invoice.uuid)
        return json.dumps(body_of(self._world, invoice, token, form=False)).encode()


async def _round(
    ground: Ground, figures: Figures, postmaster: int, shop: Door, nothing: Door, requests: _Requests
) -> None:
    sent = requests.next(ground.sizes.postbacks)
    own = Meter(postmaster)
    meter = Meter(postmaster, shop.pid)
    answered = await flood(shop.port, sent, CONNECTIONS)
    _, worked, served = meter.stop()
    figures.note(f"shop at {CONNECTIONS}", answered.rate)
    figures.note("latency", *answered.latencies)
    figures.note("shop µs", worked / len(sent) * 1e6)
    figures.note("server µs", served / len(sent) * 1e6)
    figures.note("sender µs", own.stop()[1] / len(sent) * 1e6)
    meter = Meter(postmaster, nothing.pid)
    answered = await flood(nothing.port, sent, CONNECTIONS)
    figures.note(f"nothing at {CONNECTIONS}", answered.rate)
    figures.note("nothing µs", meter.stop()[1] / len(sent) * 1e6)
    for connections in OTHERS:
        sent = requests.next(ground.sizes.growth)
        figures.note(f"shop at {connections}", (await flood(shop.port, sent, connections)).rate)
        figures.note(f"nothing at {connections}", (await flood(nothing.port, sent, connections)).rate)


async def _pgbench(
    ground: Ground,
    figures: Figures,
    postmaster: int,
    url: URL,
    script: str,
    defined: dict[str, str],
    number: int,
) -> None:
    """The same transaction for as many new orders; each client has orders of its own."""
    if not has_pgbench():
        return
    sizes = ground.sizes
    first = FIRST_INVOICE + 2 * sizes.growth + number * (sizes.postbacks + len(OTHERS) * sizes.growth)
    for clients, orders in ((CLIENTS, sizes.postbacks), (1, sizes.growth), (CONNECTIONS, sizes.growth)):
        each = orders // clients
        counting = f"\\set n :n + 1\n\\set invoice {first} + :client_id * {each} + :n\n"
        meter = Meter(postmaster)
        rate = await pgbench(
            url,
            counting + script,
            clients=clients,
            transactions=each,
            define=defined | {"n": "0"},
        )
        figures.note(f"pgbench at {clients}", rate)
        if clients == CLIENTS:
            figures.note("pgbench server µs", meter.stop()[2] / (each * clients) * 1e6)
        first += orders


async def _parts(
    figures: Figures, db: Database, url: URL, world: World, bodies: list[bytes]
) -> tuple[str, dict[str, str]]:
    """Take the way of a postback apart: our processor time of each step. Tells the script for pgbench too."""
    secret, times = world.credentials.secret_key, len(bodies)
    began = time.process_time()
    postbacks = [read_postback(body, "application/json", secret) for body in bodies]
    figures.note("read µs", (time.process_time() - began) / times * 1e6)
    with recording() as taken:
        await record_postback(db, postbacks[0])
    sent = taken.only()
    script, defined = as_prepared(sent, {postbacks[0].invoice_uuid: "invoice"})
    began = time.process_time()
    for one in postbacks[1:]:
        await record_postback(db, one)
    figures.note("record µs", (time.process_time() - began) / (times - 1) * 1e6)
    nothing = text("SELECT 1")
    began = time.process_time()
    for _ in range(times):
        async with db.begin() as session:
            await session.scalar(nothing)
    figures.note("transaction µs", (time.process_time() - began) / times * 1e6)
    connect = partial(asyncpg.connect, user=url.username, database=url.database)
    driver = await connect(
        host=url.query.get("host", url.host), port=int(str(url.query.get("port", url.port or 5432)))
    )
    try:
        (values,) = sent.rows
        began = time.process_time()
        for _ in range(times):
            await driver.fetchval(sent.statement, *values)
        figures.note("driver µs", (time.process_time() - began) / times * 1e6)
    finally:
        await driver.close()
    return f"BEGIN;\n{script}END;\n", defined


def tell(figures: Figures | None) -> Chapter:
    """Compare with what was asked for, and say where the time goes."""
    title = "Postbacks"
    row = Row(
        f"postbacks committed, {CONNECTIONS} connections",
        f"≥ {TARGET_RATE:,}/s, p99 ≤ {TARGET_P99} ms, ≥ {TARGET_RATIO} of pgbench with {CLIENTS} clients",
    )
    if figures is None:
        return Chapter(title, [row])
    rate, p99 = figures.mid(f"shop at {CONNECTIONS}"), figures.share("latency", 0.99)
    met = rate >= TARGET_RATE and p99 <= TARGET_P99
    measured = (
        f"{figures.spread(f'shop at {CONNECTIONS}', '/s')}, p50 {written(figures.share('latency', 0.5))} ms, "
        f"p99 {written(p99)} ms"
    )
    if figures.has(f"pgbench at {CLIENTS}"):
        ratio = figures.ratio(f"shop at {CONNECTIONS}", f"pgbench at {CLIENTS}")
        met = met and ratio >= TARGET_RATIO
        beside = f"{ratio:.2f} of pgbench ({figures.spread(f'pgbench at {CLIENTS}', '/s')})"
    else:
        beside = MISSING
    beside += (
        f"; {figures.ratio(f'shop at {CONNECTIONS}', f'nothing at {CONNECTIONS}'):.2f} of aiohttp without work "
        f"({figures.spread(f'nothing at {CONNECTIONS}', '/s')})"
    )
    return Chapter(
        title,
        [
            Row(
                row.what,
                row.target,
                measured,
                beside,
                f"processor time of the one process: {written(figures.mid('shop µs'))} µs a postback",
                met,
            )
        ],
        _reading(figures),
        [
            (
                ("processor time of one postback", "µs"),
                [
                    ("the shop's web server, all of it", figures.spread("shop µs")),
                    ("of this: aiohttp receives and answers (the bare server)", figures.spread("nothing µs")),
                    ("of this: reading the body and checking its token", figures.spread("read µs")),
                    (
                        "of this: one transaction with the statement, SQLAlchemy and driver",
                        figures.spread("record µs"),
                    ),
                    ("— such a transaction around SELECT 1", figures.spread("transaction µs")),
                    (
                        "— the statement by the bare driver, without BEGIN and COMMIT",
                        figures.spread("driver µs"),
                    ),
                    ("the rest: waiting in turns, headers, what is counted", written(_rest(figures))),
                    ("PostgreSQL", figures.spread("server µs")),
                    *(
                        [("PostgreSQL, when pgbench asks", figures.spread("pgbench server µs"))]
                        if figures.has("pgbench server µs")
                        else []
                    ),
                    ("the sender of the postbacks", figures.spread("sender µs")),
                ],
            )
        ],
        {
            "postbacks.svg": plot.lines(
                "Postbacks by the number of connections",
                "connections (clients of pgbench)",
                "a second",
                {
                    name: points
                    for name, key in (("shop", "shop"), ("pgbench", "pgbench"), ("aiohttp", "nothing"))
                    if (points := figures.points(key, figures.numbers_of(key)))
                },
                log_x=True,
            )
        },
    )


def _rest(figures: Figures) -> float:
    return figures.mid("shop µs") - sum(figures.mid(f"{part} µs") for part in ("nothing", "read", "record"))


def _reading(figures: Figures) -> str:
    worked = figures.mid("shop µs")
    ceiling = 1e6 / worked
    said = f"""
Each postback is a new one, is stored and wakes its payment in one transaction, and is answered after the commit. The
web server is the real one with the real database, in a process of its own without the workers that would ask
CryptoCloud meanwhile; the receipts below are measured with everything running. The sender writes requests that were
signed beforehand over {CONNECTIONS} connections; pgbench runs the statement that the program sent, taken down while it
did, with BEGIN and COMMIT around it.

One process works on one core, so {written(worked)} µs a postback are at most {written(ceiling)}/s, whatever the
database does. pgbench is written in C and spends next to nothing of its own."""
    if figures.has(f"pgbench at {CLIENTS}"):
        wanted = 0.5 * figures.mid(f"pgbench at {CLIENTS}")
        if figures.mid(f"shop at {CONNECTIONS}") < wanted:
            said += f"""
Half of pgbench ({written(wanted)}/s) would leave {written(1e6 / wanted)} µs. What stands between is mostly the
transaction in Python: {written(figures.mid("record µs"))} µs for SQLAlchemy and the driver, where the bare driver needs
{written(figures.mid("driver µs"))} µs for the statement. A transaction around SELECT 1 costs
{written(figures.mid("transaction µs"))} µs already, so it is the way there and back, not the statement, that is dear.
Another replica works on another core; CryptoCloud sends one postback for each sale."""
        else:
            said += f"""
Half of pgbench is {written(wanted)}/s, and this is reached."""
    return said
