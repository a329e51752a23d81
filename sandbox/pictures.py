"""How large a picture is, by its first bytes: PNG, JPEG, GIF and WebP, which Telegram takes as photos."""

import struct

TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def type_of_picture(content: bytes) -> str | None:
    """Tell the type by the content, whatever its name says; None for what is no picture."""
    return next((kind for magic, kind in TYPES.items() if content.startswith(magic)), None)


def size_of_picture(content: bytes) -> tuple[int, int] | None:
    """Read width and height in pixels; None for what is no picture or has no size."""
    try:
        match type_of_picture(content):
            case "image/png":
                size = struct.unpack(">II", content[16:24])
            case "image/gif":
                size = struct.unpack("<HH", content[6:10])
            case "image/jpeg":
                size = _size_of_jpeg(content)
            case "image/webp":
                size = _size_of_webp(content)
            case _:
                return None
    except (struct.error, IndexError):
        return None
    width, height = size
    return (width, height) if width > 0 and height > 0 else None


def _size_of_jpeg(content: bytes) -> tuple[int, int]:
    at = 2
    while True:
        marker, length = struct.unpack(">xBH", content[at : at + 4])
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            return width, height
        at += 2 + length


def _size_of_webp(content: bytes) -> tuple[int, int]:
    match content[12:16]:
        case b"VP8X":
            width = int.from_bytes(content[24:27], "little") + 1
            return width, int.from_bytes(content[27:30], "little") + 1
        case b"VP8L":
            bits = int.from_bytes(content[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", content[26:30])
    return width & 0x3FFF, height & 0x3FFF
