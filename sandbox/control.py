"""The control API: what a person or a test does with the outside world. JSON in, JSON out.

Every call needs the sandbox's token (header `X-Sandbox-Token`, or the page's cookie), a Host and, if it is sent, an
Origin of the sandbox itself. Wrong input answers 400, something that is not there 404, both `{"error": "…"}`.
"""

import asyncio
import json
import re
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields, replace
from typing import Any

from aiohttp import web

from sandbox import checkout, people, postback, timeline
from sandbox.channels import Channel, link_as_json
from sandbox.cryptocloud import find
from sandbox.faults import FAULTS
from sandbox.invoices import Invoice, PostbackSettings
from sandbox.keys import CHILD, CLIENT, OBSERVER, WORLD
from sandbox.observer import NoDatabase, Observer
from sandbox.pictures import type_of_picture
from sandbox.protection import check
from sandbox.world import Json, Person, World

LONGEST_JUMP = 3650 * 86400.0
SWITCHED = {
    "too_many_requests": "answers 429",
    "server_error": "answers 500",
    "bad_gateway": "answers 502 with a page",
    "html_502": "answers 502 with a page",
    "deliver_then_hang": "delivers and never answers",
    "down": "is down",
    "slow": "is slow",
}
Call = Callable[[web.Request, Json], Awaitable[Any]]


def routes() -> list[web.RouteDef]:
    posts: dict[str, Call] = {
        "people": _add_person,
        "people/block": _block,
        "people/unblock": _unblock,
        "people/join": _join,
        "people/leave": _leave,
        "groups": _add_group,
        "say": _say,
        "press": _press,
        "updates": _inject,
        "faults": _add_fault,
        "faults/clear": _clear_faults,
        "faults/switch": _switch_fault,
        "database/crash": _crash_database,
        "database/restart": _restart_database,
        "rate-limit": _rate_limit,
        "project": _project,
        "invoices/{uuid}/pay": _pay,
        "invoices/{uuid}/expire": _expire,
        "invoices/{uuid}/cancel": _cancel,
        "invoices/{uuid}/postback": _postback,
        "jump": _jump,
        "bot/start": _start_bot,
        "bot/kill": _kill_bot,
        "bot/stop": _stop_bot,
    }
    gets: dict[str, Call] = {
        "state": _state,
        "chats/{chat_id}": _chat,
        "presses/{press_id}": _read_press,
        "invoices": _invoices,
        "calls": _calls,
        "provider-calls": _provider_calls,
        "postbacks": _postbacks,
        "timeline": _timeline,
        "timeline/{entry_id}": _timeline_entry,
        "rows/{person_id}": _rows,
    }
    return [
        *(web.post(f"/control/{path}", _door(call)) for path, call in posts.items()),
        *(web.get(f"/control/{path}", _door(call)) for path, call in gets.items()),
        web.get("/control/events", _events),
        web.get("/control/files/{file_id}", _file),
    ]


def _door(call: Call) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def called(request: web.Request) -> web.Response:
        check(request)
        try:
            body = await _body(request)
            return web.json_response(await call(request, body), dumps=_as_text)
        except NoDatabase as error:
            return web.json_response({"error": str(error)}, status=409)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        except LookupError as error:
            missing = str(error) if type(error) is LookupError else f"{error} is missing"
            status = 404 if type(error) is LookupError else 400
            return web.json_response({"error": missing}, status=status)
        except TypeError as error:
            return web.json_response({"error": str(error)}, status=400)

    return called


def _as_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


async def _body(request: web.Request) -> Json:
    raw = await request.read()
    if not raw.strip():
        return {}
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise ValueError("the body must be JSON") from None
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object")
    return body


