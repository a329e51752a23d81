"""The languages of the web pages: which one a visitor reads, and its words from `texts/`."""

import re
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from fluent.runtime import FluentBundle, FluentResource

from services.tiers import LANGUAGES

TEXTS: Final = Path(__file__).parent / "texts"
_QUALITY = re.compile(r"\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*", re.ASCII)


class Words:
    """The words of one language; called with a text's name it gives the text."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._bundle = FluentBundle([language], use_isolating=False)
        self._bundle.add_resource(FluentResource((TEXTS / f"{language}.ftl").read_text(encoding="utf-8")))

    def __call__(self, name: str, **values: Any) -> str:
        """Give a text; raises when it does not exist or a value is missing."""
        pattern = self._bundle.get_message(name).value
        if pattern is None:
            raise LookupError(name)
        text, errors = self._bundle.format_pattern(pattern, values)
        if errors:
            raise errors[0]
        return str(text)


def language_of(request: web.Request) -> str:
    """Choose a visitor's language: what `?lang=` asks for, else what the browser prefers, else English."""
    asked = request.query.get("lang", "")
    return asked if asked in LANGUAGES else preferred(request.headers.get("Accept-Language", ""))


def preferred(accept_language: str) -> str:
    """Read an Accept-Language header; the first of ours with the highest quality wins."""
    best, best_quality = "en", 0.0
    for wish in accept_language.split(","):
        tag, _, parameter = wish.partition(";")
        language = tag.strip().lower().partition("-")[0]
        given = _QUALITY.fullmatch(parameter)
        quality = float(given[1]) if given else float(not parameter)
        if language in LANGUAGES and quality > best_quality:
            best, best_quality = language, quality
    return best
