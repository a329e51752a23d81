"""A wire that can break: TCP between the process and whoever it talks to, cut, held or robbed of one answer."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from sqlalchemy import URL

Address = Path | tuple[str, int]


@dataclass(eq=False)
class Wire:
    """One connection: both its ends, and what was asked over it since its last transaction began."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    asked: bytes = b""

    def cut(self) -> None:
        for end in (self.near, self.far):
            end.transport.abort()


@dataclass
class Proxy:
    """Listens on loopback and passes on to one address, or in turn to several."""

    targets: list[Address]
    port: int = 0
    whole: bool = True
    lost_commits: int = 0
    served: Counter[Address] = field(default_factory=Counter)
    _mark: bytes = b""
    _commits_to_lose: int = 0
    _answers: asyncio.Event = field(default_factory=asyncio.Event)
    _wires: set[Wire] = field(default_factory=set)
    _turns: "count[int]" = field(default_factory=count)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every connection, and every new one at once, until `mend`."""
        self.whole = False
        for wire in list(self._wires):
            wire.cut()

    def mend(self) -> None:
        """Let everything through again."""
        self.whole = True
        self._answers.set()

    def hold_answers(self) -> None:
        """Pass on what is asked and keep back what is answered, until `mend`."""
        self._answers.clear()

    def lose_commits(self, mark: str, times: int = 1) -> None:
        """Break the wire instead of confirming the next COMMIT after a statement with `mark` in it.

        The server carries it out: only its answer is lost.
        """
        self._mark, self._commits_to_lose = mark.encode(), times

    async def serve(self, near: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        target = self.targets[next(self._turns) % len(self.targets)]
        if not self.whole:
            answers.transport.abort()
            return
        try:
            far, questions = await _connect(target)
        except OSError:
            answers.transport.abort()
            return
        self.served[target] += 1
        wire = Wire(answers, questions)
        self._wires.add(wire)
        there = asyncio.create_task(self._ask(near, wire))
        back = asyncio.create_task(self._answer(far, wire))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._wires.discard(wire)
            wire.cut()
            for one in (there, back):
                one.cancel()
            await asyncio.gather(there, back, return_exceptions=True)

    async def _ask(self, near: asyncio.StreamReader, wire: Wire) -> None:
        with suppress(OSError):
            while data := await near.read(65536):
                wire.asked += data
                wire.far.write(data)
                await wire.far.drain()

    async def _answer(self, far: asyncio.StreamReader, wire: Wire) -> None:
        with suppress(OSError):
            while data := await far.read(65536):
                if self._is_to_be_lost(wire):
                    return
                await self._answers.wait()
                wire.near.write(data)
                await wire.near.drain()

    def _is_to_be_lost(self, wire: Wire) -> bool:
        if b"COMMIT;" not in wire.asked:
            return False
        spoken = wire.asked.partition(b"COMMIT;")[0]
        wire.asked = b""
        if not self._commits_to_lose or self._mark not in spoken:
            return False
        self._commits_to_lose -= 1
        self.lost_commits += 1
        return True


async def _connect(target: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(target, Path):
        return await asyncio.open_unix_connection(target)
    return await asyncio.open_connection(*target)


@asynccontextmanager
async def proxy(*targets: Address, port: int = 0) -> AsyncIterator[Proxy]:
    """Run a proxy for as long as the block runs."""
    wire = Proxy(list(targets))
    wire.mend()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await wire.serve(reader, writer)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        wire.cut()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def socket_of(url: URL) -> Path:
    """Where the embedded server listens."""
    return Path(str(url.query["host"])) / f".s.PGSQL.{url.port}"


def over(wire: Proxy, url: URL) -> str:
    """The address of the same database over a proxy."""
    return f"postgresql://{url.username}@127.0.0.1:{wire.port}/{url.database}"
