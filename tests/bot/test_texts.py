"""The language files: the same in both languages, all of them used, and fit for Telegram whatever is put in."""

import ast
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from fluent.syntax import FluentParser, visitor
from fluent.syntax import ast as ftl

from bot import menu
from bot.texts import FOLDER, LANGUAGES, Say, Texts, without_markup
from sandbox.telegram_rules import TEXT_LIMIT, formatted
from services import errors
from services.notifications import Alert
from services.payments import Status
from services.reports import SPANS
from tests.conftest import ROOT

HOSTILE = '<b>&"</i> Ёж & <script>'
TEXTS = Texts(ZoneInfo("UTC"))
# Keys that are put together where they are said.
FAMILIES = {
    *(f"state-{status.value}" for status in Status),
    *(f"command-{name}" for name in (*menu.COMMANDS, *menu.FOR_ADMINS)),
    *(f"revenue-{span}" for span in SPANS),
}
ERRORS = {
    error.text_key
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, errors.ShopError)
}


class _Variables(visitor.Visitor):
    """Collects the variables of a text, and those that choose between plural forms."""

    def __init__(self) -> None:
        self.all: set[str] = set()
        self.counts: set[str] = set()

    def visit_VariableReference(self, node: ftl.VariableReference) -> None:  # noqa: N802 - fluent's naming
        self.all.add(node.id.name)

    def visit_SelectExpression(self, node: ftl.SelectExpression) -> None:  # noqa: N802
        if isinstance(node.selector, ftl.VariableReference):
            self.counts.add(node.selector.id.name)
        self.generic_visit(node)


def read(language: str) -> dict[str, _Variables]:
    """Every text of a language with its variables; fails for a line that Fluent cannot read."""
    found: dict[str, _Variables] = {}
    for entry in FluentParser().parse((FOLDER / f"{language}.ftl").read_text(encoding="utf-8")).body:
        assert not isinstance(entry, ftl.Junk), entry.content
        if isinstance(entry, ftl.Message):
            assert entry.id.name not in found, f"{entry.id.name} is there twice"
            found[entry.id.name] = _Variables()
            found[entry.id.name].visit(entry.value)
    return found


