"""Bad input in numbers: tries it, counts it, and audits the books afterwards.

    make fuzz, or python -m tests.fuzz --http 20000 --reader 100000 --updates 5000 --seed 7

Prints what was tried and what was found; ends with 1 if anything was. All on loopback, and over by itself.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from services import migrate
from services.db import Database, database_url
from services.embedded_postgres import start_embedded_postgres
from services.printing import fields, table
from tests.fuzz.campaign import Report, attack
from tests.fuzz.memory import watch_memory
from tests.fuzz.reader import fuzz_reader
from tests.fuzz.tally import Tally


def main() -> int:
    """Run as asked for; 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Try bad input and count it.")
    parser.add_argument("--http", type=int, default=20_000, help="requests to the web server")
    parser.add_argument("--reader", type=int, default=100_000, help="bodies into the postback reader")
    parser.add_argument("--updates", type=int, default=5_000, help="updates of Telegram")
    parser.add_argument(
        "--memory", type=int, default=6_000, help="requests to a process whose memory is watched"
    )
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="repeats the same plan")
    asked = parser.parse_args()

    reader = [fuzz_reader(asked.reader, asked.seed)]
    with tempfile.TemporaryDirectory(prefix="subgate-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # started as root, the server belongs to somebody else
        server = start_embedded_postgres(Path(folder) / "data", fsync=False)
        try:
            url = database_url(server.url)
            asyncio.run(_migrated(Database(url)))
            report = attack(url, http=asked.http, updates=asked.updates, seeded=asked.seed)
            memory = asyncio.run(watch_memory(url, Path(folder), asked.memory)) if asked.memory else None
        finally:
            server.stop()
    return _tell(asked.seed, [*reader, *report.tallies], report, memory)


async def _migrated(db: Database) -> None:
    await migrate.upgrade(db)
    await db.dispose()


def _tell(seeded: int, tallies: list[Tally], report: Report, memory: tuple[int, int] | None) -> int:
    found = [finding for tally in tallies for finding in tally.findings] + report.wrongs
    grown = memory[1] - memory[0] if memory else 0
    said = table(["what", "tried", "what came of it", "found", "took"], [tally.row for tally in tallies])
    summary = fields(
        [
            ("requests over HTTP", report.requests),
            ("answered 5xx", report.server_errors),
            ("bodies into the reader", tallies[0].tried),
            ("updates", report.updates),
            ("grants that nobody paid for, rows half written", len(report.wrongs)),
            ("errors in the log", report.errors or None),
            ("sells afterwards", report.sells),
            ("memory, MiB before and after", f"{memory[0]}, {memory[1]}" if memory else None),
            ("seed", seeded),
        ]
    )
    print(f"{said}\n\n{summary}")  # noqa: T201
    for finding in found:
        print(f"FOUND {finding}")  # noqa: T201
    return 1 if found or report.errors or not report.sells or grown > 16 else 0


if __name__ == "__main__":
    sys.exit(main())
