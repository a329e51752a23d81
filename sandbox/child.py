"""The bot as a child process: started with a clean environment, watched, killed and started again on request."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from sandbox.world import World

PATIENCE_ON_TERM = 10.0
KEPT_LINES = 400
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE")


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_SIGNAL_AT_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of prctl(2)


def _end_with_the_sandbox() -> None:
    """Have the kernel stop the bot when the sandbox is killed, so that it does not keep the port. Linux only."""
    if _LIBC is not None:
        _LIBC.prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGTERM, 0, 0, 0)


class Child:
    """One bot process. `state` is stopped, starting, ready or dead (it ended by itself)."""

    def __init__(
        self,
        world: World,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        health_url: str,
        folder: Path,
    ) -> None:
        self._world = world
        self._command = tuple(command)
        self._environment = dict(environment)
        self._health_url = health_url
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._asked_to_stop = False
        self._how_stopped = ""
        self._changed = asyncio.Event()
        self.state = "stopped"
        self.exit_code: int | None = None
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)

    def as_json(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "pid": self._process.pid if self._process and self._process.returncode is None else None,
            "exit_code": self.exit_code,
            "lines": list(self.lines)[-60:],
        }

    def _move(self, state: str) -> None:
        self.state = state
        self._changed.set()
        self._changed = asyncio.Event()
        words, tone = {
            "starting": ("the bot is started", ""),
            "ready": ("the bot is ready", "good"),
            "stopped": (self._how_stopped, "warn"),
            "dead": (f"the bot died, exit code {self.exit_code}", "bad"),
        }[state]
        self._world.note("bot", words, tone=tone)
        self._world.tell("bot", state=state)

    async def start(self, extra: Mapping[str, str] | None = None) -> None:
        """Start the bot; `extra` adds environment variables for this run. Does nothing while it runs."""
        if self._process is not None and self._process.returncode is None:
            return
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self._asked_to_stop = False
        self.exit_code = None
        self._world.handed_out = set()
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=self._folder,
            env={**inherited, **self._environment, **(extra or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1 << 20,
            start_new_session=True,
            preexec_fn=_end_with_the_sandbox,
        )
        self._move("starting")
        self._watch = asyncio.create_task(self._watch_over(self._process, self._world.updates.polls))

    async def _watch_over(self, process: asyncio.subprocess.Process, polls_before: int) -> None:
        readiness = asyncio.create_task(self._look_for_readiness(polls_before))
        try:
            await self._read_output(process)
            self.exit_code = await process.wait()
        finally:
            readiness.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await readiness
        self._move("stopped" if self._asked_to_stop else "dead")

    async def _read_output(self, process: asyncio.subprocess.Process) -> None:
        """Pass the bot's lines on to stderr and keep the last ones; ends when the process has ended."""
        if process.stdout is None:
            raise AssertionError("the bot's output is a pipe")
        ended = asyncio.create_task(process.wait())
        while True:
            line = asyncio.create_task(process.stdout.readline())
            await asyncio.wait({line, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not line.done():
                # The bot is gone, a grandchild (its database) still holds the pipe: take what is there and leave.
                await asyncio.wait({line}, timeout=0.2)
            if not line.done():
                line.cancel()
                break
            try:
                text = line.result()
            except ValueError:
                continue
            if not text:
                break
            self.lines.append(text.decode(errors="replace").rstrip())
            print(self.lines[-1], file=sys.stderr, flush=True)  # noqa: T201 - the bot's log is the operator's
            self._world.tell("log")
        await ended

    async def _look_for_readiness(self, polls_before: int) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3)) as client:
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with client.get(self._health_url) as response:
                        heard = self._world.updates.polls > polls_before or self._world.webhook.url
                        if response.status == 200 and heard:
                            self._move("ready")
                            return
                await asyncio.sleep(0.2)

    async def until_ready(self) -> bool:
        """Wait until the bot is ready; False when it ended instead."""
        while self.state == "starting":
            await self._changed.wait()
        return self.state == "ready"

    async def kill(self) -> None:
        """End the bot at once, as a power cut does; it has ended when this returns."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Ask the bot to end, wait up to ten seconds, then kill it."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        if self._process is None or self._watch is None or self._process.returncode is not None:
            return
        self._asked_to_stop = True
        killed = number is signal.SIGKILL
        self._how_stopped = "the bot is killed with -9" if killed else "the bot is stopped"
        for sent in (number, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(sent)
            await asyncio.wait({self._watch}, timeout=PATIENCE_ON_TERM)
            if self._watch.done():
                return
