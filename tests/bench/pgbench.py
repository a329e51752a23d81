"""PostgreSQL's own load program, which says what the database can do without us."""

import asyncio
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import URL

from services.postgres_programs import EmbeddedPostgresError, postgres_program

MISSING = "pgbench is not installed"


def has_pgbench() -> bool:
    """Whether there is one, in the wheel or on PATH."""
    try:
        postgres_program("pgbench")
    except EmbeddedPostgresError:
        return False
    return True


async def pgbench(
    url: URL,
    script: str,
    *,
    clients: int = 1,
    transactions: int,
    protocol: str = "prepared",
    define: Mapping[str, str] | None = None,
) -> float:
    """Run a script so often on each client, and tell how often a second that is; raises RuntimeError."""
    host = url.query.get("host", url.host) or ""
    port = url.query.get("port", url.port) or 5432
    with tempfile.NamedTemporaryFile("w", suffix=".sql", encoding="utf-8") as file:
        file.write(script)
        file.flush()
        process = await asyncio.create_subprocess_exec(
            postgres_program("pgbench"),
            *("--no-vacuum", "--protocol", protocol, "--client", str(clients), "--file", file.name),
            *("--transactions", str(transactions)),
            *(f"--define={name}={value}" for name, value in (define or {}).items()),
            *("--host", str(host), "--port", str(port), "--username", url.username or "subgate"),
            str(url.database),
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
            cwd=Path(tempfile.gettempdir()),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    said = output.decode(errors="replace")
    found = re.search(r"^tps = ([\d.]+) ", said, re.MULTILINE)
    if process.returncode != 0 or found is None or "number of failed transactions: 0 " not in said:
        raise RuntimeError(f"pgbench ended with {process.returncode}: {said[-2000:]}")
    return float(found[1])