ENGLISH = read("en")


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / "bot").rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def says(tree: ast.AST) -> Iterator[ast.Call]:
    """Find where a text is said: `say(…)`, `chosen(…)`, `….plain(…)`, `speak(language)(…)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            match node.func:
                case ast.Name("say" | "chosen") | ast.Attribute(attr="plain"):
                    yield node
                case ast.Call(ast.Attribute(attr="speak")):
                    yield node


def literals(node: ast.AST) -> set[str]:
    return {
        one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)
    }


def keys_of(call: ast.Call) -> set[str]:
    match call.args[0]:
        case ast.Constant(str(key)):
            return {key}
        case ast.IfExp(body=one, orelse=other):
            return {key for key in (literals(one) | literals(other)) if not key.endswith("-")}
        case _:
            return set()


def example(key: str, *, count: int = 5) -> dict[str, str | int]:
    """Arguments that try to break out of the markup."""
    variables = ENGLISH[key]
    return {name.replace("-", "_"): count if name in variables.counts else HOSTILE for name in variables.all}


def test_every_language_has_the_same_texts_with_the_same_variables() -> None:
    for language in LANGUAGES:
        other = read(language)
        assert {key: one.all for key, one in other.items()} == {key: one.all for key, one in ENGLISH.items()}


def test_every_text_that_is_said_exists() -> None:
    said = {key: path.name for path, tree in sources() for call in says(tree) for key in keys_of(call)}
    assert len(said) > 100
    missing = {key: where for key, where in said.items() if key not in ENGLISH}
    assert not missing
    assert ENGLISH.keys() >= FAMILIES | ERRORS
    assert {f"alert-{alert.value}" for alert in Alert} <= ENGLISH.keys()


def test_every_text_that_exists_is_said() -> None:
    mentioned = set().union(*(literals(tree) for _, tree in sources()))
    assert ENGLISH.keys() - mentioned - FAMILIES - ERRORS == set()


def test_whoever_says_a_text_gives_it_all_its_variables() -> None:
    short = []
    for path, tree in sources():
        for call in says(tree):
            names = [one.arg for one in call.keywords]
            if None in names:
                continue
            given = {name.replace("_", "-") for name in names if name}
            short += [
                f"{path.name}:{call.lineno} {key} lacks {lacking}"
                for key in keys_of(call)
                if (lacking := ENGLISH[key].all - given)
            ]
    assert not short


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("key", sorted(ENGLISH))
def test_a_text_survives_whatever_is_put_in(language: str, key: str) -> None:
    say = TEXTS.speak(language)
    for count in (1, 2, 5, 21):
        arguments = example(key, count=count)
        text, _ = formatted(say(key, **arguments), "HTML", [], limit=TEXT_LIMIT, what="message")
        assert text.strip()
        if HOSTILE in arguments.values():
            assert HOSTILE in text
            assert HOSTILE in say.plain(key, **arguments)


def toasts() -> set[str]:
    """Everything that a press is answered with: what handlers toast, and every refusal."""
    toasted = {
        key
        for _, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "toast"
        for call in says(node)
        for key in keys_of(call)
    }
    assert "toast-looking" in toasted
    return toasted | ERRORS | {"too-fast"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_toasts_fit_also_with_the_longest_title(language: str) -> None:
    say = TEXTS.speak(language)
    longest = {"tier": "Ж" * 64, "until": say.moment(datetime(2026, 11, 23, 12, 30, tzinfo=UTC))}
    for key in toasts():
        words = say.plain(key, **{name: longest[name] for name in example(key)})
        assert len(words) <= 200, f"{key}: {len(words)}"


@pytest.mark.parametrize(
    ("count", "days", "requests", "sales"),
    [
        (1, "1 день", "1 запрос в месяц", "1 продажа"),
        (2, "2 дня", "2 запроса в месяц", "2 продажи"),
        (5, "5 дней", "5 запросов в месяц", "5 продаж"),
        (11, "11 дней", "11 запросов в месяц", "11 продаж"),
        (21, "21 день", "21 запрос в месяц", "21 продажа"),
        (22, "22 дня", "22 запроса в месяц", "22 продажи"),
    ],
)
def test_russian_counts_as_russian_does(count: int, days: str, requests: str, sales: str) -> None:
    say = TEXTS.speak("ru")
    assert say.days(count) == days
    assert say("tier-quota", requests=count, requests_text=say.number(count)) == requests
    assert sales in say("revenue-total", span="", amount="", sales=count)


@pytest.mark.parametrize(("count", "days"), [(1, "1 day"), (2, "2 days"), (21, "21 days")])
def test_english_counts_as_english_does(count: int, days: str) -> None:
    assert TEXTS.speak("en").days(count) == days


@pytest.mark.parametrize("key", ["no-such-text", "receipt"])
def test_a_text_that_cannot_be_written_is_loud(key: str) -> None:
    with pytest.raises(LookupError, match=key):
        TEXTS.speak("en")(key)


def test_an_unknown_language_is_english() -> None:
    assert TEXTS.speak("xx").language == "en"


@pytest.mark.parametrize(
    ("language", "left", "words"),
    [
        ("en", timedelta(days=29, hours=23), "30 days"),
        ("en", timedelta(days=29, hours=1), "29 days"),
        ("en", timedelta(hours=30), "30 hours"),
        ("en", timedelta(seconds=20), "1 minute"),
        ("ru", timedelta(days=21), "21 день"),
        ("ru", timedelta(hours=5), "5 часов"),
    ],
)
def test_time_left_is_told_in_the_largest_sensible_unit(language: str, left: timedelta, words: str) -> None:
    assert TEXTS.speak(language).left(left) == words


def test_money_numbers_and_moments_are_written_as_people_of_the_language_do() -> None:
    english, russian = Say(Texts(ZoneInfo("Europe/Berlin")), "en"), TEXTS.speak("ru")
    when = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
    assert english.money(Decimal("950.40"), "USD") == "$950.40"
    assert english.money(Decimal("99"), "USD") == "$99"
    assert russian.money(Decimal("2870.40"), "USD") == "2\u00a0870,40\u00a0$"
    assert english.number(100_000) == "100,000"
    assert russian.number(1_000_000) == "1\u00a0000\u00a0000"
    assert english.moment(when) == "2 Jul 2026, 00:30 CEST"
    assert "2026" in russian.moment(when)
    assert "22:30 UTC" in russian.moment(when)
    assert english.date(when) == "2 Jul 2026"


def test_markup_is_taken_off_and_names_with_angle_brackets_stay() -> None:
    assert without_markup("<b>Pro &lt;b&gt; &amp; more</b>") == "Pro <b> & more"
