"""Telegram's rules for what a bot may send: lengths, HTML, keyboards. Refuses with the Bot API's own words.

The HTML reader follows the public sources of TDLib: the same tags, the same texts, offsets in bytes.
"""

import ipaddress
import json
import re
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]
TEXT_LIMIT = 4096
CAPTION_LIMIT = 1024
CALLBACK_DATA_LIMIT = 64
TAGS = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
    "code": "code",
    "pre": "pre",
    "a": "text_link",
    "blockquote": "blockquote",
    "tg-emoji": "custom_emoji",
}
NAMED_ENTITIES = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
BUTTON_ACTIONS = (
    "url",
    "callback_data",
    "web_app",
    "login_url",
    "switch_inline_query",
    "switch_inline_query_current_chat",
    "switch_inline_query_chosen_chat",
    "copy_text",
    "callback_game",
    "pay",
)


class Refusal(Exception):
    """An answer with ok = false."""

    def __init__(self, code: int, description: str, retry_after: int | None = None) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.retry_after = retry_after

    def as_json(self) -> Json:
        answer: Json = {"ok": False, "error_code": self.code, "description": self.description}
        if self.retry_after is not None:
            answer["parameters"] = {"retry_after": self.retry_after}
        return answer


def bad_request(text: str) -> Refusal:
    return Refusal(400, f"Bad Request: {text}")


def utf16_length(text: str) -> int:
    """Length in UTF-16 code units, in which Telegram counts entity offsets."""
    return len(text.encode("utf-16-le")) // 2


def parse_html(source: str) -> tuple[str, list[Json]]:
    """Read Telegram's HTML into text and entities; raises `Refusal` as the server does."""
    return _HtmlReader(source).read()


