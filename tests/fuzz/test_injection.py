"""Names, presses and links that mean to be read as SQL, HTML, a formula, a log line or a terminal's command."""

import json
from pathlib import Path

import pytest

from sandbox.world import Person
from tests.console import Console
from tests.e2e.stage import ADMIN, Customer, Stage, until
from tests.shop import change

pytestmark = pytest.mark.timeout(300)  # a busy machine takes its time to start processes

NAMES = {
    1: ("Robert'); DROP TABLE users;--", "x'; DELETE FROM payments; --"),
    2: ("<b>Bold</b> &amp; <a href='http://x'>link</a>", "<script>"),
    3: ('=HYPERLINK("http://x"; "y")', "@SUM(1+1)"),
    4: ('Ann\n{"event": "forged", "level": "info"}\r\x1b[2J\x1b]0;evil\x07', "a\nb"),
    5: ("{ $name } {{7*7}} %s ${x} \u202egnp.exe", "{x}"),
}
FORGED = [
    "tier:pro'; DROP TABLE payments;--",
    "tier:<b>pro",
    'tier:x\n{"event": "forged"}',
    "period:pro:=1+1",
    "pay:pro:month'--",
    "check:%s",
    "language:../../x",
    "history:o:' OR 1=1",
]


async def test_a_strangers_words_stay_words(own: Stage, tmp_path: Path) -> None:
    admin = own.person(ADMIN, name="Merchant")
    admin.say("/start")
    tables = await own.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    bot = await own.open()
    strangers = []
    for number, (name, username) in NAMES.items():
        own.world.add_person(Person(number, name, "en", username))
        strangers.append(Customer(own, number))

    for stranger in strangers:
        stranger.say("/start tier_'; DROP TABLE users; --<b>")
        greeting = await stranger.read("Which one")
        _is_plain(str(greeting.body["text"]), NAMES[stranger.id][0], greeting.body.get("entities", []))
        for data in FORGED:
            await stranger.toast(stranger.forge(data))
    buyer = strangers[1]
    invoice = await buyer.order()
    await buyer.pay(invoice)
    await buyer.read("subscription is active until")
    await admin.read("💰")

    kept = {row["telegram_id"]: row for row in await own.rows("SELECT * FROM users WHERE telegram_id < 10")}
    for number, (name, username) in NAMES.items():
        assert (kept[number]["first_name"], kept[number]["username"]) == (name, username)
    assert tables == await own.rows(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    )
    assert len(await own.rows("SELECT id FROM payments")) == 1
    await until(lambda: len(bot.lines('"refused"')) >= len(NAMES), what="the refusals in the log")
    for line in bot.log:
        assert json.loads(line)["event"] != "forged"
    assert "\x1b" not in "".join(bot.log)

    console = Console(tmp_path, own.url)
    payment = await buyer.payment(invoice)
    for words in (["payment", "show", str(payment["id"])], ["ledger", "show", "2"], ["events", "list"]):
        ran = await console(*words)
        assert ran.code == 0
        assert all(letter.isprintable() or letter == "\n" for letter in ran.out), words


def _is_plain(text: str, name: str, entities: list[dict[str, object]]) -> None:
    """See that a name stands in a text as it is, and that nothing in it was taken for markup."""
    shown = name.strip().replace("\r", "")  # which Telegram takes out of a text
    assert shown in text, (shown, text)
    first = len(text[: text.index(shown)].encode("utf-16-le")) // 2
    last = first + len(shown.encode("utf-16-le")) // 2
    marked = {"bold", "italic", "code", "pre", "text_link", "spoiler"}
    for one in entities:
        if one["type"] in marked:
            assert not first <= int(str(one["offset"])) < last, (one, text)


async def test_what_an_operator_is_shown_of_a_stranger_stays_on_its_line(own: Stage, tmp_path: Path) -> None:
    evil = "x\n\x1b[2J=cmd|' /C calc'!A0"
    await change(
        own.db,
        "INSERT INTO webhook_events (invoice_uuid, body, outcome)"
        " VALUES ('STRANGER', jsonb_build_object('status', CAST(:evil AS text)), 'unknown')",
        evil=evil,
    )
    console = Console(tmp_path, own.url)
    for_people = await console("events", "list")
    assert len(for_people.out.strip().splitlines()) == 2
    assert "\x1b" not in for_people.out
    for_programs = await console("events", "list", "--json")
    assert "\x1b" not in for_programs.out
    assert for_programs.json[0]["body"]["status"] == evil
