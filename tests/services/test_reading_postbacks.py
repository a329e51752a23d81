"""From bytes to a trusted object: what is taken for a postback, what is not, and that nothing else happens."""

import base64
import hmac
import json
from decimal import Decimal
from math import isfinite
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from services.errors import (
    MalformedPostback,
    PostbackTooLarge,
    ShopError,
    UnsupportedPostback,
    UntrustedPostback,
)
from services.postbacks import LARGEST_POSTBACK, Postback, read_postback

BODIES = Path(__file__).parent / "provider_bodies"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
SECRET = "the secret that CryptoCloud issued for this project"
NOW = 1_790_000_000.0
INVOICE = "ILRAJE1Q"

brief = settings(max_examples=150, deadline=None)


def _segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign_text(claims: str, *, secret: str = SECRET, header: object = None, digest: str = "sha256") -> str:
    """Sign the text of some claims by hand, so that the reader's own library does not vouch for itself."""
    header = {"alg": "HS256", "typ": "JWT"} if header is None else header
    signed = f"{_segment(json.dumps(header).encode())}.{_segment(claims.encode())}"
    return f"{signed}.{_segment(hmac.new(secret.encode(), signed.encode(), digest).digest())}"


def sign(invoice: object = INVOICE, expires_in: float = 300, secret: str = SECRET, **more: object) -> str:
    return sign_text(json.dumps({"id": invoice, "exp": int(NOW + expires_in), **more}), secret=secret)


def postback_of(token: object, **fields: object) -> bytes:
    body = {"status": "success", "invoice_id": INVOICE, "order_id": "an-order", "token": token, **fields}
    return json.dumps(body).encode()


def read(body: bytes, content_type: str = JSON, secret: str = SECRET) -> Postback:
    return read_postback(body, content_type, secret, now=NOW)


# The documented bodies


def test_documented_json_postback_is_read() -> None:
    printed = (BODIES / "postback_2024_documented.txt").read_text()
    body = printed.replace('b"token"', json.dumps(sign("XXXXXXXX"))).encode()

    postback = read(body)

    assert postback.invoice_uuid == "XXXXXXXX"
    assert postback.order_id == "order_id"
    assert postback.status_word == "overpaid"
    assert not postback.expired
    info = postback.body["invoice_info"]
    assert isinstance(info, dict)
    assert info["service_fee"] == 0.8048
    assert info["amount_in_crypto"] is None
    assert "token" not in postback.body


def test_documented_postback_as_printed_is_not_json() -> None:
    with pytest.raises(MalformedPostback):
        read((BODIES / "postback_2024_documented.txt").read_bytes())


def test_documented_form_postback_is_read() -> None:
    printed = (BODIES / "postback_form.txt").read_text().strip()

    postback = read(printed.replace("{JWT}", sign()).encode(), FORM)

    assert postback == Postback(
        invoice_uuid="ILRAJE1Q",
        order_id="0199b8a4-6f0e-7c3b-9a52-3f1c2d4e5a60",
        status_word="success",
        body={
            "status": "success",
            "invoice_id": "ILRAJE1Q",
            "amount_crypto": "2.1",
            "currency": "USDT_TRC20",
            "order_id": "0199b8a4-6f0e-7c3b-9a52-3f1c2d4e5a60",
        },
        expired=False,
    )


# Formats


@pytest.mark.parametrize(
    "content_type",
    [JSON, "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"', "", " ; charset=utf-8"],
)
def test_json_is_known_by_its_content_type_or_by_its_brace(content_type: str) -> None:
    assert read(postback_of(sign()), content_type).invoice_uuid == INVOICE


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "application/json; charset=cp1251",
        "json",
        "\x00",
    ],
)
def test_other_content_types_are_unsupported(content_type: str) -> None:
    with pytest.raises(UnsupportedPostback):
        read(postback_of(sign()), content_type)


def test_form_without_a_content_type_is_unsupported() -> None:
    with pytest.raises(UnsupportedPostback):
        read(urlencode({"invoice_id": INVOICE, "token": sign()}).encode(), "")


@pytest.mark.parametrize("quoted", ["b'{}'", 'b"{}"'])
def test_token_may_be_printed_as_python_bytes(quoted: str) -> None:
    token = quoted.format(sign())

    assert read(postback_of(token)).invoice_uuid == INVOICE
    assert read(urlencode({"invoice_id": INVOICE, "token": token}).encode(), FORM).invoice_uuid == INVOICE
    assert read(f"invoice_id={INVOICE}&token={token}".encode(), FORM).invoice_uuid == INVOICE


