"""Starting: from the process to ready, the memory it then holds, and what it spends both on."""

import asyncio
import re
import sys
import time
from collections import Counter

from services import migrate
from tests.bench import plot
from tests.bench.chapter import Chapter, Row
from tests.bench.figures import Figures, written
from tests.bench.ground import Ground
from tests.bench.processor_time import PAGE, resident, spent
from tests.conftest import ROOT
from tests.e2e.stage import Bot, Stage, stage

TARGET_SECONDS, TARGET_MEGABYTES = 8, 280
SHOWN = 9
SMALL = "small ones"
IMPORTS = {
    "Python alone": "sys",
    "aiogram as it comes": "aiogram",
    "aiohttp": "aiohttp.web",
    "SQLAlchemy and asyncpg": "sqlalchemy.ext.asyncio, asyncpg",
    "alembic": "alembic.command",
    "pydantic and its settings": "pydantic_settings",
    "httpx": "httpx",
    "our services": "services.checkout, services.settlement, services.reconcile, services.open_database",
}
_MEASURE = """
import time; began = time.perf_counter(), time.process_time()
import {names}
took = time.perf_counter() - began[0], time.process_time() - began[1]
print(*took, int(open("/proc/self/statm").read().split()[1]))
"""
_IMPORTED = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s*([\w.]+)")


async def measure(ground: Ground) -> Figures:
    """Start it again and again: with a database that runs, and with the one that it brings along."""
    figures = Figures()
    async with ground.database() as url, stage(url, ground.folder) as play:
        await migrate.upgrade(play.db)
        for _ in range(ground.sizes.starts):
            await _start(figures, play, "running")
            for name, modules in IMPORTS.items():
                await _import(figures, name, modules)
        await _start(figures, play, "first", DATABASE_URL="", DATA_DIR=str(ground.folder / "own"))
        for _ in range(max(1, ground.sizes.starts // 2)):
            await _start(figures, play, "embedded", DATABASE_URL="", DATA_DIR=str(ground.folder / "own"))
        bot = await _start(figures, play, "watched", PYTHONPROFILEIMPORTTIME="1")
        for package, seconds in _by_package(bot.log).items():
            figures.note(f"import {package}", seconds)
    return figures


async def _start(figures: Figures, play: Stage, name: str, **environment: str) -> Bot:
    began = time.perf_counter()
    bot = await play.open(ready=True, port=0, **environment)
    try:
        figures.note(f"{name} s", time.perf_counter() - began)
        figures.note(f"{name} processor s", spent(bot.process.pid))
        figures.note(f"{name} MB", resident(bot.process.pid))
    finally:
        began = time.perf_counter()
        code = await bot.stop()
        figures.note(f"{name} end s", time.perf_counter() - began)
    assert code == 0, bot.log[-5:]
    return bot


async def _import(figures: Figures, name: str, modules: str) -> None:
    """Import in a process of its own and take down seconds and memory."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _MEASURE.format(names=modules)), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    passed, worked, pages = said.split()
    figures.note(f"importing {name} s", float(passed))
    figures.note(f"importing {name} processor s", float(worked))
    figures.note(f"importing {name} MB", int(pages) * PAGE / 1e6)


def _by_package(log: list[str]) -> dict[str, float]:
    """Seconds that each package took of its own, as Python tells with PYTHONPROFILEIMPORTTIME."""
    took: Counter[str] = Counter()
    for line in log:
        if found := _IMPORTED.search(line):
            took[found[2].partition(".")[0]] += int(found[1])
    named = {package: spent for package, spent in took.items() if spent >= 1000}
    rest = sum(took.values()) - sum(named.values())
    return {package: spent / 1e6 for package, spent in [*named.items(), (SMALL, rest)]}


def tell(figures: Figures | None) -> Chapter:
    """Compare with what was asked for, and say what takes the time and the memory."""
    title = "Start and memory"
    start = Row("start to ready, with a database that runs", f"≤ {TARGET_SECONDS} s")
    own = Row("start to ready, with the database it brings along", f"≤ {TARGET_SECONDS} s")
    memory = Row("memory when ready", f"≤ {TARGET_MEGABYTES} MB")
    if figures is None:
        return Chapter(title, [start, own, memory])
    imports = sorted(
        (
            (one.removeprefix("import "), figures.mid(one))
            for one in figures.values
            if one.startswith("import ")
        ),
        key=lambda pair: (pair[0] == SMALL, -pair[1]),
    )
    total = sum(seconds for _, seconds in imports)
    most = ", ".join(f"{package} {written(seconds)} s" for package, seconds in imports[:3])
    aiogram = figures.mid("importing aiogram as it comes MB") - figures.mid("importing Python alone MB")
    return Chapter(
        title,
        [
            Row(
                start.what,
                start.target,
                f"{figures.spread('running s')} s, {figures.spread('running processor s')} s of processor time",
                f"{figures.mid('running s') / TARGET_SECONDS:.2f} of what is allowed",
                f"imports, {written(total)} s: {most}",
                figures.mid("running s") <= TARGET_SECONDS,
            ),
            Row(
                own.what,
                own.target,
                f"{figures.spread('embedded s')} s; {figures.spread('first s')} s the first time, when it is made",
                f"{max(figures.mid('embedded s'), figures.mid('first s')) / TARGET_SECONDS:.2f} of what is allowed",
                "the same, and PostgreSQL's own start",
                max(figures.mid("embedded s"), figures.mid("first s")) <= TARGET_SECONDS,
            ),
            Row(
                memory.what,
                memory.target,
                f"{figures.spread('running MB')} MB",
                f"{figures.mid('running MB') / TARGET_MEGABYTES:.2f} of what is allowed",
                f"aiogram imported as it comes would alone be {written(aiogram)} MB",
                figures.mid("running MB") <= TARGET_MEGABYTES,
            ),
        ],
        f"""
From the start of the process until /health/ready says 200: settings, migrations looked at, everything imported,
Telegram and CryptoCloud asked once. After SIGTERM it was gone within {written(max(figures.values["running end s"]))} s.
The seconds by package are Python's own account of one such start (it makes imports a little slower); the memory is that
of one process for each line, so that lines share what they have in common.""",
        [
            (
                ("imported alone", "s", "s of processor time", "MB"),
                [
                    (
                        name,
                        *(figures.spread(f"importing {name} {unit}") for unit in ("s", "processor s", "MB")),
                    )
                    for name in IMPORTS
                ],
            )
        ],
        {
            "start.svg": plot.bars(
                "Imports during a start, seconds by package",
                "s",
                [*imports[:SHOWN], ("all the rest", sum(seconds for _, seconds in imports[SHOWN:]))],
            )
        },
    )
