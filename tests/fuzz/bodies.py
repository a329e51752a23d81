"""Bodies of postbacks: from pure noise to all but good ones, among them forged, expired and well signed."""

import base64
import json
import re
from collections.abc import Sequence
from random import Random
from typing import Any
from urllib.parse import urlencode

from hypothesis import strategies as st

from tests.webhook_server.conftest import SECRET, sign

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
Sent = tuple[bytes, str]

# What stands where something else belongs; both doors get it.
ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    2**31,
    2**53,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    10**40,
    "",
    " ",
    "0",
    "7",
    "\0",
    "a\0b",
    "\ud800",
    "\u202eevil",
    "x" * 5_000,
    "🏴" * 200,
    "line\nline\r\x1b[31m",
    "'; DROP TABLE payments; --",
    "<b>&lt;script>",
    "=1+1",
    "/start tier_pro",
    [],
    [[]],
    [None, 1, "x"],
    {},
    {"id": 1},
    {"": {"": {}}},
]

content_types = st.sampled_from(
    [JSON] * 6
    + [FORM] * 4
    + [
        "",
        "application/json; charset=utf-8",
        "application/json;charset=utf-16",
        "text/plain",
        "APPLICATION/JSON",
    ]
) | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)

words = st.sampled_from(
    [
        "success",
        "'; DROP TABLE payments; --",
        "<script>alert(1)</script>",
        '=HYPERLINK("http://x")',
        "\0",
        "\ud800",
        "\u202e",
        "🏴" * 50,
        "x" * 5_000,
        "INV-",
        "{{7*7}}",
        "%s%n",
        "../../etc/passwd",
        "NaN",
        "null",
    ]
) | st.text(max_size=40)
numbers = (
    st.integers()
    | st.floats()
    | st.sampled_from([0, -1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**63, 10**65, 1e300, 5e-324, True])
)
anything = st.recursive(
    st.none() | numbers | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.just("token"), inner, max_size=4),
    max_leaves=12,
)
_deep = st.integers(15, 2_000).map(lambda depth: "[" * depth + "]" * depth)
_absurd = st.sampled_from(
    ["NaN", "-Infinity", "1e400", "9" * 5_000, "0." + "1" * 500, "1e-9999999999999", "-0", "01"]
)


def _segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


_headers: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"alg": "HS256", "typ": "JWT"},
        {"alg": "none"},
        {"alg": "HS512"},
        {"alg": "RS256"},
        {"alg": ["HS256"]},
        {"alg": "HS256", "b64": False},
        {"alg": "HS256", "crit": ["exp"]},
        {"alg": "HS256", "kid": 7},
        {"alg": "HS256", "jku": "http://127.0.0.1:9/"},
        {},
    ]
)
_expiries = st.sampled_from([300, 0, -30, -100, -86_400 * 30, 599, 10_000]) | st.integers(-1_000, 1_000)


@st.composite
def tokens(draw: st.DrawFn, invoices: Sequence[str]) -> object:
    """Tokens: good ones for this invoice or another, odd ones under the right secret, forged and broken ones."""
    invoice = draw(st.sampled_from([*invoices, "STRANGER", "ABCDEFGH"]) | anything)
    kind = draw(st.integers(0, 9))
    if kind <= 2:
        return sign(invoice, expires_in=draw(_expiries))
    if kind == 3:
        return sign(invoice, header=draw(_headers), digest=draw(st.sampled_from(["sha256", "sha512"])))
    if kind == 4:
        return sign(invoice, secret=draw(st.sampled_from(["", "guess", SECRET[:-1], SECRET + "x"])) or "-")
    if kind == 5:
        claims: dict[str, Any] = {draw(st.sampled_from(["exp", "nbf", "iat", "aud"])): draw(anything)}
        return sign(invoice, **claims)
    if kind == 6:
        good = sign(invoice)
        return (
            "b" + draw(st.sampled_from(["'", '"', "''", ""])) + good + draw(st.sampled_from(["'", '"', ""]))
        )
    if kind == 7:
        parts = sign(invoice).split(".")
        return ".".join(draw(st.permutations([*parts, draw(st.text(max_size=5))])))
    if kind == 8:
        place = draw(st.integers(0, 150))
        good = sign(invoice)
        return good[:place] + draw(words) + good[place + draw(st.integers(0, 3)) :]
    return draw(anything)


