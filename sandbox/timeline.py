"""What passes between Telegram, the bot, CryptoCloud and the payment's row, as the lines of one timeline.

A line is the short form of a journal's entry, made anew each time that the entry grows; `raw` is its long form, with
the request and the answer as they were.
"""

import re
from collections.abc import Iterable
from itertools import chain
from typing import Any

Json = dict[str, Any]
LANES = ("telegram", "bot", "cryptocloud", "row")
ROUTINE = frozenset(
    {
        "getme", "getwebhookinfo", "setwebhook", "deletewebhook", "setmycommands", "getmycommands",
        "deletemycommands", "setmyname", "setmydescription", "setmyshortdescription", "getmyname",
        "getmydescription", "getmyshortdescription", "setchatmenubutton", "sendchataction", "balance", "list",
    }
)  # fmt: skip
PATHS = {
    "create": "invoice/create",
    "info": "invoice/merchant/info",
    "list": "invoice/merchant/list",
    "canceled": "invoice/merchant/canceled",
    "balance": "merchant/wallet/balance/all",
    "statistics": "invoice/merchant/statistics",
}
LONGEST = 90


def in_order(journals: Iterable[Iterable[Json]]) -> list[Json]:
    """Put the entries of all journals in the order in which things happened; some are heard of late."""
    return sorted(chain.from_iterable(journals), key=lambda one: (_moment(one), one["id"]))


def _moment(entry: Json) -> float:
    """Say when it happened, as Unix time; a poll waits, and what there is to see of it is its end."""
    waited = entry.get("took") if entry.get("method", "").lower() == "getupdates" else None
    return float(entry["at"] + (waited or 0))


def line(entry: Json) -> Json | None:
    """Give the short form of an entry; None for what nobody wants to see, such as a poll that brought nothing."""
    match entry["kind"]:
        case "call":
            shown = _call(entry)
        case "delivery":
            shown = _delivery(entry)
        case "webhook":
            shown = _webhook(entry)
        case "provider":
            shown = _provider(entry)
        case "postback":
            shown = _postback(entry)
        case _:
            names = ("title", "text", "tone", "quiet")
            shown = {name: entry[name] for name in names if name in entry}
            shown |= {"from": entry["lane"], "to": entry["to"]}
    if shown is None:
        return None
    about = {
        name: entry[name]
        for name in ("id", "status", "fault", "took", "chat_id")
        if entry.get(name) is not None
    }
    about["at"] = _moment(entry)
    about["text"] = _short(str(shown.pop("text", "")))
    return {**about, **shown}


def raw(entry: Json) -> Json:
    """Give the long form of an entry: its line, the request and the answer."""
    shown: Json = {"line": line(entry), "answer": {"head": "", "body": entry.get("answer")}}
    status = entry.get("status")
    took = f" after {entry['took'] * 1000:.0f} ms" if entry.get("took") is not None else ""
    shown["answer"]["head"] = f"{status}{took}" if status is not None else f"no answer{took}"
    match entry["kind"]:
        case "call":
            shown["request"] = {"head": f"POST /bot<token>/{entry['method']}", "body": entry["arguments"]}
        case "delivery":
            shown["request"] = {"head": "POST /bot<token>/getUpdates", "body": entry["arguments"]}
        case "webhook":
            shown["request"] = {"head": f"POST {entry.get('url', '')}", "body": entry["arguments"]["update"]}
        case "provider":
            path = PATHS.get(entry["method"], entry["method"])
            shown["request"] = {"head": f"POST /v2/{path}", "body": entry["body"]}
        case "postback":
            shown["request"] = {
                "head": f"POST {entry['url']} ({entry['format']})",
                "body": entry.get("sent") or entry.get("body"),
            }
        case _:
            shown["request"] = {"head": "", "body": entry.get("request")}
            shown["answer"]["head"] = ""
    if entry.get("warnings"):
        shown["warnings"] = entry["warnings"]
    return shown


