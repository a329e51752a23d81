"""The pure reader under hypothesis: whatever comes, it reads or refuses in words, and trusts only what was signed."""

import base64
import binascii
import hmac
import json
import re
import time
from collections.abc import Iterator
from random import Random
from urllib.parse import parse_qsl

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from services.errors import ShopError
from services.postbacks import LATEST_EXPIRY_SECONDS, LEEWAY_SECONDS, Postback, read_postback
from tests.fuzz.bodies import FAMILY, Sent, bodies, family
from tests.fuzz.tally import Tally
from tests.webhook_server.conftest import SECRET

INVOICES = ("ILRAJE1Q", "XXXXXXXX")
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
REFUSALS = {400: "malformed", 401: "untrusted", 413: "too large", 415: "unsupported"}

quietly = settings(
    database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


def fuzz_reader(wanted: int, seeded: int) -> Tally:
    """Give the reader as many bodies as wanted."""
    tally = Tally("read_postback")
    round_ = 0
    while tally.tried < wanted:

        @seed(seeded + round_)
        @settings(quietly, max_examples=min(-(-(wanted - tally.tried) // FAMILY), 10_000))
        @given(bodies(INVOICES), st.integers(0, 2**32))
        def one(sent: Sent, chance: int) -> None:
            for body, content_type in family(sent, Random(chance)):
                _read(tally, body, content_type)

        one()
        round_ += 1
    return tally


def _read(tally: Tally, body: bytes, content_type: str) -> None:
    try:
        postback = read_postback(body, content_type, SECRET)
    except ShopError as refusal:
        tally.count(REFUSALS.get(refusal.status, refusal.status))
        if refusal.status not in REFUSALS or SECRET in str(refusal) or len(str(refusal)) > 200:
            tally.find(f"refused as {refusal.status} {refusal} for {body[:300]!r}")
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        tally.count("broke")
        tally.find(f"{type(error).__name__} {error} for {body[:500]!r} as {content_type!r}")
    else:
        tally.count("expired" if postback.expired else "trusted")
        if wrong := _what_is_wrong(postback, body):
            tally.find(f"{wrong} for {body[:500]!r} as {content_type!r}")


def _what_is_wrong(postback: Postback, body: bytes) -> str:
    """Judge a postback that was taken, without the reader's own means."""
    token = _token_of(body)
    head, _, signature = token.rpartition(".")
    try:
        claims = json.loads(_decoded(head.partition(".")[2]))
        given = _decoded(signature)
    except ValueError:
        return "a token that is none was taken"
    if not hmac.compare_digest(hmac.new(SECRET.encode(), head.encode(), "sha256").digest(), given):
        return "a forged token was taken"
    if float(claims["exp"]) > time.time() + LATEST_EXPIRY_SECONDS + LEEWAY_SECONDS:
        return "a token without a near end was taken"
    if not postback.expired and float(claims["exp"]) < time.time() - LEEWAY_SECONDS - 5:
        return "an expired token was trusted"
    if not re.fullmatch(r"[A-Z0-9-]{4,40}", postback.invoice_uuid):
        return f"{postback.invoice_uuid!r} is no invoice"
    try:
        kept = json.dumps(postback.body, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return "a number that is none was taken"
    if any(UNSTORABLE.search(text) for text in _texts(postback.body)):
        return "a body that PostgreSQL does not store was taken"
    if token in kept:
        return "the token was kept"
    if len(postback.status_word) > 64:
        return "a status without end was kept"
    return ""


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for name, inner in value.items():
                yield str(name)
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)


def _token_of(body: bytes) -> str:
    text = body.decode()
    try:
        token = json.loads(text)["token"]
    except ValueError:
        token = dict(parse_qsl(text, keep_blank_values=True))["token"]
    quoted = re.fullmatch(r"""b(['"])(.*)\1""", token)
    return str(quoted[2] if quoted else token)


def _decoded(segment: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error as error:
        raise ValueError(segment) from error