@st.composite
def _fields(draw: st.DrawFn, invoices: Sequence[str]) -> dict[str, Any]:
    invoice = draw(st.sampled_from([*invoices, *(f"INV-{one}" for one in invoices), "STRANGER"]))
    sent: dict[str, Any] = {
        "status": draw(words),
        "invoice_id": invoice,
        "order_id": draw(words | st.none()),
        "token": sign(invoice) if draw(st.booleans()) else draw(tokens(invoices)),
    }
    sent |= draw(
        st.dictionaries(
            st.sampled_from([*sent, "amount_crypto", "currency", "x"]) | words, anything, max_size=2
        )
    )
    if draw(st.integers(0, 3)) == 0:
        sent["invoice_info"] = draw(
            anything
            | st.fixed_dictionaries(
                {"uuid": st.sampled_from([f"INV-{invoice}", "INV-OTHERONE"]), "status": words}
            )
        )
    for name in draw(st.lists(st.sampled_from(sorted(sent)), max_size=1)):
        del sent[name]
    return sent


def _as_json(draw: st.DrawFn, sent: dict[str, Any]) -> bytes:
    text = json.dumps(sent, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 8)) == 0:
        more = draw(_deep | _absurd | st.just('"\\ud800"') | st.just('"\\u0000"'))
        name = draw(st.sampled_from(["x", "status", "token"]))
        text = text[:-1] + f'{", " if sent else ""}"{name}": {more}}}'
    return text.encode("utf-8", draw(st.sampled_from(["surrogatepass", "replace"])))


def _as_form(draw: st.DrawFn, sent: dict[str, Any]) -> bytes:
    pairs = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in sent.items()]
    if pairs and draw(st.integers(0, 7)) == 0:
        pairs.append(pairs[0])
    return urlencode(pairs, errors="surrogatepass").encode()


_TOKEN = re.compile(rb"eyJ[\w.-]{20,}")


def damaged(chance: Random, body: bytes) -> bytes:
    """Damage a body in one to three places, or its token alone."""
    harmed = bytearray(body)
    token = _TOKEN.search(body)
    for _ in range(chance.randint(1, 3)):
        first, last = token.span() if token and chance.random() < 0.5 else (0, max(len(harmed), 1))
        place = min(chance.randrange(first, last), max(len(harmed) - 1, 0))
        match chance.randrange(6):
            case 0:
                harmed[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                harmed[place : place + 1] = bytes([chance.choice(b'"{}[],:\\.-_=&%+0aA')])
            case 2:
                del harmed[place : place + chance.randint(1, 20)]
            case 3:
                harmed[place:place] = harmed[place : place + chance.randint(1, 60)]
            case 4:
                harmed[place:place] = chance.choice(_SPLINTERS)
            case _:
                if chance.random() < 0.2:
                    del harmed[place:]
    return bytes(harmed)


_SPLINTERS = [
    b"\0",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\xc0\x80",
    b"NaN",
    b"1e400",
    b"[" * 500,
    b"9" * 4_400,
    b'"token":',
    b"&token=",
    b"%00",
    b"%ud8",
    b"b'",
    b"INV-",
    b" ",
    b"\xef\xbb\xbf",
]


@st.composite
def bodies(draw: st.DrawFn, invoices: Sequence[str]) -> Sent:
    """A body and its content type."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=500)), draw(content_types)
    if kind == 1:
        return json.dumps(draw(anything)).encode(), draw(content_types)
    sent = draw(_fields(invoices))
    form = kind in {2, 3, 4}
    body = _as_form(draw, sent) if form else _as_json(draw, sent)
    given = draw(content_types) if draw(st.integers(0, 5)) == 0 else FORM if form else JSON
    return body, given


FAMILY = 16


def family(sent: Sent, chance: Random) -> list[Sent]:
    """A body as it is, and fifteen others: damaged on the road, or with another value under the same token."""
    body, content_type = sent
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    found = [sent]
    while len(found) < FAMILY:
        if isinstance(fields, dict) and fields and chance.random() < 0.5:
            found.append((_otherwise(chance, fields), content_type))
        else:
            found.append((damaged(chance, body), content_type))
    return found


def _otherwise(chance: Random, fields: dict[str, Any]) -> bytes:
    name = chance.choice([*fields, "extra"])
    changed = (
        fields | {name: chance.choice(ODD)} if chance.random() < 0.9 else {**fields, **fields, "Token": ODD}
    )
    return json.dumps(changed, ensure_ascii=chance.random() < 0.5).encode("utf-8", "replace")