def _short(text: str) -> str:
    text = " ".join(re.sub(r"</?[a-z][^>]*>", "", text).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _is_pending(entry: Json) -> bool:
    return entry.get("status") is None and entry.get("took") is None


def _tone(entry: Json) -> str:
    status = entry.get("status")
    if _is_pending(entry):
        return ""
    if _is_unchanged(entry):
        return ""
    if status is None or not 200 <= status < 300:
        return "bad"
    return "warn" if entry.get("fault") or entry.get("warnings") else "good"


def _is_unchanged(entry: Json) -> bool:
    """Whether a message was edited to what it says already: a refusal of Telegram's that means no trouble."""
    answer = entry.get("answer")
    return isinstance(answer, dict) and "message is not modified" in str(answer.get("description", ""))


def _call(entry: Json) -> Json | None:
    method = entry["method"].lower()
    if method == "getupdates":
        if _tone(entry) == "bad" and not entry.get("gone"):
            return {
                "from": "bot",
                "to": "telegram",
                "title": "getUpdates",
                "text": _refusal(entry),
                "tone": "bad",
            }
        return None
    arguments = entry["arguments"]
    text = str(arguments.get("text") or arguments.get("caption") or "")
    return {
        "from": "bot",
        "to": "telegram",
        "title": entry["method"],
        "text": _refusal(entry) or text,
        "tone": _tone(entry),
        "pending": _is_pending(entry),
        "quiet": method in ROUTINE and _tone(entry) != "bad",
    }


def _delivery(entry: Json) -> Json:
    """Show updates; what a poll just brought and the bot still works on comes again with each further poll."""
    updates = entry["answer"]["result"]
    title, text = _update(updates[0])
    if len(updates) > 1:
        title, text = f"{len(updates)} updates", " · ".join(_update(one)[1] for one in updates)
    again = entry.get("quiet", False)
    return {
        "from": "telegram",
        "to": "bot",
        "title": f"{title}, again" if again else title,
        "text": text,
        "tone": "good",
        "quiet": again,
    }


def _refusal(entry: Json) -> str:
    answer = entry.get("answer")
    if isinstance(answer, dict) and answer.get("ok") is False:
        return str(answer["description"])
    if _tone(entry) == "bad":
        return "no answer" if entry.get("status") is None else "an error page"
    return "; ".join(entry.get("warnings") or ())


def _update(update: Json) -> tuple[str, str]:
    """Say what kind of update this is, and what is in it."""
    kind = next((key for key in update if key != "update_id"), "update")
    body = update[kind] if isinstance(update[kind], dict) else {}
    sender = body.get("from")
    who = str(sender.get("first_name", "")) if isinstance(sender, dict) else ""
    match kind:
        case "message":
            return "message", f"{body.get('text', '')} · {who}"
        case "callback_query":
            return "press", f"{body.get('data', '')} · {who}"
        case "my_chat_member":
            now = body.get("new_chat_member")
            blocked = isinstance(now, dict) and now.get("status") == "kicked"
            return ("blocked" if blocked else "unblocked"), who
        case "chat_join_request":
            return "join request", who
    return kind.replace("_", " "), who


def _webhook(entry: Json) -> Json:
    title, text = _update(entry["arguments"]["update"])
    return {
        "from": "telegram",
        "to": "bot",
        "title": title,
        "text": text,
        "tone": _tone(entry),
        "pending": _is_pending(entry),
    }


def _provider(entry: Json) -> Json:
    method, body, answer = str(entry["method"]), entry.get("body") or {}, entry.get("answer")
    result = answer.get("result") if isinstance(answer, dict) else None
    text = ""
    if method == "create":
        text = f"{body.get('amount', '')} {body.get('currency', '')}".replace(".0 ", " ")
        if isinstance(result, dict) and "uuid" in result:
            text = f"{text} → {result['uuid']}"
    elif method == "info" and isinstance(result, list):
        text = " · ".join(f"{one['uuid']} {one['status']}" for one in result)
    elif method == "canceled":
        text = str(body.get("uuid", ""))
    if _tone(entry) == "bad":
        text = "no answer" if entry.get("status") is None else str(result or answer or "an error page")
    return {
        "from": "bot",
        "to": "cryptocloud",
        "title": PATHS.get(method, method).removeprefix("invoice/").replace("merchant/", ""),
        "text": text,
        "tone": _tone(entry),
        "pending": _is_pending(entry),
        "quiet": method in ROUTINE and _tone(entry) != "bad",
    }


def _postback(entry: Json) -> Json:
    lost = entry["mode"] == "none"
    how = "" if entry["mode"] == "once" else f" · {entry['mode'].replace('_', ' ')}"
    return {
        "from": "cryptocloud",
        "to": "bot",
        "title": "postback, lost" if lost else "postback",
        "text": f"{entry['invoice']}{'' if lost else how}",
        "tone": "warn" if lost else _tone(entry),
        "pending": not lost and _is_pending(entry),
        "lost": lost,
    }
