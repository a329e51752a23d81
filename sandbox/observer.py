"""Looks into the bot's database from outside, as any other program could: the payment's row, and how it moves.

It finds the embedded server by the postmaster.pid in the data folder and reads, nothing else; without a server the
page says so. What it tells carries the database's own time, so that a cause stands before its effect. On a person's
wish it moves the data back in time, or makes the server crash and recover. It never touches a database that the bot
was pointed at by DATABASE_URL.
"""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg

from sandbox.world import Json, World

LOOK_EVERY = 0.15
LOOK_FOR_SERVER_EVERY = 0.5
MOST_ROWS = 50
PATIENCE = 10.0
DAY = 86400
# A row that changes in these is worth a line; leases and moments of checks are shown in the row alone.
TOLD = ("status", "overpaid", "late", "review", "verdict", "cancel_requested", "wake")
TONES = {"paid": "good", "partial": "warn", "failed": "bad", "expired": "warn"}
AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)

# One statement, so that a row, its history and the books are seen as they stand at the same moment.
_NEWEST = """
    SELECT 'payments', to_jsonb(p) FROM (SELECT * FROM payments ORDER BY updated_at DESC, id LIMIT $1) p
     UNION ALL
    SELECT 'payment_history', to_jsonb(h) FROM (SELECT * FROM payment_history ORDER BY id DESC LIMIT $1) h
     UNION ALL
    SELECT 'subscription_ledger', to_jsonb(l) FROM (SELECT * FROM subscription_ledger ORDER BY id DESC LIMIT $1) l
"""
_SUBSCRIPTION = "SELECT to_jsonb(s) FROM subscriptions s WHERE user_id = $1"
_MOMENTS = """
    SELECT format('UPDATE %I SET %s', table_name,
                  string_agg(format('%1$I = %1$I - make_interval(secs => $1)', column_name), ', ')) AS statement,
           format('%I', table_name) AS name
      FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
     WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND data_type = 'timestamp with time zone'
     GROUP BY table_name ORDER BY table_name
"""


class NoDatabase(Exception):
    """The bot's database is not there: one sentence for people."""


@dataclass(frozen=True)
class _Server:
    pid: int
    socket: str
    port: int


def _find(data: Path) -> _Server | None:
    """Read https://www.postgresql.org/docs/current/storage-file-layout.html: pid, folder, start, port, socket."""
    try:
        lines = (data / "postgres" / "cluster" / "postmaster.pid").read_text().splitlines()
        return _Server(int(lines[0]), lines[4], int(lines[3])) if lines[4] else None
    except (OSError, ValueError, IndexError):
        return None