def test_form_values_are_percent_decoded_and_invoice_info_stays_text() -> None:
    info = "{'uuid': 'INV-OTHER000', 'name': 'Лавка & Co'}"
    body = f"invoice_id={INVOICE}&order_id=a%2Bb+c&invoice_info={quote(info)}&token={sign()}"

    postback = read(body.encode(), FORM)

    assert postback.order_id == "a+b c"
    assert postback.body["invoice_info"] == info
    assert postback.invoice_uuid == INVOICE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"&",
        b"invoice_id",
        b'{"invoice_id": "ILRAJE1Q"}',
        b"invoice_id=A&invoice_id=A&token=t",
        b"invoice_id=A&token=t&token=t",
        b"invoice_id=%FF&token=t",
        b"invoice_id=\xff&token=t",
        b"invoice_id=%00&token=t",
        b"invoice_id=\x00&token=t",
        b"&".join(b"f%d=1" % number for number in range(101)),
    ],
)
def test_broken_form_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedPostback):
        read(body, FORM)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"<html></html>",
        b"\xef\xbb\xbf{}",
        b"invoice_id=ILRAJE1Q&token=t",
        b'{"status": "paid", "status": "success"}',
        b'{"invoice_info": {"uuid": "A", "uuid": "B"}}',
        b'{"amount_crypto": NaN}',
        b'{"amount_crypto": -Infinity}',
        b'{"amount_crypto": 1e400}',
        b'{"amount_crypto": 1e-99999999999999999999}',
        b'{"amount_crypto": 0e99999}',
        b'{"amount_crypto": ' + b"9" * 5000 + b"}",
        b'{"amount_crypto": 1.' + b"0" * 5000 + b"}",
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"\\ud800": "name"}',
        b'{"name": "\\u0000"}',
        b'{"name": ["deep", "\\u0000"]}',
        b'{"name": "line\nbreak"}',
        b'{"a": ' * 21 + b"1" + b"}" * 21,
        b'{"a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"a": ' * 10_000,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_not_strict_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedPostback):
        read(body)


def test_body_above_64_kib_is_too_large_and_one_of_64_kib_is_not() -> None:
    shortest = postback_of(sign(), padding="")
    largest = postback_of(sign(), padding="x" * (LARGEST_POSTBACK - len(shortest)))
    assert len(largest) == 64 * 1024

    assert read(largest).invoice_uuid == INVOICE
    with pytest.raises(PostbackTooLarge):
        read(largest + b" ")


# Trust


@pytest.mark.parametrize(
    "token", [None, "", 13, True, [], {}, "token", "a.b.c", "b''", "eyJ." * 3000, "…" * 100], ids=repr
)
def test_postback_without_a_token_is_untrusted(token: object) -> None:
    with pytest.raises(UntrustedPostback):
        read(postback_of(token))
    with pytest.raises(UntrustedPostback):
        read(json.dumps({"invoice_id": INVOICE}).encode())


def test_well_signed_token_above_4_kib_is_untrusted() -> None:
    assert read(postback_of(sign(padding="x" * 2900))).invoice_uuid == INVOICE
    with pytest.raises(UntrustedPostback):
        read(postback_of(sign(padding="x" * 3100)))


def test_token_of_another_secret_is_untrusted() -> None:
    with pytest.raises(UntrustedPostback):
        read(postback_of(sign(secret="the secret of another project that is as long")))


def test_no_secret_trusts_nothing() -> None:
    with pytest.raises(UntrustedPostback):
        read(postback_of(sign(secret="")), secret="")


def test_short_secret_works_without_a_warning() -> None:
    assert read(postback_of(sign(secret="short")), secret="short").invoice_uuid == INVOICE


@pytest.mark.parametrize(
    ("header", "digest"),
    [
        ({"alg": "none"}, "sha256"),
        ({"alg": "HS512"}, "sha512"),
        ({"alg": "HS512"}, "sha256"),
        ({"alg": "RS256"}, "sha256"),
        ({"alg": "hs256"}, "sha256"),
        ({"alg": ["HS256"]}, "sha256"),
        ({"alg": {}}, "sha256"),
        ({}, "sha256"),
        ([], "sha256"),
        ({"alg": "HS256", "kid": 1}, "sha256"),
        ({"alg": "HS256", "crit": ["exp"]}, "sha256"),
        ({"alg": "HS256", "b64": False, "crit": ["b64"]}, "sha256"),
    ],
)
def test_only_hs256_is_a_signature(header: object, digest: str) -> None:
    claims = json.dumps({"id": INVOICE, "exp": NOW + 300})
    with pytest.raises(UntrustedPostback):
        read(postback_of(sign_text(claims, header=header, digest=digest)))


