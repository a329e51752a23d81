"""Speed beside the limits, measured in one run: `make bench`, or

    python -m tests.bench                      everything, and docs/performance.md is written anew (about 12 minutes)
    python -m tests.bench --quick              small sizes, only printed
    python -m tests.bench --only reading       one part, only printed
    python -m tests.bench --render             the page once more from the figures of its run

All on loopback, over by itself; processes, databases and folders are gone afterwards. It needs Linux, for its /proc.
"""

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import structlog
import uvloop

from services import migrate
from services.db import Database, database_url
from services.embedded_postgres import start_embedded_postgres
from services.printing import table
from tests.bench.figures import Figures
from tests.bench.ground import FULL, QUICK, Ground
from tests.bench.machine import describe, work_a_little
from tests.bench.page import PARTS, Run, read, write
from tests.conftest import ROOT, TEMPLATE, administer


def main() -> int:
    """Measure as asked for; 0 when all was measured, whether targets were met or not."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Measure the speed beside the limits."
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--to", type=Path, help="the folder to write the page into; docs for a full run")
    parser.add_argument("--render", action="store_true", help="write the page from the figures that it has")
    asked = parser.parse_args()
    if sys.platform != "linux":
        parser.error("processor time and memory are read from /proc: this needs Linux")
    docs = asked.to or (None if asked.quick or asked.only else ROOT / "docs")
    if asked.render:
        docs = asked.to or ROOT / "docs"
        write(read(docs), docs)
        return 0
    logging.disable(logging.ERROR)
    structlog.configure(processors=[_silent])
    with tempfile.TemporaryDirectory(prefix="subgate-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # started as root, the server belongs to somebody else
        run = _run(Path(folder), quick=asked.quick, only=asked.only or list(PARTS))
    sys.stdout.write(_summary(run) + "\n")
    if docs is not None:
        write(run, docs)
        sys.stdout.write(f"written: {docs / 'performance.md'}\n")
    return 0


def _silent(_: object, __: str, ___: structlog.typing.EventDict) -> structlog.typing.EventDict:
    raise structlog.DropEvent


def _run(folder: Path, *, quick: bool, only: Sequence[str]) -> Run:
    programs = os.environ.get("TEST_POSTGRES_BIN")
    server = start_embedded_postgres(folder / "data", programs=Path(programs) if programs else None)
    try:
        sizes = QUICK if quick else FULL
        return uvloop.run(_measure(Ground(database_url(server.url), folder, sizes), quick=quick, only=only))
    finally:
        server.stop()


async def _measure(ground: Ground, *, quick: bool, only: Sequence[str]) -> Run:
    await administer(ground.server, f"CREATE DATABASE {TEMPLATE}")
    template = Database(ground.server.set(database=TEMPLATE))
    await migrate.upgrade(template)
    await template.dispose()
    machine = await describe(ground.server, ground.folder)
    speeds, parts = Figures(), dict[str, Figures]()
    for name in only:
        speeds.note("loop", *(work_a_little() for _ in range(5)))
        began = time.perf_counter()
        parts[name] = await PARTS[name].measure(ground)
        sys.stderr.write(f"{name}: {time.perf_counter() - began:.0f} s\n")
        await asyncio.sleep(0)
    speeds.note("loop", *(work_a_little() for _ in range(5)))
    return Run(machine, asdict(ground.sizes), quick, speeds, parts)


def _summary(run: Run) -> str:
    rows = [row for chapter in run.chapters() for row in chapter.rows if row.measured != "not measured"]
    return table(
        ("what", "target", "measured", "beside the limit", "met"),
        [(row.what, row.target, row.measured, row.ratio, row.met) for row in rows],
    )


if __name__ == "__main__":
    sys.exit(main())
