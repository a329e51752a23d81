"""The one door from a postback's bytes to a trusted object: `read_postback`, pure.

It refuses what is not strict JSON or a form, and whatever the project's secret did not sign minutes ago. Only
the invoice id and an expiry are signed, so a postback is a hint to ask and never a reason to grant.
"""

import json
import re
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import isfinite
from urllib.parse import parse_qsl

import jwt
from jwt.api_jws import PyJWS

from services.cryptocloud import read_invoice_id, read_order_id
from services.errors import MalformedPostback, PostbackTooLarge, UnsupportedPostback, UntrustedPostback

LARGEST_POSTBACK = 64 * 1024
LARGEST_TOKEN = 4 * 1024
DEEPEST_NESTING = 20
MOST_FIELDS = 100
LONGEST_NUMBER = 64
LATEST_EXPIRY_SECONDS = 600  # the provider documents five minutes
LEEWAY_SECONDS = 60
USUAL_ID_LENGTH = 8

# A PostgreSQL jsonb takes neither; a sender that means a postback writes neither.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# Some postbacks carry the token as Python prints bytes: b'eyJ…'.
_BYTES_LITERAL = re.compile(r"""b(['"])(.*)\1""")

_SIGNED = PyJWS()


@dataclass(frozen=True, slots=True)
class Postback:
    """A postback that the provider signed.

    `invoice_uuid` is short and upper case. `status_word` is what the body claims of the invoice. `body` has
    no token and fits into jsonb. `expired` means well signed but late: good for a look, not for trust.
    """

    invoice_uuid: str
    order_id: str | None
    status_word: str
    body: dict[str, object]
    expired: bool


def read_postback(body: bytes, content_type: str, secret: str, *, now: float | None = None) -> Postback:
    """Read a postback and check its token; `now` is Unix seconds.

    Raises `MalformedPostback` (also as `PostbackTooLarge`, `UnsupportedPostback`) or `UntrustedPostback`. The
    contents are judged only after the signature, so a sender without the secret learns nothing from them.
    """
    fields = _read_fields(body, content_type)
    token = _read_token(fields.get("token"))
    claims = _read_claims(token, secret)
    expired = _has_expired(claims.get("exp"), time.time() if now is None else now)
    invoice_uuid = _read_invoice(fields)
    if not _may_speak_for(claims.get("id"), invoice_uuid):
        raise UntrustedPostback("the token is for another invoice")
    try:
        order_id = read_order_id(fields.get("order_id"))
    except ValueError as error:
        raise MalformedPostback(f"the postback has {error}") from None
    return Postback(
        invoice_uuid=invoice_uuid,
        order_id=order_id,
        status_word=_read_status(fields),
        body=_without_token(fields, token),
        expired=expired,
    )


def _read_fields(body: bytes, content_type: str) -> dict[str, object]:
    if len(body) > LARGEST_POSTBACK:
        raise PostbackTooLarge(f"a postback has at most {LARGEST_POSTBACK} bytes")
    media_type, _, parameters = content_type.partition(";")
    charset = re.search(r"""charset\s*=\s*["']?([^"';\s]*)""", parameters, re.IGNORECASE)
    if charset is not None and charset[1].lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise UnsupportedPostback("a postback is UTF-8")
    match media_type.strip().lower():
        case "application/json":
            read = _read_object
        case "" if body.lstrip().startswith(b"{"):
            read = _read_object
        case "application/x-www-form-urlencoded":
            read = _read_form
        case _:
            raise UnsupportedPostback("a postback is application/json or application/x-www-form-urlencoded")
    try:
        text = body.decode("utf-8")
        fields = read(text)
        if _may_hold_unstorable(text):
            _check_storable(fields)
    except (ValueError, RecursionError):
        # Their own words would quote the body, and with it the token.
        raise MalformedPostback("the body is not a strict JSON object or form in UTF-8") from None
    return fields


