"""The operator's console as operators use it: a process with an environment, what it prints and how it ends."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL

ROOT = Path(__file__).resolve().parent.parent
SECRETS = {
    "BOT_TOKEN": "1234567:canary-token-of-the-bot-that-nobody-sees",
    "CRYPTOCLOUD_API_KEY": "canary.key-of-the-shop.that-nobody-sees",
    "CRYPTOCLOUD_SECRET_KEY": "canary-secret-of-the-project-that-nobody-sees",
}
NOWHERE = "http://127.0.0.1:9"  # the discard port, where nobody listens


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def refused(self, code: int = 1) -> str:
        """The one line that an expected failure is told in."""
        assert (self.code, self.out, self.err.count("\n")) == (code, "", 1), self
        return self.err.strip()


class Console:
    """`python -m services` in a folder of its own, with settings that lead nowhere unless given."""

    def __init__(self, folder: Path, database: URL | None = None, **settings: str) -> None:
        self.folder = folder
        self.settings = {
            **SECRETS,
            "CRYPTOCLOUD_SHOP_ID": "SHOPSHOPSHOPSHOP",
            "CRYPTOCLOUD_API_URL": NOWHERE,
            "TELEGRAM_API_URL": NOWHERE,
            "BASE_URL": NOWHERE,
            "TIERS_FILE": str(ROOT / "tiers.toml"),
            "ADMIN_IDS": "900",
            "DATABASE_URL": database.render_as_string(hide_password=False) if database else "",
        } | settings

    async def start(self, *words: str, program: tuple[str, ...] = (), **settings: str | None) -> Process:
        """Start a command; a setting of None is left out."""
        changed = {name: value for name, value in (self.settings | settings).items() if value is not None}
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return await asyncio.create_subprocess_exec(
            *(program or (sys.executable, "-m", "services")),
            *words,
            cwd=self.folder,
            env={"PYTHONPATH": str(ROOT), **kept, **changed},
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )

    async def __call__(self, *words: str, **options: Any) -> Ran:
        process = await self.start(*words, **options)
        out, err = await process.communicate()
        ran = Ran(process.returncode or 0, out.decode(), err.decode())
        assert not any(secret in ran.out + ran.err for secret in SECRETS.values()), ran
        assert "Traceback" not in ran.err, ran
        return ran