class _HtmlReader:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._text: list[str] = []
        self._length = 0
        self._open: list[tuple[str, Json, int, int]] = []
        self._entities: list[Json] = []

    def read(self) -> tuple[str, list[Json]]:
        while self._at < len(self._source):
            char = self._source[self._at]
            if char == "<":
                if self._peek(1) == "/":
                    self._end_tag()
                else:
                    self._start_tag()
            else:
                self._put(self._entity() if char == "&" else self._take())
        if self._open:
            raise self._error(f'Can\'t find end tag corresponding to start tag "{self._open[-1][0]}"')
        return "".join(self._text), self._entities

    def _error(self, text: str) -> Refusal:
        return bad_request(f"can't parse entities: {text}")

    def _bytes(self, position: int) -> int:
        return len(self._source[:position].encode())

    def _peek(self, ahead: int = 0) -> str:
        position = self._at + ahead
        return self._source[position] if position < len(self._source) else ""

    def _take(self) -> str:
        char = self._source[self._at]
        self._at += 1
        return char

    def _put(self, char: str) -> None:
        self._text.append(char)
        self._length += 2 if ord(char) > 0xFFFF else 1

    def _entity(self) -> str:
        match = re.compile(r"&(?:#x([0-9a-fA-F]+)|#([0-9]+)|([a-z]+));?").match(self._source, self._at)
        if match is None:
            return self._take()
        hexadecimal, decimal, name = match.groups()
        if name:
            char = NAMED_ENTITIES.get(name, "")
        else:
            code = int(hexadecimal, 16) if hexadecimal else int(decimal)
            char = chr(code) if 0 < code < 0x10FFFF and not 0xD800 <= code < 0xE000 else ""
        if not char:
            return self._take()
        self._at = match.end()
        return char

    def _skip_spaces(self) -> None:
        while self._peek().isspace():
            self._at += 1

    def _word(self, stops: str) -> str:
        begin = self._at
        while self._peek() and not self._peek().isspace() and self._peek() not in stops:
            self._at += 1
        return self._source[begin : self._at]

    def _start_tag(self) -> None:
        begin = self._at
        where = f"at byte offset {self._bytes(begin)}"
        self._at += 1
        tag = self._word(">").lower()
        if not self._peek():
            raise self._error(f"Unclosed start tag {where}")
        if tag not in TAGS:
            raise self._error(f'Unsupported start tag "{tag}" {where}')
        attributes: dict[str, str] = {}
        while True:
            self._skip_spaces()
            if self._peek() == ">":
                break
            if not self._peek():
                raise self._error(f'Unclosed start tag "{tag}" {where}')
            name = self._word("=>").lower()
            if not name:
                raise self._error(f'Empty attribute name in the tag "{tag}" {where}')
            self._skip_spaces()
            if self._peek() != "=":
                if (tag, name) == ("blockquote", "expandable"):
                    attributes[name] = ""
                    continue
                raise self._error(
                    f'Expected equal sign in declaration of an attribute of the tag "{tag}" {where}'
                )
            self._at += 1
            self._skip_spaces()
            attributes[name] = self._attribute_value(tag, where)
        self._at += 1
        if tag == "span" and attributes.get("class") != "tg-spoiler":
            raise self._error(f'Tag "span" must have class "tg-spoiler" {where}')
        entity: Json = {"type": TAGS[tag]}
        if tag == "a":
            entity["url"] = attributes.get("href", "")
        elif tag == "tg-emoji":
            entity["custom_emoji_id"] = attributes.get("emoji-id", "")
        elif tag == "blockquote" and "expandable" in attributes:
            entity["type"] = "expandable_blockquote"
        elif tag == "code" and self._open and self._open[-1][0] == "pre":
            language = attributes.get("class", "")
            if language.startswith("language-"):
                self._open[-1][1]["language"] = language.removeprefix("language-")
            entity["type"] = ""
        self._open.append((tag, entity, self._length, len(self._text)))

    def _attribute_value(self, tag: str, where: str) -> str:
        quote = self._peek()
        if not quote:
            raise self._error(f'Unclosed start tag "{tag}" {where}')
        if quote not in "'\"":
            begin = self._at
            while self._peek() and (self._peek().isalnum() or self._peek() in ".-"):
                self._at += 1
            if not (self._peek().isspace() or self._peek() == ">"):
                raise self._error(f"Unexpected end of name token at byte offset {self._bytes(begin)}")
            return self._source[begin : self._at].lower()
        self._at += 1
        value: list[str] = []
        while self._peek() and self._peek() != quote:
            value.append(self._entity() if self._peek() == "&" else self._take())
        if not self._peek():
            raise self._error(f"Unclosed start tag {where}")
        self._at += 1
        return "".join(value)

    def _end_tag(self) -> None:
        begin = self._at
        where = f"at byte offset {self._bytes(begin)}"
        if not self._open:
            raise self._error(f"Unexpected end tag {where}")
        self._at += 2
        found = self._word(">")
        self._skip_spaces()
        if self._peek() != ">":
            raise self._error(f"Unclosed end tag {where}")
        self._at += 1
        tag, entity, offset, text_at = self._open.pop()
        if found and found.lower() != tag:
            raise self._error(f'Unmatched end tag {where}, expected "</{tag}>", found "</{found}>"')
        if not entity["type"] or self._length == offset:
            return
        if entity["type"] == "text_link":
            entity["url"] = entity["url"] or "".join(self._text[text_at:])
            if not _is_web_or_telegram_link(entity["url"]):
                return
        entity |= {"offset": offset, "length": self._length - offset}
        self._entities.append(entity)


def _is_web_or_telegram_link(url: str) -> bool:
    try:
        parts = urlsplit(url if "://" in url or url.startswith("mailto:") else f"http://{url}")
    except ValueError:
        return False
    return parts.scheme in {"http", "https", "tg", "ton", "mailto"} and bool(parts.netloc or parts.path)


