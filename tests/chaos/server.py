"""A PostgreSQL of its own that crashes when told to, and the wire to it that can be cut or lose an answer.

It writes to the disk as in real life (fsync is on), so that what was committed is there after a kill -9.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from sqlalchemy import URL

from services.db import database_url
from services.embedded_postgres import EmbeddedPostgres, start_embedded_postgres
from tests.chaos.diary import Diary
from tests.e2e.proxy import Proxy, proxy
from tests.e2e.stage import until


class Server:
    """The server of a data folder; `calm` is held by whoever needs it to live for a while."""

    def __init__(self, folder: Path, diary: Diary) -> None:
        self._folder = folder
        self._diary = diary
        self._shares: list[EmbeddedPostgres] = []
        self.calm = asyncio.Lock()
        self.wire: Proxy

    async def start(self) -> None:
        """Start the server, or start it again after a crash."""
        self._shares.append(await asyncio.to_thread(start_embedded_postgres, self._folder, patience=60.0))

    @property
    def straight(self) -> URL:
        """The address for the rig's own questions."""
        return database_url(self._shares[-1].url)

    def over_the_wire(self, database: str) -> str:
        """The address for the replicas."""
        return f"postgresql://subgate@127.0.0.1:{self.wire.port}/{database}"

    def _postmaster(self) -> int:
        return int((self._shares[-1].data / "postmaster.pid").read_text().split("\n", 1)[0])

    async def crash(self, how: signal.Signals, *, away: float) -> None:
        """End the server without any farewell, and start it again after some seconds."""
        async with self.calm:
            with self._diary.during("database: crash" if away < 1 else "database: outage"):
                postmaster = self._postmaster()
                os.kill(postmaster, how)
                await _until_gone(postmaster)
                await asyncio.sleep(away)
                await self.start()

    async def lose_a_backend(self) -> None:
        """Kill one process of the server, upon which it throws everybody out and recovers by itself."""
        async with self.calm:
            children = Path(f"/proc/{self._postmaster()}/task/{self._postmaster()}/children").read_text()
            for child in map(int, children.split()):
                with suppress(OSError):
                    words = Path(f"/proc/{child}/cmdline").read_bytes()
                    if b"subgate subgate" in words.replace(b"\0", b" "):
                        with self._diary.during("database: backend killed"):
                            os.kill(child, signal.SIGKILL)
                            await asyncio.sleep(0.5)
                            await self.start()  # which waits until it answers again
                        return

    def stop(self) -> None:
        for share in self._shares:
            share.stop()


async def _until_gone(pid: int) -> None:
    await until(lambda: "\nState:\tZ" in _status(pid), what="the server to be gone")


def _status(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/status").read_text()
    return "\nState:\tZ"


@asynccontextmanager
async def running_server(folder: Path, diary: Diary) -> AsyncIterator[Server]:
    """Run a server and the wire to it for as long as the block runs."""
    server = Server(folder, diary)
    try:
        await server.start()
        host = str(server.straight.query["host"])
        async with proxy(Path(host) / ".s.PGSQL.5432") as wire:
            server.wire = wire
            yield server
    finally:
        await asyncio.to_thread(server.stop)
