"""How much processor time a process and the database server have taken, as Linux tells it in /proc."""

import os
import time
from pathlib import Path

from services.db import Database
from tests.bench.orders import count

_TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
_PARENT, _USER, _CHILDRENS_SYSTEM = 1, 11, 14


def _fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the program's name; https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def spent(pid: int) -> float:
    """Seconds of processor time of a process, all threads."""
    user, system = _fields(pid)[_USER : _USER + 2]
    return (int(user) + int(system)) * _TICK


def spent_by_server(postmaster: int) -> float:
    """Seconds of processor time of a PostgreSQL server with all its processes, those that have ended too."""
    total = sum(map(int, _fields(postmaster)[_USER : _CHILDRENS_SYSTEM + 1])) * _TICK
    for child in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split():
        try:
            total += spent(int(child))
        except (FileNotFoundError, ProcessLookupError):  # it has just ended, and counts with its parent
            continue
    return total


def resident(pid: int) -> float:
    """Megabytes (10^6) of memory that a process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6


async def postmaster_of(db: Database) -> int:
    """The process id of the server behind a database on this machine."""
    return int(_fields(await count(db, "SELECT pg_backend_pid()"))[_PARENT])


class Meter:
    """Wall clock and processor time from its making on: our own, a process's, and the server's."""

    def __init__(self, postmaster: int, pid: int | None = None) -> None:
        self._postmaster, self._pid = postmaster, pid or os.getpid()
        self._began = (time.perf_counter(), spent(self._pid), spent_by_server(postmaster))

    def stop(self) -> tuple[float, float, float]:
        """Seconds that have passed, that the process has worked, and that the server has worked."""
        now = (time.perf_counter(), spent(self._pid), spent_by_server(self._postmaster))
        passed, worked, served = (end - start for start, end in zip(self._began, now, strict=True))
        return passed, worked, served
