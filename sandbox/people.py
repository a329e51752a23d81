"""What customers do: write, press buttons, block the bot. Each act becomes the update that Telegram would send."""

import secrets
import time
from typing import Any

from sandbox import channels
from sandbox.telegram_rules import CALLBACK_DATA_LIMIT, text_entities
from sandbox.updates import PRESS_LIFETIME
from sandbox.world import Json, Message, Person, Press, World


def person(world: World, person_id: int) -> Person:
    """Find somebody; raises LookupError."""
    try:
        return world.people[person_id]
    except KeyError:
        raise LookupError(f"there is no person {person_id}") from None


def say(world: World, person_id: int, text: str) -> int:
    """Write to the bot and return the message id; raises ValueError while the bot is blocked."""
    author = person(world, person_id)
    text = text.strip()
    if not text:
        raise ValueError("text is empty")
    if author.blocked:
        raise ValueError("this person blocked the bot: unblock it first")
    author.started = True
    body: Json = {
        "message_id": world.new_message_id(),
        "from": author.as_user(),
        "chat": author.as_chat(),
        "date": int(time.time()),
        "text": text,
    }
    if entities := text_entities(text):
        body["entities"] = entities
    world.keep_message(person_id, Message(body, from_bot=False))
    world.updates.push("message", body, lane=f"chat:{person_id}")
    return int(body["message_id"])


def _buttons(body: Json) -> list[Json]:
    return [button for row in body.get("reply_markup", {}).get("inline_keyboard", ()) for button in row]


def press(
    world: World,
    chat_id: int,
    message_id: int,
    data: str,
    *,
    person_id: int | None = None,
    forged: bool = False,
) -> str:
    """Press a button and return the query id. `forged` sends any data, as a modified client can.

    Raises LookupError for a message or button that is not there.
    """
    presser = person(world, chat_id if person_id is None else person_id)
    message = world.chats.get(chat_id, {}).get(message_id)
    if message is None and not forged:
        raise LookupError(f"there is no message {message_id} in chat {chat_id}")
    shown: Json = {"chat": world.chat_object(chat_id), "message_id": message_id, "date": 0}
    if message is not None and not message.deleted:
        shown = message.body
    if not forged:
        if data not in {button.get("callback_data") for button in _buttons(shown)}:
            raise LookupError(f"message {message_id} has no button {data!r}")
        if presser.blocked:
            raise ValueError("this person blocked the bot: unblock it first")
    elif len(data.encode()) > 4 * CALLBACK_DATA_LIMIT:
        raise ValueError("that is more than any client can send")
    query = Press(id=str(secrets.randbits(62)), person_id=presser.id, at=time.time())
    world.presses[query.id] = query
    for stale in [one.id for one in world.presses.values() if one.at < time.time() - 3600]:
        del world.presses[stale]
    body = {
        "id": query.id,
        "from": presser.as_user(),
        "message": shown,
        "chat_instance": str(-7_000_000_000_000 - chat_id),
        "data": data,
    }
    world.updates.push("callback_query", body, lane=f"user:{presser.id}", lifetime=PRESS_LIFETIME)
    return query.id


def set_blocked(world: World, person_id: int, blocked: bool) -> None:
    """Block or unblock the bot; both are told to it by my_chat_member, doing it twice is not."""
    who = person(world, person_id)
    if who.blocked == blocked:
        return
    who.blocked = blocked
    member: Json = {"user": world.bot_user(), "status": "member"}
    kicked: Json = {"user": world.bot_user(), "status": "kicked", "until_date": 0}
    body = {
        "chat": who.as_chat(),
        "from": who.as_user(),
        "date": int(time.time()),
        "old_chat_member": member if blocked else kicked,
        "new_chat_member": kicked if blocked else member,
    }
    world.updates.push("my_chat_member", body, lane=f"chat:{person_id}")
    world.tell("people")


def follow_invite(world: World, person_id: int, url: str) -> str:
    """Open an invite link; answers joined, asked or member. Raises LookupError and ValueError as a client says."""
    who = person(world, person_id)
    outcome = channels.open_link(world, person_id, url)
    words = {
        "joined": "joined the channel",
        "asked": "asks to join the channel",
        "member": "is in the channel",
    }
    world.note("telegram", f"{who.first_name} {words[outcome]}")
    return outcome


def leave_channel(world: World, person_id: int, channel_id: int) -> None:
    """Leave a channel; raises LookupError for somebody who is not in it."""
    who, channel = person(world, person_id), world.channels.get(channel_id)
    if channel is None or person_id not in channel.members:
        raise LookupError("this person is not in that channel")
    channels.leave(world, channel, person_id, by=person_id)
    world.note("telegram", f"{who.first_name} left the channel")


def inject(world: World, update: Any) -> int:
    """Queue any object as an update, also one that no library can parse; its update_id is filled in if absent."""
    if not isinstance(update, dict):
        raise ValueError("an update is a JSON object")
    kind = next((key for key in update if key != "update_id"), "")
    return world.updates.push_raw(update, kind=kind, lane=f"raw:{kind}")


def commands_for(world: World, person_id: int) -> list[Json]:
    """Choose the command list that this person's client shows, by Telegram's order of scopes."""
    language = person(world, person_id).language
    for scope in (f"chat|{person_id}", "all_private_chats|", "default|"):
        for code in (language, ""):
            if found := world.commands.get(f"{scope}|{code}"):
                return found
    return []