class Observer:
    """One observer of one data folder. `state` is absent or watching."""

    def __init__(self, world: World, data: Path) -> None:
        self._world = world
        self._data = data
        self.state = "absent"
        self._payments: dict[str, Json] | None = None
        self._steps: set[int] = set()
        self._entries: set[int] = set()
        self._looking = asyncio.Lock()
        self._connection: Any = None

    async def run(self) -> None:
        """Watch until cancelled, through every restart of the server."""
        while True:
            try:
                self._connection = await self._connect(read_only=True)
                while True:
                    async with self._looking:
                        await self._look(self._connection)
                    self._move("watching")
                    await asyncio.sleep(LOOK_EVERY)
            except (*AWAY, NoDatabase):
                self._move("absent")
                await asyncio.sleep(LOOK_FOR_SERVER_EVERY)
            finally:
                if self._connection is not None:
                    self._connection.terminate()
                    self._connection = None

    def _move(self, state: str) -> None:
        if state != self.state:
            self.state = state
            title = "the database is there" if state == "watching" else "the database is away"
            self._world.note("row", title, tone="" if state == "watching" else "warn")
            self._world.tell("row")

    async def _connect(self, *, read_only: bool) -> Any:
        server = _find(self._data)
        if server is None:
            raise NoDatabase("the bot's database is not there: start the bot")
        settings = {"application_name": "sandbox", "lock_timeout": "5s"}
        if read_only:
            settings["default_transaction_read_only"] = "on"
        return await asyncpg.connect(
            host=server.socket,
            port=server.port,
            user="subgate",
            database="subgate",
            timeout=5,
            command_timeout=10,
            server_settings=settings,
        )

    async def _look(self, connection: Any) -> None:
        found: dict[str, list[Json]] = {"payments": [], "payment_history": [], "subscription_ledger": []}
        for table, row in await connection.fetch(_NEWEST, MOST_ROWS):
            found[table].append(json.loads(row))
        rows = found["payments"]
        # Ids are given before they are committed: one that is lower than the last may come later.
        steps = [one for one in reversed(found["payment_history"]) if one["id"] not in self._steps]
        entries = [one for one in reversed(found["subscription_ledger"]) if one["id"] not in self._entries]
        self._steps = {one["id"] for one in found["payment_history"]}
        self._entries = {one["id"] for one in found["subscription_ledger"]}
        known, self._payments = self._payments, {**(self._payments or {}), **{one["id"]: one for one in rows}}
        changed = [row for row in reversed(rows) if row != (known or {}).get(row["id"])]
        if known is not None:
            for row in changed:
                self._tell_of(
                    known.get(row["id"]), row, [one for one in steps if one["payment_id"] == row["id"]]
                )
            for entry in entries:
                self._tell_of_entry(entry)
        if changed or entries:
            self._world.tell("row")

    def _tell_of(self, before: Json | None, row: Json, steps: list[Json]) -> None:
        """Tell each step of a payment at its own time, or what else changed at the time of the last change."""
        changes = {name: [before.get(name) if before else None, value] for name, value in row.items()}
        changes = {name: pair for name, pair in changes.items() if pair[0] != pair[1]}
        told = [name for name in TOLD if name in changes]
        for step in steps:
            old, new = step["old_status"], step["new_status"]
            is_last = step is steps[-1]
            if old is None:
                text = f"{row['tier']} · {row['period']} · {row['amount']:.2f} {row['currency']}"
            else:
                text = " · ".join(name for name in ("overpaid", "late", "review") if row[name] and is_last)
            self._note(
                step["changed_at"],
                f"{old} → {new}" if old else new,
                text=text,
                tone=TONES.get(new, ""),
                request=changes if is_last else {"status": [old, new]},
                answer=row,
            )
        if steps or not told:
            return
        if told == ["wake"]:
            # Whoever is woken looks at once, and that look writes the row again: the claim's time is the nearest.
            moment = row["asked_at"] if "asked_at" in changes else row["updated_at"]
            self._note(moment, "woken", text="look now", request=changes, answer=row)
        else:
            title = ", ".join(name.replace("_", " ") for name in told if name != "wake")
            self._note(row["updated_at"], title, text=row["status"], request=changes, answer=row)

    def _tell_of_entry(self, entry: Json) -> None:
        days = f"{entry['seconds'] / DAY:+g} days of {entry['tier']}"
        text = f"ledger: {entry['kind']}, until {entry['ends_at'][:16].replace('T', ' ')}"
        self._note(entry["created_at"], days, text=text, tone="good", answer=entry)

    def _note(self, moment: str, title: str, **details: Any) -> None:
        self._world.note("bot", title, to="row", at=datetime.fromisoformat(moment).timestamp(), **details)

    async def rows_of(self, person_id: int) -> Json:
        """What stands in the database about one person: newest payments first, and the subscription."""
        payments = [one for one in (self._payments or {}).values() if one["user_id"] == person_id]
        payments.sort(key=lambda one: one["created_at"], reverse=True)
        subscription = None
        with contextlib.suppress(*AWAY, NoDatabase):
            async with self._visit(read_only=True) as connection:
                found = await connection.fetchval(_SUBSCRIPTION, person_id)
                subscription = json.loads(found) if found else None
        return {"state": self.state, "payments": payments[:5], "subscription": subscription}

    @contextlib.asynccontextmanager
    async def _visit(self, *, read_only: bool) -> AsyncIterator[Any]:
        connection = await self._connect(read_only=read_only)
        try:
            yield connection
        finally:
            connection.terminate()

    async def jump(self, seconds: float, *, expected: bool) -> bool:
        """Move every moment in the bot's tables back by so much, in one transaction; False without a database.

        One that is `expected` is waited for, and raises `NoDatabase` if it does not come.
        """
        deadline = time.monotonic() + (PATIENCE if expected else 0)
        while True:
            try:
                async with self._looking, self._visit(read_only=False) as connection:
                    await self._move_back(connection, seconds)
            except (*AWAY, NoDatabase) as error:
                if not expected and isinstance(error, NoDatabase | OSError):
                    return False
                if time.monotonic() > deadline:
                    raise NoDatabase("the database could not be moved now: try again") from error
                await asyncio.sleep(0.2)
            else:
                return True

    async def _move_back(self, connection: Any, seconds: float) -> None:
        """Shift all moments; the triggers of the append-only books do not fire in a replica's transaction.

        Looks once more before, while nobody can write: what happened keeps its time in the timeline.
        """
        async with connection.transaction():
            tables = await connection.fetch(_MOMENTS)
            if tables:
                names = ", ".join(one["name"] for one in tables)
                await connection.execute(f"LOCK TABLE {names} IN EXCLUSIVE MODE")
                await self._look(connection)
            await connection.execute("SET LOCAL session_replication_role = replica")
            for one in tables:
                await connection.execute(one["statement"], seconds)

    async def crash(self) -> None:
        """Let one server process die by SIGKILL: all sessions are lost, and PostgreSQL recovers from its log.

        The process is the one that serves this very connection; the server itself goes on.
        """
        async with self._disturbing() as (pid, _):
            os.kill(pid, signal.SIGKILL)

    async def restart(self, *, immediately: bool = False) -> None:
        """Stop the server, in order or as a power cut would; the bot starts it again within seconds."""
        async with self._disturbing() as (_, server):
            os.kill(server, signal.SIGQUIT if immediately else signal.SIGINT)

    @contextlib.asynccontextmanager
    async def _disturbing(self) -> AsyncIterator[tuple[int, int]]:
        """Give the pids of the process that serves us and of its server, which the pid file alone does not prove."""
        try:
            async with self._visit(read_only=True) as connection:
                pid = await connection.fetchval("SELECT pg_backend_pid()")
                server = _find(self._data)
                if server is None or await _parent_of(pid) != server.pid:
                    raise NoDatabase("that server is not the one of this folder: it is left alone")
                yield pid, server.pid
                await asyncio.sleep(0.05)
        except PermissionError as error:
            raise NoDatabase("the server belongs to somebody else, who may not be disturbed") from error
        except AWAY as error:
            raise NoDatabase("the bot's database does not answer") from error


async def _parent_of(pid: int) -> int | None:
    asking = await asyncio.create_subprocess_exec(
        "ps", "-o", "ppid=", "-p", str(pid), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    said, _ = await asking.communicate()
    return int(said) if said.strip() else None