def formatted(
    text: str, parse_mode: str, entities: list[Json], *, limit: int, what: str
) -> tuple[str, list[Json]]:
    """Check and normalise a text or caption; raises `Refusal` when Telegram would not take it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise bad_request("strings must be encoded in UTF-8") from None
    mode = parse_mode.lower()
    if mode == "html":
        text, entities = parse_html(text)
    elif mode in {"markdown", "markdownv2"}:
        raise bad_request("the sandbox reads parse_mode HTML only")
    elif mode not in {"", "none"}:
        raise bad_request("unsupported parse_mode")
    text = text.replace("\r", "").replace("\x00", " ")
    text, entities = _trimmed(text, entities)
    if len(text) > limit:
        raise bad_request(f"{what} is too long")
    found = [*entities, *_found_in(text, entities)]
    return text, sorted(found, key=lambda one: (one["offset"], -one["length"]))


def _trimmed(text: str, entities: list[Json]) -> tuple[str, list[Json]]:
    cut = utf16_length(text[: len(text) - len(text.lstrip())])
    text = text.strip()
    length = utf16_length(text)
    kept = []
    for one in entities:
        begin = max(0, one["offset"] - cut)
        end = min(length, one["offset"] - cut + one["length"])
        if end > begin:
            kept.append({**one, "offset": begin, "length": end - begin})
    return text, kept


_FOUND = re.compile(
    r"(?P<url>https?://[^\s<>\"]+[^\s<>\".,;:!?)])"
    r"|(?<![\w/])(?P<bot_command>/[A-Za-z0-9_]{1,64}(?:@[A-Za-z0-9_]{3,32})?)(?![\w/])"
    r"|(?<![\w@/])(?P<mention>@[A-Za-z][A-Za-z0-9_]{3,31})(?!\w)"
)


def _found_in(text: str, entities: list[Json]) -> list[Json]:
    closed = [
        (one["offset"], one["offset"] + one["length"])
        for one in entities
        if one["type"] in {"code", "pre", "text_link", "url", "bot_command", "mention"}
    ]
    found = []
    for match in _FOUND.finditer(text):
        begin = utf16_length(text[: match.start()])
        length = utf16_length(match.group())
        if all(begin + length <= left or begin >= right for left, right in closed):
            found.append({"type": match.lastgroup, "offset": begin, "length": length})
    return found


def text_entities(text: str) -> list[Json]:
    """Find the commands, links and names that Telegram marks in what a person writes."""
    return _found_in(text, [])


def check_markup(markup: Any) -> Json | None:
    """Check reply_markup and return the inline keyboard that the message will carry, if it has one."""
    if markup is None or markup == "":
        return None
    if isinstance(markup, str):
        try:
            markup = json.loads(markup)
        except ValueError:
            raise bad_request("can't parse reply keyboard markup JSON object") from None
    if not isinstance(markup, dict):
        raise bad_request("object expected as reply markup")
    if "inline_keyboard" not in markup:
        return None
    rows = markup["inline_keyboard"]
    if not isinstance(rows, list):
        raise bad_request('field "inline_keyboard" of the InlineKeyboardMarkup must be of type Array')
    checked = []
    for row in rows:
        if not isinstance(row, list):
            raise bad_request(
                'field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays'
            )
        if row:
            checked.append([_checked_button(button) for button in row])
    return {"inline_keyboard": checked} if checked else None


def _checked_button(button: Any) -> Json:
    if not isinstance(button, dict):
        raise bad_request("can't parse inline keyboard button: InlineKeyboardButton must be an Object")
    if not isinstance(button.get("text"), str):
        raise bad_request("can't parse inline keyboard button: Can't find field \"text\"")
    if not button["text"].strip():
        raise bad_request("inline keyboard button text must be non-empty")
    actions = [name for name in BUTTON_ACTIONS if button.get(name) is not None]
    if not actions:
        raise bad_request(
            "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard"
        )
    if "callback_data" in actions:
        size = len(str(button["callback_data"]).encode())
        if not 1 <= size <= CALLBACK_DATA_LIMIT:
            raise bad_request("BUTTON_DATA_INVALID")
    if "url" in actions:
        check_button_url(str(button["url"]))
    if "copy_text" in actions:
        copied = button["copy_text"].get("text", "") if isinstance(button["copy_text"], dict) else ""
        if not 1 <= len(copied) <= 256:
            raise bad_request("BUTTON_COPY_TEXT_INVALID")
    return {key: value for key, value in button.items() if value is not None}


def check_button_url(url: str) -> None:
    """Refuse addresses that a url button cannot carry; loopback is taken here, Telegram refuses `localhost`."""
    trouble = f"inline keyboard button URL '{url}' is invalid: "
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise bad_request(f"{trouble}Wrong HTTP URL") from None
    if parts.scheme in {"tg", "ton"}:
        return
    if parts.scheme not in {"http", "https"}:
        raise bad_request(f"{trouble}Unsupported URL protocol")
    if not is_loopback(host) and ("." not in host.strip(".") or re.search(r"[\s\"<>]", url)):
        raise bad_request(f"{trouble}Wrong HTTP URL")


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
