"""Channels: who is in them, by which invite links people come in, and who asks to be let in.

The bot is an administrator with can_invite_users and can_restrict_members. Each act of a person becomes the updates
that Telegram would send; the Bot API's side of it stands in telegram_channels.py.
"""

import secrets
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox.world import World

Json = dict[str, Any]
JOIN_REQUEST_WINDOW = 300.0


@dataclass
class InviteLink:
    """One way in. `member_limit` counts who is in by this link at the same time; 0 means no limit."""

    link: str
    name: str = ""
    expires: float = 0.0
    member_limit: int = 0
    creates_join_request: bool = False
    is_revoked: bool = False
    is_primary: bool = False


@dataclass
class Channel:
    """A private channel. `members` tells who came in by which link; `requests` when somebody asked."""

    id: int
    title: str
    owner: int
    members: dict[int, str] = field(default_factory=dict)
    banned: list[int] = field(default_factory=list)
    requests: dict[int, float] = field(default_factory=dict)
    links: dict[str, InviteLink] = field(default_factory=dict)

    def as_chat(self) -> Json:
        return {"id": self.id, "title": self.title, "type": "channel"}

    def status_of(self, person_id: int) -> str:
        if person_id == self.owner:
            return "creator"
        if person_id in self.banned:
            return "kicked"
        return "member" if person_id in self.members else "left"

    def shift(self, seconds: float) -> None:
        self.requests = {person: at + seconds for person, at in self.requests.items()}
        for link in self.links.values():
            if link.expires:
                link.expires += seconds

    def as_json(self) -> Json:
        return asdict(self)

    @classmethod
    def from_json(cls, state: Json) -> "Channel":
        links = {key: InviteLink(**one) for key, one in state["links"].items()}
        members = {int(key): link for key, link in state["members"].items()}
        requests = {int(key): at for key, at in state["requests"].items()}
        return cls(**{**state, "links": links, "members": members, "requests": requests})


def add_link(channel: Channel, **properties: Any) -> InviteLink:
    """Make a new invite link, as `https://t.me/+…`, which the page opens without leaving this machine."""
    link = InviteLink(f"https://t.me/+{secrets.token_urlsafe(12)}", **properties)
    channel.links[link.link] = link
    return link


def link_as_json(world: "World", channel: Channel, link: InviteLink) -> Json:
    """Show a link as Telegram's ChatInviteLink."""
    shown: Json = {
        "invite_link": link.link,
        "creator": world.bot_user(),
        "creates_join_request": link.creates_join_request,
        "is_primary": link.is_primary,
        "is_revoked": link.is_revoked,
    }
    if link.name:
        shown["name"] = link.name
    if link.expires:
        shown["expire_date"] = int(link.expires)
    if link.member_limit:
        shown["member_limit"] = link.member_limit
    if waiting := len(channel.requests):
        shown["pending_join_request_count"] = waiting
    return shown


def member_as_json(world: "World", channel: Channel, user_id: int, status: str | None = None) -> Json:
    """Show a person's place as Telegram's ChatMember; `status` is for a moment that is over."""
    status = status or channel.status_of(user_id)
    member: Json = {"user": world.people[user_id].as_user(), "status": status}
    if status == "creator":
        member["is_anonymous"] = False
    elif status == "kicked":
        member["until_date"] = 0
    return member


def asked_lately(world: "World", person_id: int) -> bool:
    """Whether the bot may write to somebody who never wrote to it, because they ask to join a channel of its."""
    moments = (channel.requests.get(person_id, 0.0) for channel in world.channels.values())
    return any(time.time() - at < JOIN_REQUEST_WINDOW for at in moments)


def open_link(world: "World", person_id: int, url: str) -> str:
    """Follow an invite link; answers `joined`, `asked` or `member`. Raises what a client says as ValueError."""
    found = next(
        ((channel, link) for channel in world.channels.values() if (link := channel.links.get(url.strip()))),
        None,
    )
    if found is None:
        raise LookupError("this invite link leads nowhere")
    channel, link = found
    if channel.status_of(person_id) in {"member", "creator"}:
        return "member"
    if person_id in channel.banned:
        raise ValueError("you were banned from this channel")
    inside = sum(way == link.link for way in channel.members.values())
    over = link.expires and time.time() >= link.expires
    if link.is_revoked or over or (link.member_limit and inside >= link.member_limit):
        raise ValueError("this invite link has expired")
    if link.creates_join_request:
        channel.requests[person_id] = time.time()
        who = world.people[person_id]
        body = {
            "chat": channel.as_chat(),
            "from": who.as_user(),
            "user_chat_id": person_id,
            "date": int(time.time()),
            "invite_link": link_as_json(world, channel, link),
        }
        world.updates.push("chat_join_request", body, lane=f"join:{person_id}")
        world.tell("people")
        return "asked"
    enter(world, channel, person_id, link.link, by=person_id)
    return "joined"


def enter(world: "World", channel: Channel, person_id: int, way: str, *, by: int) -> None:
    """Let somebody in and send the chat_member update, which a bot gets only if it asked for it."""
    _change(world, channel, person_id, by, lambda: channel.members.update({person_id: way}))
    channel.requests.pop(person_id, None)


def leave(world: "World", channel: Channel, person_id: int, *, by: int, ban: bool = False) -> None:
    """Let somebody go, or throw them out; `ban` keeps them from coming back."""

    def go() -> None:
        channel.members.pop(person_id, None)
        if ban and person_id not in channel.banned:
            channel.banned.append(person_id)

    _change(world, channel, person_id, by, go)


def unban(world: "World", channel: Channel, person_id: int, *, by: int) -> None:
    """Let a banned person come back by a link."""
    _change(world, channel, person_id, by, lambda: channel.banned.remove(person_id))


def _change(world: "World", channel: Channel, person_id: int, by: int, change: Any) -> None:
    before = channel.status_of(person_id)
    change()
    after = channel.status_of(person_id)
    world.tell("people")
    if before == after:
        return
    body = {
        "chat": channel.as_chat(),
        "from": world.bot_user() if by == world.bot_id else world.people[by].as_user(),
        "date": int(time.time()),
        "old_chat_member": member_as_json(world, channel, person_id, before),
        "new_chat_member": member_as_json(world, channel, person_id),
    }
    world.updates.push("chat_member", body, lane=f"join:{person_id}")