def test_token_without_a_signature_is_untrusted() -> None:
    unsigned = sign().rpartition(".")[0]
    for token in (unsigned, unsigned + ".", f"{unsigned}.{'A' * 43}"):
        with pytest.raises(UntrustedPostback):
            read(postback_of(token))


@pytest.mark.parametrize("header", ["[" * 2500, '{"a":' * 500, "\x00", "nonsense", ""])
def test_header_that_is_no_object_is_untrusted(header: str) -> None:
    token = sign()
    with pytest.raises(UntrustedPostback):
        read(postback_of(f"{_segment(header.encode())}.{token.partition('.')[2]}"))


@pytest.mark.parametrize(
    "claims",
    [
        '{"id": "ILRAJE1Q"}',
        '{"id": "ILRAJE1Q", "exp": null}',
        '{"id": "ILRAJE1Q", "exp": "soon"}',
        '{"id": "ILRAJE1Q", "exp": "1790000300"}',
        '{"id": "ILRAJE1Q", "exp": true}',
        '{"id": "ILRAJE1Q", "exp": [1790000300]}',
        '{"id": "ILRAJE1Q", "exp": NaN}',
        '{"id": "ILRAJE1Q", "exp": Infinity}',
        '{"id": "ILRAJE1Q", "exp": 1e400}',
        f'{{"id": "ILRAJE1Q", "exp": 1{"0" * 400}}}',
        f'{{"id": "ILRAJE1Q", "exp": 1{"0" * 50}}}',
        '{"id": "ILRAJE1Q", "exp": 1, "exp": 1790000300}',
        '["ILRAJE1Q", 1790000300]',
        "",
        "[" * 2000,
        "1790000300",
    ],
)
def test_well_signed_token_without_a_bounded_expiry_is_untrusted(claims: str) -> None:
    with pytest.raises(UntrustedPostback):
        read(postback_of(sign_text(claims)))


@pytest.mark.parametrize(
    ("expires_in", "expired"),
    [(660, False), (300, False), (0, False), (-60, False), (-61, True), (-86_400 * 30, True), (-NOW, True)],
)
def test_expiry_has_a_minute_of_leeway_on_both_sides(expires_in: float, expired: bool) -> None:
    assert read(postback_of(sign(expires_in=expires_in))).expired is expired


def test_token_for_later_than_any_provider_makes_is_untrusted() -> None:
    with pytest.raises(UntrustedPostback):
        read(postback_of(sign(expires_in=661)))


def test_fractional_expiry_is_an_expiry() -> None:
    token = sign_text(json.dumps({"id": INVOICE, "exp": NOW + 299.5}))
    assert not read(postback_of(token)).expired


def test_other_claims_about_time_do_not_matter() -> None:
    token = sign(iat=NOW + 9_999, nbf="tomorrow", sub=1, jti=2, aud="somebody", iss=[])
    assert not read(postback_of(token)).expired


def test_time_of_the_machine_counts_when_no_other_is_given() -> None:
    assert read_postback(postback_of(sign(expires_in=-NOW + 1)), JSON, SECRET).expired


def test_unsigned_sender_learns_nothing_from_odd_contents() -> None:
    forged = sign(secret="a guess that is long enough to be a secret")
    for name, odd in (("invoice_id", True), ("invoice_id", None), ("invoice_id", "?"), ("order_id", {})):
        with pytest.raises(UntrustedPostback):
            read(postback_of(forged, **{name: odd}))


# The invoice


@pytest.mark.parametrize("claim", ["ILRAJE1Q", "INV-ILRAJE1Q", "ilraje1q", "inv-ilraje1q", " ILRAJE1Q "])
@pytest.mark.parametrize("named", ["ILRAJE1Q", "INV-ILRAJE1Q", "ilraje1q"])
def test_invoice_is_the_same_with_and_without_its_prefix(claim: str, named: str) -> None:
    postback = read(postback_of(sign(claim), invoice_id=named))
    assert postback.invoice_uuid == "ILRAJE1Q"


