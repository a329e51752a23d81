"""Where and on what was measured."""

import asyncio
import importlib.metadata
import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import URL, text

from services.db import Database
from tests.bench.figures import Figures, written
from tests.conftest import ROOT

_LIBRARIES = ("aiogram", "aiohttp", "asyncpg", "SQLAlchemy", "PyJWT", "uvloop")
_BLOCK = b"\0" * 8192


async def describe(server: URL, folder: Path) -> dict[str, str]:
    """Name the machine, its disk, the versions, the moment and the commit."""
    db = Database(server)
    async with db.begin() as session:
        asked = ("server_version", "shared_buffers", "fsync", "synchronous_commit")
        said = [str(await session.scalar(text(f"SHOW {name}"))) for name in asked]
    await db.dispose()
    version, *options = said
    return {
        "processor": f"{_line('/proc/cpuinfo', 'model name')}, {len(os.sched_getaffinity(0))} cores for us",
        "memory": f"{int(_line('/proc/meminfo', 'MemTotal').split()[0]) / 1e6:.1f} GB",
        "disk": f"writing and syncing 8 kB takes {await asyncio.to_thread(_sync_time, folder)}",
        "kernel": f"{platform.system()} {platform.release()}",
        "PostgreSQL": f"{version}, "
        + ", ".join(f"{name} {value}" for name, value in zip(asked[1:], options, strict=True)),
        "Python": f"{platform.python_version()}, "
        + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": _commit(),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def work_a_little() -> float:
    """Milliseconds that a fixed piece of work takes: how fast this machine is just now."""
    began = time.perf_counter()
    total = 0
    for number in range(400_000):
        total += number * number % 7
    return (time.perf_counter() - began) * 1000


def steadiness(speeds: Figures) -> str:
    """Say how much the machine's own speed moved during the run."""
    values = speeds.values["loop"]
    return (
        f"a fixed loop took {speeds.spread('loop')} ms between the parts, a factor of "
        f"{written(max(values) / min(values))} between fastest and slowest"
    )


def _line(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return "unknown"


def _sync_time(folder: Path) -> str:
    figures = Figures()
    place = folder / "sync"
    opened = os.open(place, os.O_RDWR | os.O_CREAT)
    try:
        for _ in range(200):
            began = time.perf_counter()
            os.pwrite(opened, _BLOCK, 0)
            os.fdatasync(opened)
            figures.note("sync", (time.perf_counter() - began) * 1e6)
    finally:
        os.close(opened)
        place.unlink()
    return (
        f"{written(figures.mid('sync'))} µs, 1 in 100 longer than {written(figures.share('sync', 0.99))} µs"
    )


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else "unknown"

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/performance*")
    return git("rev-parse", "--short", "HEAD") + (", with changes not committed" if changed else "")
