"""The parameters of the Bot API's methods: names and types, from its public documentation (Bot API 10.x).

Telegram carries out a call with a misspelt parameter and ignores what it does not know, so a mistake goes unseen
there. Here such a call is carried out too, and marked with a warning.
"""

import json
from collections.abc import Mapping
from typing import Any

_SEND = (
    "business_connection_id:text chat_id:chat message_thread_id:number direct_messages_topic_id:number "
    "disable_notification:flag protect_content:flag allow_paid_broadcast:flag message_effect_id:text "
    "suggested_post_parameters:object reply_parameters:object reply_markup:object "
)
_EDIT = (
    "business_connection_id:text chat_id:chat message_id:number inline_message_id:text reply_markup:object "
)
_CAPTION = "caption:text parse_mode:text caption_entities:array show_caption_above_media:flag "
_LINK = "chat_id:chat name:text expire_date:number member_limit:number creates_join_request:flag "

_PARAMETERS = {
    "getMe": "",
    "getUpdates": "offset:number limit:number timeout:number allowed_updates:array",
    "setWebhook": "url:text certificate:file ip_address:text max_connections:number allowed_updates:array "
    "drop_pending_updates:flag secret_token:text",
    "deleteWebhook": "drop_pending_updates:flag",
    "getWebhookInfo": "",
    "sendMessage": f"{_SEND} text:text parse_mode:text entities:array link_preview_options:object",
    "sendPhoto": f"{_SEND} {_CAPTION} photo:file has_spoiler:flag",
    "sendDocument": f"{_SEND} {_CAPTION} document:file thumbnail:file disable_content_type_detection:flag",
    "sendChatAction": "business_connection_id:text chat_id:chat message_thread_id:number action:text",
    "editMessageText": f"{_EDIT} text:text parse_mode:text entities:array link_preview_options:object",
    "editMessageCaption": f"{_EDIT} {_CAPTION}",
    "editMessageReplyMarkup": _EDIT,
    "deleteMessage": "chat_id:chat message_id:number",
    "answerCallbackQuery": "callback_query_id:text text:text show_alert:flag url:text cache_time:number",
    "setMyCommands": "commands:array scope:object language_code:text",
    "getMyCommands": "scope:object language_code:text",
    "deleteMyCommands": "scope:object language_code:text",
    "setMyName": "name:text language_code:text",
    "setMyDescription": "description:text language_code:text",
    "setMyShortDescription": "short_description:text language_code:text",
    "getMyName": "language_code:text",
    "getMyDescription": "language_code:text",
    "getMyShortDescription": "language_code:text",
    "setChatMenuButton": "chat_id:chat menu_button:object",
    "getChat": "chat_id:chat",
    "getFile": "file_id:text",
    "getChatMember": "chat_id:chat user_id:number",
    "getChatMemberCount": "chat_id:chat",
    "getChatAdministrators": "chat_id:chat",
    "exportChatInviteLink": "chat_id:chat",
    "createChatInviteLink": _LINK,
    "editChatInviteLink": f"{_LINK} invite_link:text",
    "revokeChatInviteLink": "chat_id:chat invite_link:text",
    "approveChatJoinRequest": "chat_id:chat user_id:number",
    "declineChatJoinRequest": "chat_id:chat user_id:number",
    "banChatMember": "chat_id:chat user_id:number until_date:number revoke_messages:flag",
    "unbanChatMember": "chat_id:chat user_id:number only_if_banned:flag",
}
# Before Bot API 6.5 and 7.0; the server still takes them.
_OLD = {
    "disable_web_page_preview": "flag",
    "reply_to_message_id": "number",
    "allow_sending_without_reply": "flag",
}
TABLE: Mapping[str, Mapping[str, str]] = {
    name.lower(): dict(part.split(":") for part in found.split()) | (_OLD if "reply_markup" in found else {})
    for name, found in _PARAMETERS.items()
}


def complaints(method: str, values: Mapping[str, Any]) -> list[str]:
    """Tell what is odd about the parameters of a call that Telegram would quietly take."""
    known = TABLE.get(method.lower())
    if known is None:
        return []
    attached = {
        str(value).removeprefix("attach://")
        for value in values.values()
        if str(value).startswith("attach://")
    }
    found = []
    for name, value in values.items():
        if name not in known:
            if name not in attached:
                found.append(f"{name} is no parameter of {method}: it was ignored")
        elif not _fits(known[name], value):
            found.append(f"{name} should be {_WORDS[known[name]]}")
    return found


_WORDS = {
    "number": "a whole number",
    "text": "text",
    "flag": "true or false",
    "chat": "a chat's number or @name",
    "object": "a JSON object",
    "array": "a JSON array",
    "file": "a file, a file_id or an address",
}


def _fits(kind: str, value: Any) -> bool:
    if value is None or value == "":
        return True
    match kind:
        case "number":
            return not isinstance(value, bool) and _is_whole(value)
        case "flag":
            return isinstance(value, bool) or str(value).lower() in {"true", "false", "1", "0", "yes", "no"}
        case "chat":
            return not isinstance(value, bool) and (_is_whole(value) or str(value).startswith("@"))
        case "object":
            return isinstance(_structure(value), dict)
        case "array":
            return isinstance(_structure(value), list)
        case "file":
            return isinstance(value, str | tuple)
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    try:
        return str(int(str(value))) == str(value).lstrip("+")
    except ValueError:
        return False


def _structure(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
