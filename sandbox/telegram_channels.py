"""The Bot API's methods for channels: invite links, join requests, members. The bot is an administrator there."""

import time
from typing import Any

from sandbox.channels import (
    Channel,
    InviteLink,
    add_link,
    enter,
    leave,
    link_as_json,
    member_as_json,
    unban,
)
from sandbox.telegram_methods import Arguments, method
from sandbox.telegram_rules import Refusal, bad_request
from sandbox.world import Json, World

MOST_MEMBERS_OF_A_LINK = 99_999


def _channel(world: World, arguments: Arguments) -> Channel:
    if not arguments.text("chat_id"):
        raise bad_request("chat_id is empty")
    channel = world.channels.get(arguments.integer("chat_id"))
    if channel is None:
        raise bad_request("chat not found")
    return channel


def _user(world: World, arguments: Arguments) -> int:
    user_id = arguments.integer("user_id")
    if user_id not in world.people and user_id != world.bot_id:
        raise bad_request("invalid user_id specified")
    return user_id


def _properties(arguments: Arguments) -> Json:
    name = arguments.text("name")
    if len(name) > 32:
        raise bad_request("chat invite link name is too long")
    limit, asks = arguments.integer("member_limit"), arguments.flag("creates_join_request")
    if limit and asks:
        raise bad_request("member limit can't be specified for links requiring administrator approval")
    if not 0 <= limit <= MOST_MEMBERS_OF_A_LINK:
        raise bad_request("USAGE_LIMIT_INVALID")
    expires = arguments.integer("expire_date")
    if expires and expires <= time.time():
        raise bad_request("EXPIRE_DATE_INVALID")
    return {"name": name, "member_limit": limit, "creates_join_request": asks, "expires": float(expires)}


def _link(channel: Channel, arguments: Arguments) -> InviteLink:
    link = channel.links.get(arguments.text("invite_link"))
    if link is None:
        raise bad_request("INVITE_HASH_EXPIRED")
    return link


@method("createChatInviteLink")
async def create_chat_invite_link(world: World, arguments: Arguments) -> Json:
    channel = _channel(world, arguments)
    return link_as_json(world, channel, add_link(channel, **_properties(arguments)))


@method("exportChatInviteLink")
async def export_chat_invite_link(world: World, arguments: Arguments) -> str:
    channel = _channel(world, arguments)
    for link in channel.links.values():
        link.is_revoked |= link.is_primary
    return add_link(channel, is_primary=True).link


@method("editChatInviteLink")
async def edit_chat_invite_link(world: World, arguments: Arguments) -> Json:
    channel = _channel(world, arguments)
    link = _link(channel, arguments)
    for name, value in _properties(arguments).items():
        setattr(link, name, value)
    return link_as_json(world, channel, link)


@method("revokeChatInviteLink")
async def revoke_chat_invite_link(world: World, arguments: Arguments) -> Json:
    channel = _channel(world, arguments)
    link = _link(channel, arguments)
    link.is_revoked = True
    return link_as_json(world, channel, link)


def _request(channel: Channel, user_id: int) -> None:
    if channel.status_of(user_id) in {"member", "creator"}:
        raise bad_request("USER_ALREADY_PARTICIPANT")
    if user_id not in channel.requests:
        raise bad_request("HIDE_REQUESTER_MISSING")


@method("approveChatJoinRequest")
async def approve_chat_join_request(world: World, arguments: Arguments) -> bool:
    channel, user_id = _channel(world, arguments), _user(world, arguments)
    _request(channel, user_id)
    enter(world, channel, user_id, "request", by=world.bot_id)
    return True


@method("declineChatJoinRequest")
async def decline_chat_join_request(world: World, arguments: Arguments) -> bool:
    channel, user_id = _channel(world, arguments), _user(world, arguments)
    _request(channel, user_id)
    del channel.requests[user_id]
    world.tell("people")
    return True


def _mortal(world: World, channel: Channel, user_id: int) -> None:
    if user_id == world.bot_id:
        raise bad_request("can't restrict self")
    if user_id == channel.owner:
        raise bad_request("can't remove chat owner")


@method("banChatMember")
async def ban_chat_member(world: World, arguments: Arguments) -> bool:
    channel, user_id = _channel(world, arguments), _user(world, arguments)
    _mortal(world, channel, user_id)
    leave(world, channel, user_id, by=world.bot_id, ban=True)
    return True


@method("unbanChatMember")
async def unban_chat_member(world: World, arguments: Arguments) -> bool:
    """Unban; without only_if_banned it also removes a member, who may come back."""
    channel, user_id = _channel(world, arguments), _user(world, arguments)
    _mortal(world, channel, user_id)
    if user_id in channel.banned:
        unban(world, channel, user_id, by=world.bot_id)
    elif not arguments.flag("only_if_banned"):
        leave(world, channel, user_id, by=world.bot_id)
    return True


@method("getChatMember")
async def get_chat_member(world: World, arguments: Arguments) -> Json:
    chat_id, user_id = arguments.integer("chat_id"), _user(world, arguments)
    channel = world.channels.get(chat_id)
    if channel is not None:
        return _bot_as_admin(world) if user_id == world.bot_id else member_as_json(world, channel, user_id)
    if chat_id not in world.groups and chat_id not in world.people:
        raise bad_request("chat not found")
    user = world.bot_user() if user_id == world.bot_id else world.people[user_id].as_user()
    return {"user": user, "status": "member"}


def _bot_as_admin(world: World) -> Json:
    rights: dict[str, Any] = dict.fromkeys(
        (
            "can_manage_chat", "can_delete_messages", "can_restrict_members", "can_invite_users",
            "can_post_messages", "can_edit_messages",
        ),
        True,
    )  # fmt: skip
    lacks = dict.fromkeys(
        (
            "can_be_edited", "is_anonymous", "can_manage_video_chats", "can_promote_members",
            "can_change_info", "can_post_stories", "can_edit_stories", "can_delete_stories",
        ),
        False,
    )  # fmt: skip
    return {"user": world.bot_user(), "status": "administrator", **rights, **lacks}


@method("getChatAdministrators")
async def get_chat_administrators(world: World, arguments: Arguments) -> list[Json]:
    channel = _channel(world, arguments)
    return [member_as_json(world, channel, channel.owner), _bot_as_admin(world)]


@method("getChatMemberCount")
async def get_chat_member_count(world: World, arguments: Arguments) -> int:
    return len(_channel(world, arguments).members) + 2


@method("leaveChat")
async def leave_chat(_: World, __: Arguments) -> bool:
    raise Refusal(400, "Bad Request: the sandbox keeps the bot in its channel")