def _number(body: Json, name: str) -> int:
    value = body[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number")
    return value


async def _add_person(request: web.Request, body: Json) -> Json:
    """POST people {id, first_name, language?, username?, started?, blocked?, deactivated?}: add or replace somebody.

    `started` true means that the bot may write first. Answers the person.
    """
    world = request.app[WORLD]
    known = {one.name for one in fields(Person)}
    unknown = set(body) - known
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    return asdict(world.add_person(Person(**{**body, "id": _number(body, "id")})))


async def _block(request: web.Request, body: Json) -> Json:
    """POST people/block {id}: block the bot, which hears of it by my_chat_member."""
    people.set_blocked(request.app[WORLD], _number(body, "id"), True)
    return {"ok": True}


async def _unblock(request: web.Request, body: Json) -> Json:
    """POST people/unblock {id}: unblock the bot, which hears of it by my_chat_member."""
    people.set_blocked(request.app[WORLD], _number(body, "id"), False)
    return {"ok": True}


async def _join(request: web.Request, body: Json) -> Json:
    """POST people/join {id, link}: follow an invite link. Answers {outcome}: joined, asked or member."""
    return {
        "outcome": people.follow_invite(request.app[WORLD], _number(body, "id"), str(body["link"])),
    }


async def _leave(request: web.Request, body: Json) -> Json:
    """POST people/leave {id, channel_id}: leave a channel."""
    people.leave_channel(request.app[WORLD], _number(body, "id"), _number(body, "channel_id"))
    return {"ok": True}


async def _add_group(request: web.Request, body: Json) -> Json:
    """POST groups {id, title}: let the bot be a member of a group (id below 0)."""
    chat_id = _number(body, "id")
    if chat_id >= 0:
        raise ValueError("the id of a group is below 0")
    request.app[WORLD].groups[chat_id] = str(body["title"])
    return {"ok": True}


async def _say(request: web.Request, body: Json) -> Json:
    """POST say {person_id, text}: write to the bot. Answers {message_id}."""
    return {"message_id": people.say(request.app[WORLD], _number(body, "person_id"), str(body["text"]))}


async def _press(request: web.Request, body: Json) -> Json:
    """POST press {chat_id, message_id, data, person_id?, forged?}: press a button. Answers {press_id}.

    `forged` true sends any data to any message, as a modified client can; `person_id` presses in a foreign chat.
    """
    press_id = people.press(
        request.app[WORLD],
        _number(body, "chat_id"),
        _number(body, "message_id"),
        str(body["data"]),
        person_id=_number(body, "person_id") if "person_id" in body else None,
        forged=bool(body.get("forged", False)),
    )
    return {"press_id": press_id}


async def _inject(request: web.Request, body: Json) -> Json:
    """POST updates {update}: queue any JSON object as an update. Answers {update_id}."""
    return {"update_id": people.inject(request.app[WORLD], body["update"])}


async def _add_fault(request: web.Request, body: Json) -> Json:
    """POST faults {place, kind, method?, times?, chat_id?, …options}: plan trouble (words: faults.py).

    `times` is 1 unless given; null means until cleared. Answers the fault with its id.
    """
    world = request.app[WORLD]
    fault = world.faults.add(str(body.pop("place")), str(body.pop("kind")), **body)
    if (fault.place, fault.kind) == ("telegram", "down"):
        world.updates.end_poll("down")
    world.tell("faults")
    return asdict(fault)


async def _clear_faults(request: web.Request, body: Json) -> Json:
    """POST faults/clear {id?}: forget one planned fault, or all."""
    world = request.app[WORLD]
    world.faults.clear(_number(body, "id") if "id" in body else None)
    world.tell("faults")
    return {"ok": True}


async def _switch_fault(request: web.Request, body: Json) -> Json:
    """POST faults/switch {place, kind, method?, …options}: turn a place's one switch; kind null turns it back.

    A new position takes the old one's place, scripted faults stay. Answers {fault}, null when all is well.
    """
    world = request.app[WORLD]
    place, kind = str(body.pop("place")), body.pop("kind")
    fault = world.faults.switch(place, None if kind is None else str(kind), **body)
    if fault is not None and (place, fault.kind) == ("telegram", "down"):
        world.updates.end_poll("down")
    name = {"telegram": "Telegram", "cryptocloud": "CryptoCloud"}[place]
    if fault is None:
        world.note(place, f"{name} works as usual again", tone="good")
    else:
        world.note(place, f"{name}: {SWITCHED.get(fault.kind, fault.kind.replace('_', ' '))}", tone="warn")
    world.tell("faults")
    return {"fault": asdict(fault) if fault else None}


def _observer(request: web.Request) -> Observer:
    observer = request.app.get(OBSERVER)
    if observer is None:
        raise LookupError("this sandbox runs without a bot")
    return observer


async def _crash_database(request: web.Request, _: Json) -> Json:
    """POST database/crash: lose all sessions of the bot's database, which then recovers by itself."""
    await _observer(request).crash()
    request.app[WORLD].note("row", "a server process is killed: all sessions are lost", tone="warn")
    return {"ok": True}


async def _restart_database(request: web.Request, body: Json) -> Json:
    """POST database/restart {immediately?}: stop the embedded server, true: as a power cut does.

    The bot starts it again.
    """
    immediately = bool(body.get("immediately", False))
    await _observer(request).restart(immediately=immediately)
    how = "is stopped as by a power cut" if immediately else "is stopped"
    request.app[WORLD].note("row", f"the database {how}", tone="warn")
    return {"ok": True}


async def _rate_limit(request: web.Request, body: Json) -> Json:
    """POST rate-limit {on?, per_chat?, chat_burst?, overall?}: switch Telegram's sending limits. Answers them."""
    world = request.app[WORLD]
    limit = world.rate_limit
    world.rate_limit = type(limit)(
        on=bool(body.get("on", limit.on)),
        per_chat=float(body.get("per_chat", limit.per_chat)),
        chat_burst=float(body.get("chat_burst", limit.chat_burst)),
        overall=float(body.get("overall", limit.overall)),
    )
    world.tell("project")
    return {key: value for key, value in asdict(world.rate_limit).items() if not key.startswith("_")}


def _postback_settings(world: World, body: Json) -> PostbackSettings:
    known = {one.name for one in fields(PostbackSettings)}
    unknown = set(body) - known
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    return postback.checked(replace(world.project.postback, **body))


async def _project(request: web.Request, body: Json) -> Json:
    """POST project {notification_url?, success_url?, fail_url?, name?, test_mode?, sparse_info?,
    transfer_fee_paid_by?, service_fee_paid_by?, postback?}: turn the project's switches. Answers all of them.

    `postback` is {mode?, count?, seconds?, format?, bytes_token?}; the words are in postback.py.
    """
    world = request.app[WORLD]
    changes = dict(body)
    if "postback" in changes:
        changes["postback"] = _postback_settings(world, changes["postback"])
    for name in ("transfer_fee_paid_by", "service_fee_paid_by"):
        if changes.get(name, "client") not in {"client", "merchant"}:
            raise ValueError(f"{name} must be client or merchant")
    world.project = replace(world.project, **changes)
    world.tell("project")
    return asdict(world.project)


def _invoice(request: web.Request) -> Invoice:
    invoice = find(request.app[WORLD], request.match_info["uuid"])
    if invoice is None:
        raise LookupError("there is no such invoice")
    return invoice


async def _pay(request: web.Request, body: Json) -> Json:
    """POST invoices/{uuid}/pay {amount?, postback?, wait?}: pay in the coin; without an amount, what is missing.

    `postback` overrides the project's switches for this payment. `wait` true answers after the postbacks were
    answered. Answers {invoice, postbacks}.
    """
    world = request.app[WORLD]
    invoice = _invoice(request)
    amount = None if body.get("amount") is None else checkout.amount_of(body["amount"])
    settings = _postback_settings(world, body.get("postback") or {})
    wait = bool(body.get("wait", False))
    sent = await checkout.pay(world, request.app[CLIENT], invoice, amount, settings, wait=wait)
    return {"invoice": invoice.row(world.project), "postbacks": sent}


async def _expire(request: web.Request, _: Json) -> Json:
    """POST invoices/{uuid}/expire: let its time be over now. Answers the invoice."""
    invoice = _invoice(request)
    checkout.expire(request.app[WORLD], invoice)
    return invoice.row(request.app[WORLD].project)


async def _cancel(request: web.Request, _: Json) -> Json:
    """POST invoices/{uuid}/cancel: cancel it at CryptoCloud, as in its dashboard. Answers the invoice."""
    invoice = _invoice(request)
    checkout.cancel(request.app[WORLD], invoice)
    return invoice.row(request.app[WORLD].project)


async def _postback(request: web.Request, body: Json) -> list[Json]:
    """POST invoices/{uuid}/postback {mode?, count?, seconds?, format?, bytes_token?}: send a postback now.

    Whatever the invoice's state is. Answers the journal's entries with the shop's answers.
    """
    world = request.app[WORLD]
    settings = _postback_settings(world, {"mode": "once", **body})
    return await postback.deliver(world, request.app[CLIENT], _invoice(request), settings)


async def _jump(request: web.Request, body: Json) -> Json:
    """POST jump {seconds}: let time pass, here and in the bot's database: all stored moments move back.

    Answers {database}: moved or absent. No clock is touched; without a database only this side moves.
    """
    world, observer = request.app[WORLD], request.app.get(OBSERVER)
    seconds = float(body["seconds"])
    if not 0 < seconds <= LONGEST_JUMP:
        raise ValueError("seconds must be more than 0 and at most ten years")
    database = "absent"
    child = request.app.get(CHILD)
    expected = child is not None and child.state in {"starting", "ready"}
    if observer is not None and await observer.jump(seconds, expected=expected):
        database = "moved"
    world.jump(seconds)
    days, hours = divmod(round(seconds / 3600), 24)
    told = " ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in ((days, "day"), (hours, "hour")) if n)
    where = "in the database too" if database == "moved" else "without a database"
    world.note("row", f"{told or f'{seconds:g} seconds'} passed", text=where, tone="warn")
    return {"ok": True, "database": database}


async def _start_bot(request: web.Request, body: Json) -> Json:
    """POST bot/start {env?, wait?}: start the bot again, with more environment variables for this run."""
    child = request.app.get(CHILD)
    if child is None:
        raise LookupError("this sandbox runs without a bot")
    await child.start({str(key): str(value) for key, value in (body.get("env") or {}).items()})
    if body.get("wait"):
        await child.until_ready()
    return child.as_json()


async def _kill_bot(request: web.Request, _: Json) -> Json:
    """POST bot/kill: end the bot with SIGKILL."""
    child = request.app.get(CHILD)
    if child is None:
        raise LookupError("this sandbox runs without a bot")
    await child.kill()
    return child.as_json()


async def _stop_bot(request: web.Request, _: Json) -> Json:
    """POST bot/stop: end the bot with SIGTERM, after ten seconds with SIGKILL."""
    child = request.app.get(CHILD)
    if child is None:
        raise LookupError("this sandbox runs without a bot")
    await child.stop()
    return child.as_json()


async def _state(request: web.Request, _: Json) -> Json:
    """GET state: people, the bot, the switches, planned faults and every word that can be used."""
    world = request.app[WORLD]
    child, observer = request.app.get(CHILD), request.app.get(OBSERVER)
    return {
        "bot": world.bot_user(),
        "profile": world.profile,
        "process": child.as_json() if child else None,
        "people": [
            {
                **asdict(one),
                "commands": people.commands_for(world, one.id),
                "channels": {
                    str(channel.id): _place_in(channel, one.id) for channel in world.channels.values()
                },
            }
            for one in world.people.values()
        ],
        "channels": [
            {
                "id": channel.id,
                "title": channel.title,
                "links": [link_as_json(world, channel, link) for link in channel.links.values()],
            }
            for channel in world.channels.values()
        ],
        "database": observer.state if observer else None,
        "project": asdict(world.project),
        "faults": world.faults.as_json(),
        "rate_limit_on": world.rate_limit.on,
        "webhook_url": world.webhook.url,
        "waiting_updates": len(world.updates.waiting),
        "words": {"postback_modes": postback.MODES, "faults": FAULTS},
    }


def _place_in(channel: Channel, person_id: int) -> str:
    return "asked" if person_id in channel.requests else channel.status_of(person_id)


async def _chat(request: web.Request, _: Json) -> list[Json]:
    """GET chats/{id}: the chat's messages, oldest first: Telegram's objects plus from_bot, edits, deleted."""
    messages = request.app[WORLD].chats.get(int(request.match_info["chat_id"]), {})
    return [
        {**one.body, "from_bot": one.from_bot, "edits": one.edits, "deleted": one.deleted}
        for one in messages.values()
    ]


async def _read_press(request: web.Request, _: Json) -> Json:
    """GET presses/{id}: what the bot answered to a pressed button: {answered, text, show_alert, url}."""
    press = request.app[WORLD].presses.get(request.match_info["press_id"])
    if press is None:
        raise LookupError("there is no such press")
    return asdict(press)


async def _invoices(request: web.Request, _: Json) -> list[Json]:
    """GET invoices: all invoices as the list call would show them, newest first."""
    world = request.app[WORLD]
    found = [invoice for uuid in list(world.invoices) if (invoice := find(world, uuid)) is not None]
    return [one.row(world.project) for one in sorted(found, key=lambda one: one.created, reverse=True)]


def _journal(request: web.Request, entries: "deque[Json]") -> list[Json]:
    after = int(request.query.get("after", 0))
    limit = int(request.query.get("limit", 1000))
    method = request.query.get("method", "").lower()
    chat_id = request.query.get("chat_id", "")
    found = [
        one
        for one in entries
        if one["id"] > after
        and (not method or one.get("method", "").lower() == method)
        and (not chat_id or str(one.get("chat_id")) == chat_id)
    ]
    return found[-limit:] if limit > 0 else []


async def _calls(request: web.Request, _: Json) -> list[Json]:
    """GET calls?after=&method=&chat_id=&limit=: calls to the Bot API and webhook deliveries, with answers."""
    return _journal(request, request.app[WORLD].bot_calls)


async def _provider_calls(request: web.Request, _: Json) -> list[Json]:
    """GET provider-calls?after=&method=&limit=: calls to CryptoCloud, with answers."""
    return _journal(request, request.app[WORLD].provider_calls)


async def _postbacks(request: web.Request, _: Json) -> list[Json]:
    """GET postbacks?after=&limit=: postbacks that were sent, with the shop's answers."""
    return _journal(request, request.app[WORLD].postbacks)


async def _timeline(request: web.Request, _: Json) -> list[Json]:
    """GET timeline?after=&limit=: what passed between the four parties, in order, as lines."""
    entries = timeline.in_order(request.app[WORLD].journals)
    after, limit = int(request.query.get("after", 0)), int(request.query.get("limit", 300))
    lines = [line for one in entries if one["id"] > after and (line := timeline.line(one)) is not None]
    return lines[-limit:] if limit > 0 else []


async def _timeline_entry(request: web.Request, _: Json) -> Json:
    """GET timeline/{id}: one entry with the raw request and answer."""
    wanted = int(request.match_info["entry_id"])
    for journal in request.app[WORLD].journals:
        for entry in reversed(journal):
            if entry["id"] == wanted:
                return timeline.raw(entry)
    raise LookupError("there is no such entry any more")


async def _rows(request: web.Request, _: Json) -> Json:
    """GET rows/{person_id}: the person's rows in the bot's database: {state, payments, subscription}."""
    observer = request.app.get(OBSERVER)
    if observer is None:
        return {"state": "none", "payments": [], "subscription": None}
    return await observer.rows_of(int(request.match_info["person_id"]))


async def _events(request: web.Request) -> web.StreamResponse:
    """GET events: server-sent events, one JSON object {topic, …} for each change."""
    check(request)
    world = request.app[WORLD]
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    await response.prepare(request)
    with world.watching() as changes:
        await response.write(b'retry: 1000\ndata: {"topic": "hello"}\n\n')
        stopped = asyncio.create_task(world.stopping.wait())
        try:
            while not stopped.done():
                change = asyncio.create_task(changes.get())
                await asyncio.wait({change, stopped}, timeout=15, return_when=asyncio.FIRST_COMPLETED)
                if change.done():
                    await response.write(f"data: {json.dumps(change.result())}\n\n".encode())
                else:
                    change.cancel()
                    await response.write(b": still here\n\n")
        except ConnectionError:
            pass
        finally:
            stopped.cancel()
    return response


async def _file(request: web.Request) -> web.Response:
    """GET files/{file_id}: a file that the bot sent; a picture is shown, anything else is a download."""
    check(request)
    found = request.app[WORLD].files.get(request.match_info["file_id"])
    if found is None:
        raise web.HTTPNotFound(text="There is no such file.")
    name, _, content = found
    picture = type_of_picture(content)
    safe_name = re.sub(r"[^\w. -]", "_", name, flags=re.ASCII)
    return web.Response(
        body=content,
        content_type=picture or "application/octet-stream",
        headers={
            "Content-Disposition": f'{"inline" if picture else "attachment"}; filename="{safe_name}"',
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        },
    )
