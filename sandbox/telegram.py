"""The door of the Bot API: `/bot<token>/<method>`. Reads arguments, plays planned faults, answers as Telegram."""

import json
import re
import time
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from sandbox import telegram_channels
from sandbox.faults import SENDING
from sandbox.keys import WORLD
from sandbox.telegram_methods import METHODS, Arguments
from sandbox.telegram_rules import Refusal
from sandbox.telegram_table import complaints
from sandbox.updates import Conflict
from sandbox.wire import cut, hang, html_502, pause
from sandbox.world import Json, World

__all__ = ["routes", "telegram_channels"]  # which adds its methods to the table


@dataclass(frozen=True)
class Answer:
    """What the caller gets: HTTP status and body."""

    status: int
    body: Json


def routes() -> list[web.RouteDef]:
    return [
        web.get(r"/bot{token:[^/]+}/{method}", _called),
        web.post(r"/bot{token:[^/]+}/{method}", _called),
        web.get(r"/file/bot{token:[^/]+}/files/{file_id}", _download),
    ]


async def _download(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    found = world.files.get(request.match_info["file_id"])
    if request.match_info["token"] != world.credentials.bot_token or found is None:
        return _respond(Refusal(404, "Not Found"))
    return web.Response(body=found[2], content_type="application/octet-stream")


async def _called(request: web.Request) -> web.StreamResponse:
    world = request.app[WORLD]
    token, method = request.match_info["token"], request.match_info["method"].lower()
    if token != world.credentials.bot_token:
        well_formed = re.fullmatch(r"\d+:[\w-]{10,}", token) is not None
        return _respond(Refusal(401, "Unauthorized") if well_formed else Refusal(404, "Not Found"))
    try:
        arguments = await _read(request)
    except Refusal as refusal:
        return _respond(refusal)
    chat_id = arguments.quiet_integer("chat_id")
    entry = world.write_down(
        world.bot_calls,
        kind="call",
        method=request.match_info["method"],
        chat_id=chat_id,
        arguments=arguments.as_json(),
        warnings=complaints(request.match_info["method"], arguments.values),
    )
    try:
        return await _answered(request, world, method, arguments, chat_id, entry)
    finally:
        entry["took"] = time.time() - entry["at"]
        world.show(entry)


async def _answered(
    request: web.Request, world: World, method: str, arguments: Arguments, chat_id: int | None, entry: Json
) -> web.StreamResponse:
    fault = world.faults.take("telegram", method, chat_id)
    if fault is None:
        return await _carried_out(request, world, method, arguments, entry)
    entry["fault"] = fault.kind
    options = fault.options
    match fault.kind:
        case "too_many_requests":
            seconds = int(options.get("retry_after", 5))
            refusal = Refusal(429, f"Too Many Requests: retry after {seconds}", seconds)
            if not options.get("parameters", True):
                refusal.retry_after = None
        case "forbidden":
            refusal = Refusal(403, str(options.get("description", "Forbidden: bot was blocked by the user")))
        case "bad_request":
            refusal = Refusal(400, str(options.get("description", "Bad Request: chat not found")))
        case "unauthorized":
            refusal = Refusal(401, "Unauthorized")
        case "not_found":
            refusal = Refusal(404, "Not Found")
        case "server_error":
            refusal = Refusal(500, "Internal Server Error: restart")
        case "bad_gateway":
            entry["status"] = 502
            return html_502()
        case "empty":
            entry["status"] = 200
            return web.Response(text="")
        case "close" | "down":
            entry["status"] = None
            return cut(request)
        case "deliver_then_hang":
            await _carried_out(request, world, method, arguments, entry)
            world.show(entry)
            return await hang(request, world)
        case "deliver_then_close":
            await _carried_out(request, world, method, arguments, entry)
            return cut(request)
        case "delay":
            await pause(world, float(options.get("seconds", 1)))
            return await _carried_out(request, world, method, arguments, entry)
        case _:
            raise AssertionError(fault.kind)
    entry |= {"status": refusal.code, "answer": refusal.as_json()}
    return _respond(refusal)


async def _carried_out(
    request: web.Request, world: World, method: str, arguments: Arguments, entry: Json
) -> web.StreamResponse:
    carry_out = METHODS.get(method)
    try:
        if carry_out is None:
            raise Refusal(404, "Not Found")
        if method in SENDING and (
            seconds := world.rate_limit.wait_for(arguments.quiet_integer("chat_id") or 0)
        ):
            raise Refusal(429, f"Too Many Requests: retry after {seconds}", seconds)
        result = await carry_out(world, arguments)
    except Conflict as conflict:
        if str(conflict) == "down":
            return cut(request)
        entry["gone"] = request.transport is None  # a killed bot's poll: nobody hears the refusal
        refusal = Refusal(409, f"Conflict: {conflict}")
    except Refusal as caught:
        refusal = caught
    else:
        answer: Json = {"ok": True, "result": result}
        entry |= {"status": 200, "answer": answer}
        if method == "getupdates" and result:
            # A poll began long before: the moment of delivery is what people look for.
            ids = {one["update_id"] for one in result}
            again, world.handed_out = ids <= world.handed_out, ids
            world.write_down(
                world.notes,
                kind="delivery",
                arguments=arguments.as_json(),
                status=200,
                answer=answer,
                quiet=again,
            )
        return web.json_response(answer)
    entry |= {"status": refusal.code, "answer": refusal.as_json()}
    return _respond(refusal)


def _respond(refusal: Refusal) -> web.Response:
    headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after is not None else None
    return web.json_response(refusal.as_json(), status=refusal.code, headers=headers)


async def _read(request: web.Request) -> Arguments:
    values: dict[str, Any] = dict(request.query)
    if request.content_type == "application/json":
        raw = await request.read()
        try:
            body = json.loads(raw) if raw.strip() else {}
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise Refusal(400, "Bad Request: can't parse request body as JSON object")
        values |= body
    elif request.method == "POST":
        form = await request.post()
        for name, value in form.items():
            if isinstance(value, web.FileField):
                content = value.file.read()
                values[name] = (value.filename, value.content_type, content)
            else:
                values[name] = value
    return Arguments(values)
