"""The pages can be read: text stands out (WCAG AA, 4.5 to 1), and so does the ring of what has the focus (3 to 1)."""

import re
from pathlib import Path

import pytest

import sandbox.page

COLOURS = Path(sandbox.page.__file__).parent / "page" / "colours.css"
PAIRS = [
    *((text, ground) for text in ("ink", "faint", "accent", "bad", "good", "warn") for ground in ("card", "ground")),
    *(("ink", ground) for ground in ("key", "key-hover", "mine", "theirs", "wall")),
    *((f"{tone}", f"{tone}-soft") for tone in ("good", "warn", "bad")),
    ("faint", "key"),
    ("mine-faint", "mine"),
    ("faint", "theirs"),
    ("accent", "theirs"),
    ("accent", "mine"),
    ("on-accent", "accent"),
]  # fmt: skip


def _schemes() -> dict[str, dict[str, str]]:
    light, _, dark = COLOURS.read_text(encoding="utf-8").partition("prefers-color-scheme: dark")
    found = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part)) for part in (light, dark)]
    return {"light": found[0], "dark": found[0] | found[1]}


def _luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(scheme: str, *pair: str) -> float:
    colours = _schemes()[scheme]
    dark, bright = sorted(_luminance(colours[one]) for one in pair)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_stands_out(scheme: str, text: str, ground: str) -> None:
    assert _contrast(scheme, text, ground) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["card", "ground", "key", "wall", "mine", "theirs"])
def test_the_ring_of_the_focus_stands_out(scheme: str, ground: str) -> None:
    assert ":focus-visible { outline: 2px solid var(--accent);" in COLOURS.read_text(encoding="utf-8")
    assert _contrast(scheme, "accent", ground) >= 3