def _read_object(text: str) -> dict[str, object]:
    """Parse strict JSON: no key twice, no NaN, no absurd numbers. Raises ValueError."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key twice")
        return found

    value = json.loads(
        text,
        object_pairs_hook=unique,
        parse_int=_read_whole,
        parse_float=_read_fraction,
        parse_constant=_read_fraction,
    )
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _read_form(text: str) -> dict[str, object]:
    """Parse a form with every field once. Raises ValueError."""
    pairs = parse_qsl(
        text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MOST_FIELDS
    )
    fields: dict[str, object] = dict(pairs)
    if not pairs or len(fields) != len(pairs):
        raise ValueError("no fields, or one twice")
    return fields


def _read_whole(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError("an absurd number")
    return int(text)


def _read_fraction(text: str) -> float | str:
    """Keep a fraction as a number where that loses nothing, else as its own text."""
    number = float(text)
    if repr(number) == text and "e" not in text:  # an exponent may be absurd
        return number
    try:
        exact = Decimal(text)
    except InvalidOperation:
        raise ValueError("an absurd number") from None
    if len(text) > LONGEST_NUMBER or not isfinite(number) or abs(exact.adjusted()) > LONGEST_NUMBER:
        raise ValueError("an absurd number")
    return number if Decimal(repr(number)) == exact else text


def _may_hold_unstorable(text: str) -> bool:
    # Most bodies are spared the walk: what cannot be stored is a NUL or comes in an escape, and depth takes brackets.
    may_be_deep = text.count("{") + text.count("[") > DEEPEST_NESTING
    return may_be_deep or any(sign in text for sign in "\0\\%")


def _check_storable(value: object, depth: int = 1) -> None:
    if depth > DEEPEST_NESTING:
        raise ValueError("nested too deep")
    match value:
        case str():
            if _UNSTORABLE.search(value):
                raise ValueError("NUL or a lone surrogate")
        case dict():
            for key, inner in value.items():
                _check_storable(key, depth)
                _check_storable(inner, depth + 1)
        case list():
            for inner in value:
                _check_storable(inner, depth + 1)


def _read_token(value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > LARGEST_TOKEN:
        raise UntrustedPostback("the postback has no token")
    literal = _BYTES_LITERAL.fullmatch(value)
    return value if literal is None else literal[2]


def _read_claims(token: str, secret: str) -> Mapping[str, object]:
    try:
        with warnings.catch_warnings():
            # The provider issues the secret; that it is short was said once at start.
            warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
            signed = _SIGNED.decode(token, secret, algorithms=["HS256"])
        return _read_object(signed.decode("utf-8"))
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise UntrustedPostback("the token is not signed by this project's secret") from None


def _has_expired(expiry: object, now: float) -> bool:
    if isinstance(expiry, bool) or not isinstance(expiry, int | float):
        raise UntrustedPostback("the token has no expiry")
    if expiry > now + LATEST_EXPIRY_SECONDS + LEEWAY_SECONDS:
        raise UntrustedPostback("the token expires later than any that the provider makes")
    return expiry < now - LEEWAY_SECONDS


def _read_invoice(fields: Mapping[str, object]) -> str:
    """Give the one invoice that the postback names, by `invoice_id` or by `invoice_info.uuid`."""
    info = fields.get("invoice_info")
    named = [fields.get("invoice_id"), info.get("uuid") if isinstance(info, Mapping) else None]
    found = {read_invoice_id(name) for name in named if name is not None and name != ""}
    if len(found) != 1 or None in found:
        raise MalformedPostback("the postback names no invoice, an impossible one, or two different ones")
    return str(found.pop())


def _may_speak_for(claim: object, invoice_uuid: str) -> bool:
    """Tell whether a token with this `id` claim may stand for the invoice.

    Sources differ on what `id` holds: mostly the invoice's short id, in the provider's own sample a number.
    What looks like an invoice id must be this invoice's; anything else proves only who sent it.
    """
    claimed = read_invoice_id(claim)
    if claimed is None or claimed == invoice_uuid:
        return True
    looks_like_an_invoice = (
        len(claimed) in {USUAL_ID_LENGTH, len(invoice_uuid)} or str(claim).strip().upper() != claimed
    )
    return not looks_like_an_invoice


def _read_status(fields: Mapping[str, object]) -> str:
    info = fields.get("invoice_info")
    status = info.get("status") if isinstance(info, Mapping) else None
    status = fields.get("status") if status is None else status
    return status[:64] if isinstance(status, str) else ""


def _without_token(fields: Mapping[str, object], token: str) -> dict[str, object]:
    """Copy an object without fields called token, and without the token's text anywhere else."""

    def clean(value: object) -> object:
        match value:
            case dict():
                return _without_token(value, token)
            case list():
                return [clean(inner) for inner in value]
            case str():
                return value.replace(token, "…")
            case _:
                return value

    return {
        key.replace(token, "…"): clean(value)
        for key, value in fields.items()
        if key.strip().lower() != "token"
    }