@pytest.mark.parametrize(
    "claim", ["AAAAAAAA", "INV-AAAAAAAA", "aaaaaaaa", "12345678", "INV-ABC12", "INV-1234"]
)
def test_token_of_one_invoice_does_not_speak_for_another(claim: str) -> None:
    with pytest.raises(UntrustedPostback):
        read(postback_of(sign(claim)))


@pytest.mark.parametrize(
    "claim", [13, None, "13", "362100", "", 1.5, True, ["AAAAAAAA"], {}, "a shop's name"]
)
def test_claim_that_is_no_invoice_id_proves_only_who_sent_it(claim: object) -> None:
    assert read(postback_of(sign(claim))).invoice_uuid == INVOICE


def test_token_without_an_id_proves_only_who_sent_it() -> None:
    token = sign_text(json.dumps({"exp": int(NOW + 300)}))
    assert read(postback_of(token)).invoice_uuid == INVOICE


def test_wallet_of_32_characters_is_an_id_like_any_other() -> None:
    wallet, other = "a1B2" * 8, "F" * 32
    assert read(postback_of(sign(wallet), invoice_id=wallet)).invoice_uuid == "A1B2" * 8
    assert read(postback_of(sign(13), invoice_id=wallet)).invoice_uuid == "A1B2" * 8
    with pytest.raises(UntrustedPostback):
        read(postback_of(sign(other), invoice_id=wallet))


@pytest.mark.parametrize("absent", [{}, {"invoice_id": None}, {"invoice_id": ""}])
def test_invoice_info_names_the_invoice_when_invoice_id_does_not(absent: dict[str, object]) -> None:
    body = {"token": sign(), "invoice_info": {"uuid": "INV-ILRAJE1Q", "status": "paid"}, **absent}
    postback = read(json.dumps(body).encode())
    assert (postback.invoice_uuid, postback.status_word) == (INVOICE, "paid")


@pytest.mark.parametrize(
    "fields",
    [
        {"invoice_id": None},
        {"invoice_id": ""},
        {"invoice_id": True},
        {"invoice_id": 12345678},
        {"invoice_id": ["ILRAJE1Q"]},
        {"invoice_id": "INV-"},
        {"invoice_id": "INV-INV-ILRAJE1Q"},
        {"invoice_id": "ILRA-JE1Q"},
        {"invoice_id": "A" * 33},
        {"invoice_id": "ßßßßßßßß"},
        {"invoice_id": "１２３４５６７８"},
        {"invoice_id": "ILRAJE1Q'; --"},
        {"invoice_info": {"uuid": "INV-AAAAAAAA"}},
        {"invoice_info": {"uuid": False}},
        {"invoice_info": {"uuid": 13}},
        {"order_id": True},
        {"order_id": 1.5},
        {"order_id": ["an-order"]},
    ],
)
def test_well_signed_postback_with_impossible_ids_is_malformed(fields: dict[str, object]) -> None:
    with pytest.raises(MalformedPostback):
        read(postback_of(sign(13), **fields))


@pytest.mark.parametrize("info", [None, "text", [], 5, {}, {"uuid": None}, {"uuid": ""}])
def test_invoice_info_that_names_nothing_is_left_alone(info: object) -> None:
    assert read(postback_of(sign(), invoice_info=info)).invoice_uuid == INVOICE


@pytest.mark.parametrize(
    ("sent", "order_id"),
    [(None, None), ("", None), ("None", None), ("null", None), (17, "17"), ("17", "17"), (" x ", "x")],
)
def test_order_id_is_text_or_nothing(sent: object, order_id: str | None) -> None:
    assert read(postback_of(sign(), order_id=sent)).order_id == order_id


@pytest.mark.parametrize("status", [None, 5, True, {}, []])
def test_odd_status_is_an_empty_word(status: object) -> None:
    assert read(postback_of(sign(), status=status)).status_word == ""


# What is kept


def test_token_is_kept_nowhere() -> None:
    token = sign()
    body = postback_of(
        f"b'{token}'",
        Token="x",
        invoice_info={
            "uuid": f"INV-{INVOICE}",
            "token": {"jwt": token},
            "tx_list": [{" TOKEN ": token}, token],
        },
        note=f"token={token}&",
        **{token: 1},
    )

    kept = json.dumps(read(body).body)

    assert token not in kept
    assert "token" not in {key.strip().lower() for key in read(body).body}
    assert '"tx_list": [{}, ' in kept


