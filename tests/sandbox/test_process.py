"""`python -m sandbox` as a process, with a stand-in for the bot."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox.__main__ import BOT_TOKEN, data_folder, main
from tests.sandbox.conftest import eventually

PROJECT = Path(__file__).resolve().parents[2]
LAUNCHER = """
import sys
from sandbox.__main__ import main
sys.exit(main(sys.argv[2:], command=[sys.executable, sys.argv[1]]))
"""
STAND_IN = """
import http.server, json, os, pathlib, sys, threading, urllib.request
pathlib.Path(os.environ["DATA_DIR"], "environment.json").write_text(json.dumps(dict(os.environ)))
print("stand-in started", os.getpid(), flush=True)
if pathlib.Path(os.environ["DATA_DIR"], "broken").exists():
    sys.exit("the tiers file is broken")
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", int(os.environ["HTTP_PORT"])), Health)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"{os.environ['TELEGRAM_API_URL']}/bot{os.environ['BOT_TOKEN']}/getUpdates?timeout=50"
while True:
    urllib.request.urlopen(url).read()
"""


@dataclass
class Running:
    process: asyncio.subprocess.Process
    url: str
    token: str

    async def control(self, client: aiohttp.ClientSession, path: str, **body: Any) -> Any:
        headers = {"X-Sandbox-Token": self.token}
        async with client.post(f"{self.url}/control/{path}", json=body, headers=headers) as response:
            return await response.json()


async def launch(folder: Path, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
    script = folder / "stand_in.py"
    script.write_text(STAND_IN)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        LAUNCHER,
        str(script),
        *arguments,
        cwd=PROJECT,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def running(folder: Path, *arguments: str, **environment: str) -> AsyncIterator[Running]:
    process = await launch(folder, "--port", "0", "--data", str(folder / "data"), *arguments, **environment)
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        word, _, address = line.strip().partition(" ")
        assert word == "ready", line
        url, _, token = address.partition("/?token=")
        yield Running(process, url, token)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 0


def is_free(port: int) -> bool:
    with socket.socket() as visitor:
        return visitor.connect_ex(("127.0.0.1", port)) != 0


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_ready_comes_last_and_ctrl_c_stops_all(tmp_path: Path) -> None:
    async with running(
        tmp_path, SANDBOX_TOKEN="fixed", BOT_TOKEN="1:leaked", METRICS_TOKEN="leaked"
    ) as sandbox:
        assert sandbox.token == "fixed"
        environment = json.loads((tmp_path / "data" / "environment.json").read_text())
        assert environment["BOT_TOKEN"] == BOT_TOKEN
        assert "leaked" not in "".join(environment.values())
        assert environment["DATABASE_URL"] == ""
        async with aiohttp.ClientSession() as client:
            state = await client.get(f"{sandbox.url}/control/state", headers={"X-Sandbox-Token": "fixed"})
            pid = (await state.json())["process"]["pid"]
        assert is_alive(pid)
    assert not is_alive(pid)


async def test_a_bot_that_ends_at_once_is_told_with_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sandbox.lock").touch()
    (tmp_path / "data" / "broken").touch()
    process = await launch(tmp_path, "--port", "0", "--data", str(tmp_path / "data"))
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert out == b""
    assert b"the bot ended with exit code 1 before it was ready" in err
    assert err.count(b"the tiers file is broken") == 2


async def test_a_killed_bot_can_be_started_again(tmp_path: Path) -> None:
    async with running(tmp_path) as sandbox, aiohttp.ClientSession() as client:
        assert (await sandbox.control(client, "bot/kill"))["state"] == "stopped"
        state = await sandbox.control(client, "bot/start", wait=True, env={"FAILPOINT": "notify.sent"})
        assert state["state"] == "ready"
        environment = json.loads((tmp_path / "data" / "environment.json").read_text())
        assert environment["FAILPOINT"] == "notify.sent"


async def test_the_sandbox_lives_on_when_the_bot_dies(tmp_path: Path) -> None:
    async with running(tmp_path) as sandbox, aiohttp.ClientSession() as client:
        headers = {"X-Sandbox-Token": sandbox.token}

        async def process() -> dict[str, Any]:
            async with client.get(f"{sandbox.url}/control/state", headers=headers) as response:
                found: dict[str, Any] = (await response.json())["process"]
                return found

        os.kill((await process())["pid"], signal.SIGKILL)
        async with asyncio.timeout(10):
            while (await process())["state"] != "dead":  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.05)
        assert (await process())["exit_code"] == -signal.SIGKILL


async def test_a_killed_sandbox_leaves_no_bot_behind(tmp_path: Path) -> None:
    process = await launch(tmp_path, "--port", "0", "--data", str(tmp_path / "data"))
    assert process.stdout is not None
    assert (await asyncio.wait_for(process.stdout.readline(), 20)).startswith(b"ready ")
    port = int(json.loads((tmp_path / "data" / "environment.json").read_text())["HTTP_PORT"])
    process.kill()
    await process.communicate()
    await eventually(lambda: is_free(port))


async def test_chats_are_kept_between_runs_and_fresh_begins_anew(tmp_path: Path) -> None:
    async def texts(sandbox: Running, client: aiohttp.ClientSession) -> list[str]:
        headers = {"X-Sandbox-Token": sandbox.token}
        async with client.get(f"{sandbox.url}/control/chats/1001", headers=headers) as response:
            return [one["text"] for one in await response.json()]

    async with aiohttp.ClientSession() as client:
        async with running(tmp_path) as sandbox:
            await sandbox.control(client, "say", person_id=1001, text="hello")
        async with running(tmp_path) as sandbox:
            assert await texts(sandbox, client) == ["hello"]
        async with running(tmp_path, "--fresh") as sandbox:
            assert await texts(sandbox, client) == []


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--port", "TAKEN", "--data", "DATA"), "port TAKEN is taken"),
        (("--port", "BEFORE", "--data", "DATA"), "port TAKEN is taken"),
        (("--port", "65535", "--data", "DATA"), "port 65535 cannot be used"),
        (("--port", "0", "--fresh", "--data", "FOREIGN"), "is not a sandbox's folder"),
        (("--port", "0", "--data", "FOREIGN"), "is not a sandbox's folder"),
    ],
)
def test_what_cannot_start_says_so_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], why: str
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("precious")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = {
            "TAKEN": str(port),
            "BEFORE": str(port - 1),
            "DATA": str(tmp_path / "data"),
            "FOREIGN": str(foreign),
        }
        assert main([words.get(one, one) for one in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert why.replace("TAKEN", str(port)) in err
    assert err.count("\n") == 1
    assert (foreign / "thesis.txt").read_text() == "precious"


def test_one_folder_serves_one_sandbox(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with data_folder(tmp_path / "data", fresh=False):
        assert main(["--port", "0", "--data", str(tmp_path / "data")]) == 2
    assert "another sandbox uses" in capsys.readouterr().err


def test_a_fresh_start_empties_the_folder_and_the_database_behind_the_link(tmp_path: Path) -> None:
    data, elsewhere, precious = tmp_path / "data", tmp_path / "elsewhere", tmp_path / "precious"
    for folder in (data / "logs", elsewhere / "cluster", precious):
        folder.mkdir(parents=True)
    (data / "sandbox.lock").touch()
    (elsewhere / "cluster" / "PG_VERSION").write_text("18")
    (data / "postgres").symlink_to(elsewhere)
    (data / "other").symlink_to(precious)
    with data_folder(data, fresh=True):
        assert [one.name for one in data.iterdir()] == ["sandbox.lock"]
    assert not elsewhere.exists()
    assert precious.exists()
