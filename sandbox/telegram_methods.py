"""What each Bot API method does to the world. Refuses as Telegram refuses; parameters it does not know are ignored."""

import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from sandbox.channels import asked_lately
from sandbox.pictures import size_of_picture
from sandbox.telegram_rules import (
    CAPTION_LIMIT,
    TEXT_LIMIT,
    Refusal,
    bad_request,
    check_markup,
    formatted,
    is_loopback,
)
from sandbox.world import Json, Message, World

WEBHOOK_PORTS = frozenset({443, 80, 88, 8443})
PHOTO_LIMIT = 10 * 1024 * 1024
FILE_LIMIT = 50 * 1024 * 1024
CHAT_ACTIONS = frozenset(
    {
        "typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice",
        "upload_document", "choose_sticker", "find_location", "record_video_note", "upload_video_note",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Arguments:
    """The arguments of one call; forms give strings, JSON gives values, both are read alike."""

    values: dict[str, Any]

    def text(self, name: str, default: str = "") -> str:
        value = self.values.get(name)
        return default if value is None else str(value)

    def quiet_integer(self, name: str) -> int | None:
        try:
            return int(str(self.values[name]))
        except (KeyError, ValueError):
            return None

    def integer(self, name: str, default: int = 0) -> int:
        found = self.quiet_integer(name)
        return default if found is None else found

    def flag(self, name: str) -> bool:
        return str(self.values.get(name, "")).lower() in {"true", "1", "yes"}

    def structure(self, name: str) -> Any:
        """Read an object or array, which forms carry as JSON text; None when it is absent."""
        value = self.values.get(name)
        if isinstance(value, str):
            if not value:
                return None
            try:
                return json.loads(value)
            except (ValueError, RecursionError):
                raise bad_request(f"can't parse {name.replace('_', ' ')} JSON object") from None
        return value

    def file(self, name: str) -> tuple[str, str, bytes] | None:
        """Give an uploaded file as name, type and content, also when it is referred to as attach://."""
        value = self.values.get(name)
        if isinstance(value, str) and value.startswith("attach://"):
            value = self.values.get(value.removeprefix("attach://"))
        return value if isinstance(value, tuple) else None

    def as_json(self) -> Json:
        return {
            name: f"<file {value[0]}, {len(value[2])} bytes>" if isinstance(value, tuple) else value
            for name, value in self.values.items()
        }


Method = Callable[[World, Arguments], Awaitable[Any]]
AnyMethod = TypeVar("AnyMethod", bound=Method)
METHODS: dict[str, Method] = {}


def method(name: str) -> Callable[[AnyMethod], AnyMethod]:
    """Put a function into the method table under a name of the Bot API."""

    def register(function: AnyMethod) -> AnyMethod:
        METHODS[name.lower()] = function
        return function

    return register


def _chat(world: World, arguments: Arguments) -> int:
    """Find the chat that the bot may write to; raises `Refusal` when it may not."""
    if not arguments.text("chat_id"):
        raise bad_request("chat_id is empty")
    chat_id = arguments.integer("chat_id")
    if chat_id in world.groups or chat_id in world.channels:
        return chat_id
    person = world.people.get(chat_id)
    if person is None:
        raise bad_request("chat not found")
    if person.deactivated:
        raise Refusal(403, "Forbidden: user is deactivated")
    if person.blocked:
        raise Refusal(403, "Forbidden: bot was blocked by the user")
    if not person.started and not asked_lately(world, chat_id):
        raise Refusal(403, "Forbidden: bot can't initiate conversation with a user")
    return chat_id


def _text(arguments: Arguments) -> tuple[str, list[Json]]:
    given = arguments.structure("entities") or []
    text, entities = formatted(
        arguments.text("text"), arguments.text("parse_mode"), given, limit=TEXT_LIMIT, what="message"
    )
    if not text:
        raise bad_request("message text is empty")
    return text, entities


def _caption(arguments: Arguments) -> Json:
    text, entities = formatted(
        arguments.text("caption"),
        arguments.text("parse_mode"),
        arguments.structure("caption_entities") or [],
        limit=CAPTION_LIMIT,
        what="message caption",
    )
    if not text:
        return {}
    return {"caption": text, "caption_entities": entities} if entities else {"caption": text}


def _send(world: World, chat_id: int, content: Json, markup: Json | None) -> Json:
    chat = world.chat_object(chat_id)
    sender = {"sender_chat": chat} if chat_id in world.channels else {"from": world.bot_user()}
    body: Json = {
        "message_id": world.new_message_id(),
        **sender,
        "chat": chat,
        "date": int(time.time()),
        **content,
    }
    if markup:
        body["reply_markup"] = markup
    world.keep_message(chat_id, Message(body, from_bot=True))
    return body


@method("getMe")
async def get_me(world: World, _: Arguments) -> Json:
    return {
        **world.bot_user(),
        "can_join_groups": True,
        "can_read_all_group_messages": False,
        "supports_inline_queries": False,
        "can_connect_to_business": False,
        "has_main_web_app": False,
    }


@method("sendMessage")
async def send_message(world: World, arguments: Arguments) -> Json:
    text, entities = _text(arguments)
    markup = check_markup(arguments.values.get("reply_markup"))
    chat_id = _chat(world, arguments)
    return _send(world, chat_id, {"text": text, "entities": entities} if entities else {"text": text}, markup)


def _own_message(world: World, arguments: Arguments) -> Message:
    chat_id = _chat(world, arguments)
    if not arguments.text("message_id"):
        raise bad_request("message identifier is not specified")
    message = world.chats.get(chat_id, {}).get(arguments.integer("message_id"))
    if message is None or message.deleted:
        raise bad_request("message to edit not found")
    if not message.from_bot:
        raise bad_request("message can't be edited")
    return message


def _edited(world: World, message: Message, content: Json, markup: Json | None) -> Json:
    body = {key: value for key, value in message.body.items() if key not in {*content, "reply_markup"}}
    body |= {key: value for key, value in content.items() if value is not None}
    if markup:
        body["reply_markup"] = markup
    if body == message.body:
        raise bad_request(
            "message is not modified: specified new message content and reply markup are exactly the same "
            "as a current content and reply markup of the message"
        )
    body["edit_date"] = int(time.time())
    message.body = body
    message.edits += 1
    world.tell("chat", chat_id=body["chat"]["id"])
    return body


@method("editMessageText")
async def edit_message_text(world: World, arguments: Arguments) -> Json:
    text, entities = _text(arguments)
    markup = check_markup(arguments.values.get("reply_markup"))
    message = _own_message(world, arguments)
    if "text" not in message.body:
        raise bad_request("there is no text in the message to edit")
    return _edited(world, message, {"text": text, "entities": entities or None}, markup)


@method("editMessageCaption")
async def edit_message_caption(world: World, arguments: Arguments) -> Json:
    caption = {"caption": None, "caption_entities": None} | _caption(arguments)
    markup = check_markup(arguments.values.get("reply_markup"))
    message = _own_message(world, arguments)
    if not {"photo", "document"} & message.body.keys():
        raise bad_request("there is no caption in the message to edit")
    return _edited(world, message, caption, markup)


@method("editMessageReplyMarkup")
async def edit_message_reply_markup(world: World, arguments: Arguments) -> Json:
    markup = check_markup(arguments.values.get("reply_markup"))
    return _edited(world, _own_message(world, arguments), {}, markup)


@method("deleteMessage")
async def delete_message(world: World, arguments: Arguments) -> bool:
    chat_id = _chat(world, arguments)
    message = world.chats.get(chat_id, {}).get(arguments.integer("message_id"))
    if message is None or message.deleted:
        raise bad_request("message to delete not found")
    message.deleted = True
    world.tell("chat", chat_id=chat_id)
    return True


def _stored_file(world: World, arguments: Arguments, kind: str) -> tuple[str, str, str, bytes]:
    """Take an uploaded file in, or find the one whose file_id is sent again; raises `Refusal`."""
    uploaded = arguments.file(kind)
    if uploaded is None:
        named = arguments.text(kind)
        if named in world.files:
            return (named, *world.files[named])
        if "://" in named:
            raise bad_request("failed to get HTTP URL content")
        raise bad_request(
            "wrong remote file identifier specified: can't unserialize it. Wrong last symbol"
            if named
            else f"there is no {kind} in the request"
        )
    name, content_type, content = uploaded
    if not content:
        raise bad_request("file must be non-empty")
    if len(content) > (PHOTO_LIMIT if kind == "photo" else FILE_LIMIT):
        raise Refusal(413, "Request Entity Too Large")
    return f"sandbox-file-{secrets.token_hex(8)}", name, content_type, content


async def _send_file(world: World, arguments: Arguments, kind: str) -> Json:
    file_id, name, content_type, content = _stored_file(world, arguments, kind)
    described: Json = {"file_id": file_id, "file_unique_id": file_id[-12:], "file_size": len(content)}
    media: Any
    if kind == "photo":
        size = size_of_picture(content)
        if size is None:
            raise bad_request("IMAGE_PROCESS_FAILED")
        width, height = size
        if width + height > 10_000 or max(size) > 20 * min(size):
            raise bad_request("PHOTO_INVALID_DIMENSIONS")
        media = [{**described, "width": width, "height": height}]
    else:
        media = {**described, "file_name": name, "mime_type": content_type}
    caption = _caption(arguments)
    markup = check_markup(arguments.values.get("reply_markup"))
    chat_id = _chat(world, arguments)
    world.files[file_id] = (name, content_type, content)
    return _send(world, chat_id, {kind: media, **caption}, markup)


@method("sendDocument")
async def send_document(world: World, arguments: Arguments) -> Json:
    return await _send_file(world, arguments, "document")


@method("sendPhoto")
async def send_photo(world: World, arguments: Arguments) -> Json:
    return await _send_file(world, arguments, "photo")


@method("sendChatAction")
async def send_chat_action(world: World, arguments: Arguments) -> bool:
    if arguments.text("action").lower() not in CHAT_ACTIONS:
        raise bad_request("wrong parameter action in request")
    chat_id = _chat(world, arguments)
    world.tell("typing", chat_id=chat_id)
    return True


@method("answerCallbackQuery")
async def answer_callback_query(world: World, arguments: Arguments) -> bool:
    text = arguments.text("text")
    if len(text) > 200:
        raise bad_request("MESSAGE_TOO_LONG")
    press = world.presses.get(arguments.text("callback_query_id"))
    if press is None or time.time() - press.at > world.press_lifetime:
        raise bad_request("query is too old and response timeout expired or query ID is invalid")
    if not press.answered:
        press.answered = True
        press.text = text
        press.show_alert = arguments.flag("show_alert")
        press.url = arguments.text("url")
        world.tell("answer", press_id=press.id, person_id=press.person_id, text=text, alert=press.show_alert)
    return True


@method("getUpdates")
async def get_updates(world: World, arguments: Arguments) -> list[Json]:
    if world.webhook.url:
        raise Refusal(
            409,
            "Conflict: can't use getUpdates method while webhook is active; "
            "use deleteWebhook to delete the webhook first",
        )
    _remember_allowed_updates(world, arguments)
    limit = min(100, max(1, arguments.integer("limit", 100)))
    timeout = min(50, max(0, arguments.integer("timeout")))
    return await world.updates.poll(arguments.integer("offset"), limit, timeout)


def _remember_allowed_updates(world: World, arguments: Arguments) -> None:
    allowed = arguments.structure("allowed_updates")
    if allowed is None:
        return
    if not isinstance(allowed, list):
        raise bad_request("can't parse allowed updates: Array expected")
    world.updates.allowed = [str(kind) for kind in allowed]


@method("setWebhook")
async def set_webhook(world: World, arguments: Arguments) -> bool:
    url = arguments.text("url")
    if not url:
        return await delete_webhook(world, arguments)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise bad_request("bad webhook: invalid webhook URL specified") from None
    if not is_loopback(host):
        if parts.scheme != "https":
            raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
        if (port or 443) not in WEBHOOK_PORTS:
            raise bad_request("bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443")
    secret = arguments.text("secret_token")
    if not re.fullmatch(r"[A-Za-z0-9_-]{0,256}", secret):
        raise bad_request("secret token contains unallowed characters")
    _remember_allowed_updates(world, arguments)
    if arguments.flag("drop_pending_updates"):
        world.updates.clear()
    hook = world.webhook
    connections = min(100, max(1, arguments.integer("max_connections", 40)))
    if (hook.url, hook.secret, hook.max_connections) == (url, secret, connections):
        return True
    if time.monotonic() - hook.set_at < 1:
        raise Refusal(429, "Too Many Requests: retry after 1", 1)
    world.set_webhook(url, secret, connections)
    return True


@method("deleteWebhook")
async def delete_webhook(world: World, arguments: Arguments) -> bool:
    if arguments.flag("drop_pending_updates"):
        world.updates.clear()
    if world.webhook.url:
        world.set_webhook("", "", 40)
    return True


@method("getWebhookInfo")
async def get_webhook_info(world: World, _: Arguments) -> Json:
    hook = world.webhook
    world.updates.drop_expired()
    info: Json = {
        "url": hook.url,
        "has_custom_certificate": False,
        "pending_update_count": len(world.updates.waiting),
    }
    if hook.url:
        info |= {"max_connections": hook.max_connections, "ip_address": "127.0.0.1"}
    if world.updates.allowed:
        info["allowed_updates"] = world.updates.allowed
    if hook.last_error:
        info |= {"last_error_date": int(hook.last_error_at), "last_error_message": hook.last_error}
    return info


def _commands_key(arguments: Arguments) -> str:
    scope = arguments.structure("scope") or {"type": "default"}
    kind = str(scope.get("type", "default"))
    return "|".join((kind, str(scope.get("chat_id", "")), arguments.text("language_code")))


@method("setMyCommands")
async def set_my_commands(world: World, arguments: Arguments) -> bool:
    commands = arguments.structure("commands")
    if not isinstance(commands, list):
        raise bad_request("can't parse list of bot commands: expected an Array of BotCommand")
    if len(commands) > 100:
        raise bad_request("BOT_COMMANDS_TOO_MUCH")
    for one in commands:
        if not re.fullmatch(r"/?[a-z0-9_]{1,32}", str(one.get("command", ""))):
            raise bad_request("BOT_COMMAND_INVALID")
        if not 1 <= len(str(one.get("description", ""))) <= 256:
            raise bad_request("BOT_COMMAND_DESCRIPTION_INVALID")
    world.commands[_commands_key(arguments)] = [
        {"command": one["command"].removeprefix("/"), "description": one["description"]} for one in commands
    ]
    world.tell("commands")
    return True


@method("getMyCommands")
async def get_my_commands(world: World, arguments: Arguments) -> list[Json]:
    return world.commands.get(_commands_key(arguments), [])


@method("deleteMyCommands")
async def delete_my_commands(world: World, arguments: Arguments) -> bool:
    world.commands.pop(_commands_key(arguments), None)
    world.tell("commands")
    return True


def _profile_text(world: World, arguments: Arguments, name: str, limit: int) -> bool:
    value = arguments.text(name)
    if len(value) > limit:
        raise bad_request(f"BOT_{name.upper()}_TOO_LONG")
    language = arguments.text("language_code")
    world.profile[f"{name}|{language}" if language else name] = value
    world.tell("profile")
    return True


@method("setMyName")
async def set_my_name(world: World, arguments: Arguments) -> bool:
    return _profile_text(world, arguments, "name", 64)


@method("setMyDescription")
async def set_my_description(world: World, arguments: Arguments) -> bool:
    return _profile_text(world, arguments, "description", 512)


@method("setMyShortDescription")
async def set_my_short_description(world: World, arguments: Arguments) -> bool:
    return _profile_text(world, arguments, "short_description", 120)


@method("getMyName")
async def get_my_name(world: World, arguments: Arguments) -> Json:
    return {"name": world.profile.get("name", "")}


@method("getMyDescription")
async def get_my_description(world: World, arguments: Arguments) -> Json:
    return {"description": world.profile.get("description", "")}


@method("getMyShortDescription")
async def get_my_short_description(world: World, arguments: Arguments) -> Json:
    return {"short_description": world.profile.get("short_description", "")}


@method("setChatMenuButton")
async def set_chat_menu_button(_: World, arguments: Arguments) -> bool:
    button = arguments.structure("menu_button")
    if button is not None and (not isinstance(button, dict) or "type" not in button):
        raise bad_request("can't parse menu button: MenuButton has unsupported type")
    return True


@method("getChat")
async def get_chat(world: World, arguments: Arguments) -> Json:
    chat_id = arguments.integer("chat_id")
    if not any(chat_id in known for known in (world.groups, world.channels, world.people)):
        raise bad_request("chat not found")
    return {
        **world.chat_object(chat_id),
        "accent_color_id": 0,
        "max_reaction_count": 11,
        "accepted_gift_types": dict.fromkeys(
            (
                "unlimited_gifts",
                "limited_gifts",
                "unique_gifts",
                "premium_subscription",
                "gifts_from_channels",
            ),
            True,
        ),
    }


@method("getFile")
async def get_file(world: World, arguments: Arguments) -> Json:
    file_id = arguments.text("file_id")
    if file_id not in world.files:
        raise bad_request("invalid file_id")
    _, _, content = world.files[file_id]
    return {
        "file_id": file_id,
        "file_unique_id": file_id[-12:],
        "file_size": len(content),
        "file_path": f"files/{file_id}",
    }