def test_fractions_lose_nothing() -> None:
    body = postback_of(sign()).replace(
        b'"status"',
        b'"fee": 1.499999996212864e-06, "exact": 0.1234567890123456789, "whole": 12345678901234567890,'
        b'"status"',
    )

    kept = read(body).body

    assert kept["fee"] == 1.499999996212864e-06
    assert kept["exact"] == "0.1234567890123456789"
    assert kept["whole"] == 12345678901234567890


# Whatever comes

storable = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
whole = st.integers(-(10**60), 10**60)
fraction = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: isfinite(number) and abs(Decimal(repr(number)).adjusted()) <= 60
)
storable_json = st.recursive(
    st.none() | st.booleans() | whole | fraction | storable,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(storable, inner, max_size=3),
    max_leaves=10,
)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
content_types = st.sampled_from([JSON, FORM, "", "application/json; charset=utf-8"]) | st.text(max_size=30)


def _read_or_refuse(body: bytes, content_type: str) -> Postback | None:
    try:
        return read(body, content_type)
    except ShopError as error:
        refusal = error
    assert refusal.status in {400, 401, 413, 415}
    assert SECRET not in str(refusal)
    return None


@brief
@given(st.binary(max_size=300), content_types)
@example(b"{", JSON)
@example(b"%", FORM)
def test_any_bytes_are_refused_in_words(body: bytes, content_type: str) -> None:
    assert _read_or_refuse(body, content_type) is None


@brief
@given(st.dictionaries(st.sampled_from(["invoice_id", "invoice_info", "order_id", "status", "x"]), any_json))
def test_any_signed_json_is_read_or_refused_in_words(fields: dict[str, object]) -> None:
    body = json.dumps({"invoice_id": INVOICE, **fields, "token": sign(13)}).encode()
    postback = _read_or_refuse(body, JSON)
    if postback is not None:
        json.dumps(postback.body, allow_nan=False, ensure_ascii=False).encode("utf-8")


@brief
@given(
    st.dictionaries(st.sampled_from(["invoice_id", "order_id", "status", "token", "x"]), st.text(max_size=30))
)
def test_any_form_is_read_or_refused_in_words(fields: dict[str, str]) -> None:
    body = urlencode({"invoice_id": INVOICE, "token": sign(), **fields}, errors="surrogatepass").encode()
    _read_or_refuse(body, FORM)


@brief
@given(any_json, any_json)
def test_any_claims_are_read_or_refused_in_words(invoice: object, expiry: object) -> None:
    _read_or_refuse(postback_of(sign_text(json.dumps({"id": invoice, "exp": expiry}))), JSON)


@brief
@given(
    st.dictionaries(storable.filter(lambda key: key.strip().lower() != "token"), storable_json, max_size=4)
)
def test_what_was_signed_is_kept_as_it_was_sent(extra: dict[str, object]) -> None:
    def without_tokens(value: object) -> object:
        if isinstance(value, dict):
            return {k: without_tokens(v) for k, v in value.items() if k.strip().lower() != "token"}
        return [without_tokens(one) for one in value] if isinstance(value, list) else value

    sent = {
        **extra,
        "invoice_id": INVOICE,
        "invoice_info": {"uuid": f"INV-{INVOICE}"},
        "order_id": "an-order",
    }

    postback = read(json.dumps({**sent, "token": sign()}).encode())

    assert postback.body == without_tokens(sent)
    assert (postback.invoice_uuid, postback.order_id) == (INVOICE, "an-order")


@brief
@given(st.integers(0, len(sign()) - 1), st.characters(min_codepoint=32, max_codepoint=126))
@example(len(sign()) - 1, "B")
def test_token_with_one_byte_changed_is_untrusted(position: int, byte: str) -> None:
    token = sign()
    assume(token[position] != byte)
    changed = token[:position] + byte + token[position + 1 :]
    with pytest.raises(UntrustedPostback):
        read(postback_of(changed))


def test_every_other_spelling_of_the_last_byte_is_untrusted() -> None:
    # Base64 ignores two bits there, so three other letters decode to the same signature.
    token = sign()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for letter in alphabet.replace(token[-1], ""):
        with pytest.raises(UntrustedPostback):
            read(postback_of(token[:-1] + letter))
