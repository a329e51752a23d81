"""Requests that were written beforehand, over connections that are kept open: as little work as a client can do."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

EXPECTED = b"HTTP/1.1 200 "
LONGEST = 120.0  # seconds


class UnexpectedAnswerError(Exception):
    """Something else than 200; a speed at which requests are refused is not one."""


@dataclass
class Answered:
    """When the flood began and ended (seconds of the performance counter), and each request's latency in ms."""

    began: float
    ended: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.latencies) / (self.ended - self.began)


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the last one is answered."""

    def __init__(self, requests: Iterator[bytes], answered: Answered, done: "asyncio.Future[None]") -> None:
        self._requests, self._answered, self._done = requests, answered, done
        self._received = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not descend from it
        self._send()

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._done.set_result(None)
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        if not head.startswith(EXPECTED):
            self._done.set_exception(UnexpectedAnswerError(self._received[:500].decode(errors="replace")))
            self._transport.close()
            return
        self._answered.latencies.append((time.perf_counter() - self._sent_at) * 1000)
        self._received = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the connection was closed"))


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def post(path: str, body: bytes) -> bytes:
    """Write a request with a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def flood(port: int, requests: Sequence[bytes], connections: int) -> Answered:
    """Send all requests, each connection one after the other; raises `UnexpectedAnswerError`."""
    loop = asyncio.get_running_loop()
    waiting = iter(requests)
    ends = [loop.create_future() for _ in range(connections)]
    answered = Answered(time.perf_counter())
    for end in ends:
        await loop.create_connection(partial(_Connection, waiting, answered, end), "127.0.0.1", port)
    async with asyncio.timeout(LONGEST):
        await asyncio.gather(*ends)
    answered.ended = time.perf_counter()
    return answered
